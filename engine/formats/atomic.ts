import { randomBytes } from 'node:crypto';
import { constants, copyFile, link, mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import { fileError, isThere } from './paths.js';

/** What can be written: all bytes at once, text (UTF-8), or pieces in order. */
export type FileData = Uint8Array | string | AsyncIterable<Uint8Array>;

/** A file whose bytes are on the disk under a temporary name, waiting for its real one. */
export interface StagedFile {
  /** Gives the file its real name, replacing what was there. */
  commit(): Promise<void>;
  /** Removes the temporary. Harmless after `commit`. */
  discard(): Promise<void>;
}

/** `.<name>.<process id>-<8 hex digits>.partial`, in the folder of the file it will become. */
export const TEMPORARY = /^\..+\.(\d+)-[0-9a-f]{8}\.partial$/;

const temporaryOf = (path: string): string =>
  join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.partial`);

/**
 * Writes `data` to a temporary in the folder of `path` and syncs it; `commit` then renames it.
 * Stage several files and commit them in order, the manifest last, to keep the torn moment short.
 * The temporary is gone when this throws.
 */
export async function stageFile(path: string, data: FileData): Promise<StagedFile> {
  const folder = dirname(path);
  const temporary = temporaryOf(path);
  const discard = () => removeQuietly(temporary);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await writeFile(handle, data);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    await discard();
    throw fileError(error, 'write', path);
  }
  return {
    discard,
    async commit() {
      try {
        await rename(temporary, path);
      } catch (error) {
        await discard();
        throw fileError(error, 'write', path);
      }
      await syncFolder(folder);
    },
  };
}

/**
 * Replaces `path` by `data` or leaves it as it was: temporary in the same folder, fsync, rename, fsync of
 * the folder. A reader sees the old file or the new one, never a part. Throws `UserError` on a full disk,
 * a missing folder or missing rights, and whatever `data` itself throws.
 */
export async function writeFileAtomic(path: string, data: FileData): Promise<void> {
  const staged = await stageFile(path, data);
  await staged.commit();
}

/**
 * Writes a small file that must not be there yet; false where it is. Of several processes that try at once, one succeeds,
 * and nobody sees a part of it.
 */
export async function createFileExclusive(path: string, data: string): Promise<boolean> {
  const temporary = temporaryOf(path);
  try {
    await writeFile(temporary, data, { flag: 'wx', flush: true });
    // A link, unlike a rename, does not replace. Some drives know no links.
    await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') throw error;
      return copyFile(temporary, path, constants.COPYFILE_EXCL);
    });
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw fileError(error, 'write', path);
  } finally {
    await removeQuietly(temporary);
  }
}

/**
 * Makes the file `path`, which must not be there yet, nor come to be there while it is written: whole, or not at all. Throws
 * `UserError` as `writeFileAtomic` does and where `path` is taken.
 */
export async function makeFileAtomic(path: string, data: FileData): Promise<void> {
  await requireAbsent(path);
  await removeStaleTemporaries(dirname(path));
  const staged = await stageFile(path, data);
  try {
    // A rename would replace it.
    await requireAbsent(path);
    await staged.commit();
  } finally {
    await staged.discard();
  }
}

/**
 * Makes the folder `path`, which must not be there yet, with what `fill` writes into the folder that it is given: whole, or
 * not at all. Throws `UserError` as `writeFileAtomic` does and where `path` is taken, and whatever `fill` throws.
 */
export async function writeFolderAtomic(
  path: string,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  await requireAbsent(path);
  await removeStaleTemporaries(dirname(path));
  const temporary = temporaryOf(path);
  try {
    await mkdir(temporary);
    await fill(temporary);
    await syncFolder(temporary);
    // A rename would replace an empty folder.
    await requireAbsent(path);
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    throw fileError(error, 'write', path);
  } finally {
    await removeQuietly(temporary);
  }
}

/** Throws UserError where anything is at `path`, a link that leads nowhere too. */
export async function requireAbsent(path: string): Promise<void> {
  if (await isThere(path))
    throw new UserError(`${path} is there already; choose another name, or remove it first.`);
}

/**
 * Removes temporaries, files and folders, in `folder` whose process is gone, and returns their names. Those of a live
 * process stay, however old: it may still read them. A folder that does not exist holds none.
 */
export async function removeStaleTemporaries(folder: string): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    const match = TEMPORARY.exec(name);
    if (!match || processIsAlive(Number(match[1]))) continue;
    await rm(join(folder, name), { recursive: true, force: true });
    removed.push(name);
  }
  return removed;
}

/** Whether a process of that id runs; another may have been given it. */
export function processIsAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** What went wrong before is the news: a name that cannot be written cannot be removed either. */
const removeQuietly = (path: string) => rm(path, { recursive: true, force: true }).catch(() => undefined);

/** Makes a rename durable. Platforms that cannot sync a folder (Windows, some network drives) are let off. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  try {
    await handle?.sync();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!['EISDIR', 'EPERM', 'EACCES', 'EINVAL', 'ENOTSUP', 'EBADF'].includes(code)) throw error;
  } finally {
    await handle?.close();
  }
}
