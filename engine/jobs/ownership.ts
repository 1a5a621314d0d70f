/**
 * Which engine may write a job's record, where several share a folder. An owner is a file `<job>.owner.<n>` that names an
 * engine; the highest n counts. Files are only ever added with the next number, by a call of which one of many succeeds,
 * so an owner that has ended can be replaced but by one engine alone. Owners let go of a job that has ended.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createFileExclusive } from '../formats/atomic.js';
import { isAlive } from './liveness.js';

export type Owner = 'this' | 'another' | 'none';

export interface Ownership {
  of(job: string): Promise<Owner>;
  /** Takes a job that no live engine owns. False where one does, or takes it first. */
  claim(job: string): Promise<boolean>;
  release(job: string): Promise<void>;
}

/** An engine on another machine cannot be asked; it counts as live while its job's record was written or touched so lately. */
export const FOREIGN_MILLISECONDS = 10 * 60 * 1000;

/** @param recordOf the path of a job's record */
export function openOwnership(
  folder: string,
  engine: string,
  recordOf: (job: string) => string,
  alive = isAlive,
  host = hostname(),
): Ownership {
  const fileOf = (job: string, n: number) => join(folder, `${job}.owner.${n}`);

  const numbersOf = async (job: string): Promise<number[]> => {
    const prefix = `${job}.owner.`;
    return (await readdir(folder))
      .filter((name) => name.startsWith(prefix) && /^\d{1,9}$/.test(name.slice(prefix.length)))
      .map((name) => Number(name.slice(prefix.length)))
      .sort((a, b) => b - a);
  };

  const ownerOf = async (job: string, n: number | undefined): Promise<Owner> => {
    if (n === undefined) return 'none';
    const text = await readFile(fileOf(job, n), 'utf8').catch(() => '');
    const [owner, from] = text.split(' ');
    if (owner === engine) return 'this';
    if (owner === undefined || !/^[0-9a-f]{16}$/.test(owner)) return 'none';
    if (from === host) return (await alive(owner)) ? 'another' : 'none';
    const record = await stat(recordOf(job)).catch(() => undefined);
    return Date.now() - (record?.mtimeMs ?? 0) < FOREIGN_MILLISECONDS ? 'another' : 'none';
  };

  return {
    of: async (job) => ownerOf(job, (await numbersOf(job))[0]),
    claim: async (job) => {
      const numbers = await numbersOf(job);
      const owner = await ownerOf(job, numbers[0]);
      if (owner !== 'none') return owner === 'this';
      if (!(await createFileExclusive(fileOf(job, (numbers[0] ?? -1) + 1), `${engine} ${host}`)))
        return false;
      for (const n of numbers) await rm(fileOf(job, n), { force: true });
      return true;
    },
    release: async (job) => {
      // The oldest first: what is left where this is cut short is a file that names this engine.
      for (const n of (await numbersOf(job)).reverse()) await rm(fileOf(job, n), { force: true });
    },
  };
}
