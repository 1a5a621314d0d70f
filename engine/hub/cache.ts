/**
 * The cache that Hugging Face's tools share: `models--org--name` with `blobs` by their hashes, `snapshots/<commit>` of links to
 * them, and `refs` from branches and tags to commits.
 */
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, link, readdir, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { UserError } from '../errors.js';
import { writeFileAtomic } from '../formats/atomic.js';
import { makeFolder } from '../formats/folders.js';
import { fileError } from '../formats/paths.js';
import { hubId, isCommit, type HubId } from './id.js';
import type { HubFile } from './listing.js';
import { hubCache, type Environment } from './settings.js';

/** What others of the cache do not take for a download of theirs. */
const UNFINISHED = '.elastic-precision.incomplete';

/** The folder of a model in a cache. */
export const repositoryOf = (cache: string, { model }: Pick<HubId, 'model'>): string =>
  join(cache, `models--${model.replace('/', '--')}`);

/** What keeps others from writing it; beside the locks of other tools. */
export const lockPlaceOf = (cache: string, id: Pick<HubId, 'model'>): string =>
  join(cache, '.locks', `elastic-precision-${id.model.replace('/', '--')}`);

export const blobOf = (repository: string, { hash }: HubFile): string => join(repository, 'blobs', hash.hex);
export const unfinishedOf = (blob: string): string => `${blob}${UNFINISHED}`;

const snapshotOf = (repository: string, commit: string) => join(repository, 'snapshots', commit);

/** The folder of a model that is in the cache; undefined where it is not. */
export function cachedModel(id: HubId, cache: string): string | undefined {
  const repository = repositoryOf(cache, id);
  const commit = isCommit(id.revision) ? id.revision : commitOf(repository, id.revision);
  if (commit === undefined) return undefined;
  const folder = snapshotOf(repository, commit);
  return existsSync(join(folder, 'config.json')) ? folder : undefined;
}

function commitOf(repository: string, revision: string): string | undefined {
  try {
    const commit = readFileSync(join(repository, 'refs', revision), 'utf8').trim();
    return isCommit(commit) ? commit : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The folder that a text names where a model is asked for: a folder as it is, else the hub's model of that name in the cache.
 * Throws UserError, which says how to get it, for the name of one that is not there.
 */
export function modelFolder(text: string, env: Environment = process.env): string {
  if (existsSync(text)) return text;
  const id = hubId(text);
  if (!id) return text;
  const cache = hubCache(env);
  const found = cachedModel(id, cache);
  if (found !== undefined) return found;
  // A single word is a folder of that name sooner than one of the few models that are called so.
  if (!text.includes('/')) return text;
  throw new UserError(
    `There is no folder ${text}, and no model of that name in ${cache}; if the hub has it, get it: elastic-precision get ${text}`,
  );
}

/** Whether a file has come, whole as far as its size says. */
export const hasBlob = async (repository: string, file: HubFile): Promise<boolean> =>
  (await sizeAt(blobOf(repository, file))) === file.bytes;

/** Bytes of a file that are here already. */
export async function bytesHere(repository: string, file: HubFile): Promise<number> {
  if (await hasBlob(repository, file)) return file.bytes;
  return Math.min(file.bytes, (await sizeAt(unfinishedOf(blobOf(repository, file)))) ?? 0);
}

/** Of a regular file. */
const sizeAt = (path: string): Promise<number | undefined> =>
  stat(path).then(
    (stats) => (stats.isFile() ? stats.size : undefined),
    () => undefined,
  );

/**
 * Makes a model's snapshot of blobs that are all there, `config.json` last: what is cut off is nobody's model. Then the revision
 * leads to it. Resolves to its folder.
 */
export async function publish(
  repository: string,
  commit: string,
  revision: string,
  files: readonly HubFile[],
): Promise<string> {
  const folder = snapshotOf(repository, commit);
  await makeFolder(folder);
  const [config, ...others] = files;
  for (const file of [...others, config!]) await linkTo(blobOf(repository, file), join(folder, file.name));
  if (!isCommit(revision)) {
    const ref = join(repository, 'refs', ...revision.split('/'));
    await makeFolder(dirname(ref));
    await writeFileAtomic(ref, commit);
  }
  return folder;
}

/** A link under a temporary name, renamed: whoever reads finds the old file or the new. Drives without links get a copy. */
async function linkTo(blob: string, path: string): Promise<void> {
  const temporary = `${path}.${process.pid}.incomplete`;
  try {
    await rm(temporary, { force: true });
    await symlink(relative(dirname(path), blob), temporary, 'file')
      .catch(() => link(blob, temporary))
      .catch(() => copyFile(blob, temporary));
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw fileError(error, 'write', path);
  }
}

/** What downloads of a model have left that did not end. */
export async function unfinishedIn(repository: string): Promise<string[]> {
  const blobs = join(repository, 'blobs');
  const names = await readdir(blobs).catch(() => []);
  return names.filter((name) => name.endsWith(UNFINISHED)).map((name) => join(blobs, name));
}
