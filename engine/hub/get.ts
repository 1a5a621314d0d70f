/** Gets a model of a hub into the cache. */
import { statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { existsSync } from 'node:fs';
import { UserError } from '../errors.js';
import { makeFolder } from '../formats/folders.js';
import { whileLocked } from '../locks/lock.js';
import { formatBytes } from '../plans/numbers.js';
import { blobOf, bytesHere, hasBlob, lockPlaceOf, publish, repositoryOf } from './cache.js';
import type { HubClient } from './client.js';
import { downloadFile } from './download.js';
import type { HubListing } from './listing.js';

export interface Got {
  /** The model's folder. */
  readonly folder: string;
  readonly bytes: number;
  /** Of them those that came now. */
  readonly downloaded: number;
}

export interface Downloading {
  readonly file: string;
  /** From 0, of all files. */
  readonly index: number;
  /** Of all files, those here already among them. */
  readonly bytes: number;
}

/**
 * Downloads what is missing of a listed model, one file after another, and makes it a model of the cache once all of it is there.
 * Throws UserError where the drive has no room for it, where another process gets the same, and as `downloadFile` does.
 */
export async function getModel(
  client: HubClient,
  { id, commit, files }: HubListing,
  progress: (at: Downloading) => void,
): Promise<Got> {
  const { cache } = client.settings;
  const repository = repositoryOf(cache, id);
  return whileLocked(lockPlaceOf(cache, id), async () => {
    await makeFolder(join(repository, 'blobs'));
    const here = await Promise.all(files.map((file) => bytesHere(repository, file)));
    const [all, before] = [files.reduce((sum, { bytes }) => sum + bytes, 0), total(here)];
    await requireRoom(repository, all - before, id.model);
    for (const [index, file] of files.entries()) {
      const at = (bytes: number) => {
        here[index] = bytes;
        progress({ file: file.name, index, bytes: total(here) });
      };
      if (await hasBlob(repository, file)) at(file.bytes);
      else await downloadFile(client, id, file, blobOf(repository, file), at);
    }
    const folder = await publish(repository, commit, id.revision, files);
    return { folder, bytes: all, downloaded: all - before };
  });
}

const total = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);

/** Bytes that are free where a folder is or will be; undefined where the drive does not say. */
export async function roomAt(folder: string): Promise<number | undefined> {
  let there = folder;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  const stats = await statfs(there).catch(() => undefined);
  return stats && stats.bavail * stats.bsize;
}

async function requireRoom(repository: string, missing: number, model: string): Promise<void> {
  const room = await roomAt(repository);
  if (room === undefined || missing <= room) return;
  const [needed, free] = [missing, room].map((bytes) => formatBytes(bytes, 'en'));
  throw new UserError(
    `${model} needs ${needed} more in ${dirname(repository)}, where ${free} are free; make room, or name another place in HF_HUB_CACHE.`,
  );
}
