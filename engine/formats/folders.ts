/** Folders that are made on the way to a file. */
import { mkdir, rmdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { fileError } from './paths.js';

/**
 * Makes the folder `path` and those above it that are missing; returns the paths of those that it made, from the top. Throws
 * UserError where one cannot be made, and leaves none of them then. One after another: Node's own recursive mkdir never ends
 * where a file system refuses names below a folder that is there, as /proc does.
 */
export async function makeFolder(path: string): Promise<string[]> {
  const missing: string[] = [];
  for (let folder = resolve(path); !(await isFolder(folder)); folder = dirname(folder))
    missing.unshift(folder);
  const made: string[] = [];
  try {
    for (const folder of missing) if (await make(folder)) made.push(folder);
  } catch (error) {
    await removeEmpty(made);
    throw fileError(error, 'write', path);
  }
  return made;
}

/** Removes those of the folders that are empty, from the last to the first. */
export async function removeEmpty(folders: readonly string[]): Promise<void> {
  for (const folder of [...folders].reverse()) await rmdir(folder).catch(() => undefined);
}

/** Throws UserError for what is there and is not a folder, and for what cannot be looked at. */
async function isFolder(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && dirname(path) !== path) return false;
    throw fileError(error, 'write', path);
  }
  throw new UserError(`Cannot write ${path}: there is a file of that name.`);
}

/** False where somebody else has made it meanwhile. */
async function make(folder: string): Promise<boolean> {
  try {
    await mkdir(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !(await isFolder(folder))) throw error;
    return false;
  }
}
