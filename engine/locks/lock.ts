/** One writer at a time of a file or folder that people named. */
import { dirname } from 'node:path';
import { UserError } from '../errors.js';
import { makeFolder, removeEmpty } from '../formats/folders.js';
import { fileError } from '../formats/paths.js';
import { claim, HOST, lockOf, ownerOf, readClaim, releaseClaim, type Owner } from './claims.js';
import { announce } from './presence.js';

export interface Lock {
  /** Lets others write it. Harmless when repeated. */
  release(): Promise<void>;
}

/**
 * Keeps every other process from writing `path`, a file or folder that may not be there yet, until it is released or this
 * process ends. The folder it lies in is made, and taken away at the end where nothing was put into it. Throws UserError at
 * once where another process has it, and where its folder cannot be written.
 */
export async function lock(path: string): Promise<Lock> {
  const made = await makeFolder(dirname(path));
  try {
    const presence = await announce();
    const self = ownerOf(presence);
    try {
      const owner = await claim(lockOf(path), self).catch((error: unknown) => {
        throw aboutPath(path, error);
      });
      if (owner.id !== self.id) throw taken(path, owner);
    } catch (error) {
      await presence.close();
      throw error;
    }
    return {
      release: async () => {
        await releaseClaim(lockOf(path), self);
        await presence.close();
        await removeEmpty(made);
      },
    };
  } catch (error) {
    await removeEmpty(made);
    throw error;
  }
}

/** Does `work` while no other process writes `path`. */
export async function whileLocked<T>(path: string, work: () => Promise<T>): Promise<T> {
  const held = await lock(path);
  try {
    return await work();
  } finally {
    await held.release();
  }
}

/** Throws UserError while a process writes `path`. */
export async function requireUnlocked(path: string): Promise<void> {
  const owner = await readClaim(lockOf(path));
  if (owner) throw taken(path, owner);
}

/** An error about a file that nobody asked for is about the one that somebody did. */
const aboutPath = (path: string, error: unknown) =>
  error instanceof UserError && error.cause !== undefined ? fileError(error.cause, 'write', path) : error;

function taken(path: string, { pid, host }: Owner): UserError {
  const writer = pid > 0 ? `process ${pid}` : 'another process';
  return new UserError(
    host === HOST
      ? `${path} is being written by ${writer}; wait until that has ended, or choose another place.`
      : `${path} is being written by ${writer} on ${host}; if that has ended, delete ${lockOf(path)}.*, else choose another place.`,
  );
}
