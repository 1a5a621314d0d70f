/** Places that people name for results, tried before there is anything to write. */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { stageFile } from './atomic.js';
import { makeFolder, removeEmpty } from './folders.js';
import { fileError, isThere } from './paths.js';

/**
 * What `path` names, so that one place has one name: absolute, without slashes at the end, links followed as far as it exists.
 * Throws UserError for an empty name and for what cannot be: below a file, too long, a link that leads nowhere.
 */
export async function placeOf(path: string): Promise<string> {
  if (path.trim() === '') throw new UserError('The name of what is to be written is empty; name a place.');
  const asked = resolve(path);
  try {
    return await realpath(asked);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fileError(error, 'write', asked);
  }
  if (await isThere(asked)) throw new UserError(`Cannot write ${asked}: it is a link that leads nowhere.`);
  const folder = dirname(asked);
  return folder === asked ? asked : join(await placeOf(folder), basename(asked));
}

/** `placeOf`, or `path` made absolute where nothing could be written: for what was asked for, and is looked for later. */
export const followLinks = (path: string): Promise<string> => placeOf(path).catch(() => resolve(path));

/**
 * Writes into a folder that may not be there yet, and takes it back.
 * @param name of a file that is going to be written there
 */
export async function tryFolder(folder: string, name: string): Promise<void> {
  const made = await makeFolder(folder);
  try {
    await tryFile(join(folder, name));
  } finally {
    await removeEmpty(made);
  }
}

/** Writes beside a file that may not be there yet, and takes it back. Throws UserError where it is something else than a file. */
export async function tryFile(path: string): Promise<void> {
  const there = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw fileError(error, 'write', path);
  });
  if (there && !there.isFile())
    throw new UserError(
      `Cannot write ${path}: ${there.isDirectory() ? 'it is a folder' : 'it is not a file'}.`,
    );
  // As many bytes as the smallest drive gives out at once.
  await (await stageFile(path, new Uint8Array(4096))).discard();
}
