/**
 * Who may write something that several processes share. A claim of `<path>` is a file `<path>.<n>` that names a process; the
 * highest n counts. A file is only ever added with the number behind that of a process that has ended, by a call of which
 * one of many succeeds.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import { createFileExclusive } from '../formats/atomic.js';
import { isAlive, type Presence } from './presence.js';

/** A process as a claim names it. */
export interface Owner {
  readonly id: string;
  readonly host: string;
  /** 0 where an earlier version has not said. */
  readonly pid: number;
  readonly address?: string;
}

export type Alive = (owner: Owner) => Promise<boolean>;

export const HOST = hostname() || 'here';

/** A process of another machine cannot be asked: it counts as live. */
export const aliveHere: Alive = async ({ id, host, address }) =>
  host !== HOST || isAlive(id, ...(address === undefined ? [] : [address]));

export const ownerOf = ({ id, address }: Pick<Presence, 'id' | 'address'>): Owner => ({
  ...{ id, address },
  host: HOST,
  pid: process.pid,
});

/** The live owner of `path`, if it has one. */
export async function readClaim(path: string, alive: Alive = aliveHere): Promise<Owner | undefined> {
  const owner = (await highest(path))?.owner;
  return owner && (await alive(owner)) ? owner : undefined;
}

/**
 * Claims `path` for a process unless a live one has it, and returns whose it is now. Of many that try at once, one gets it.
 * Throws UserError where its folder cannot be written.
 */
export async function claim(path: string, self: Owner, alive: Alive = aliveHere): Promise<Owner> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const last = await highest(path);
    if (last?.owner && (last.owner.id === self.id || (await alive(last.owner)))) return last.owner;
    const own = (last?.n ?? -1) + 1;
    if (!(await createFileExclusive(fileOf(path, own), textOf(self)))) continue;
    // Whoever replaced the dead owner before has removed its file by now; then the number is not the next any more.
    const found = await numbersOf(path);
    if (found[0] === own && (!last || ((await readText(path, last.n)) ?? '') === last.text)) {
      for (const n of found.slice(1)) await remove(path, n);
      return self;
    }
    await remove(path, own);
  }
  throw new UserError(`${path} cannot be claimed; delete the files whose names begin so, and try again.`);
}

/** Lets go of what `claim` got. Harmless where another has it. */
export async function releaseClaim(path: string, { id }: Pick<Owner, 'id'>): Promise<void> {
  if ((await highest(path))?.owner?.id !== id) return;
  // The oldest first: what is left where this is cut short is a file that names this process.
  for (const n of (await numbersOf(path)).reverse()) await remove(path, n);
}

/** Others may be faster, but not for ever. */
const MAX_TRIES = 100;

const fileOf = (path: string, n: number) => `${path}.${n}`;

const remove = (path: string, n: number) => rm(fileOf(path, n), { force: true }).catch(() => undefined);

async function numbersOf(path: string): Promise<number[]> {
  const prefix = `${basename(path)}.`;
  return (await readdir(dirname(path)).catch(() => []))
    .filter((name) => name.startsWith(prefix) && /^\d{1,9}$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
    .sort((a, b) => b - a);
}

/** Undefined where it is gone; empty where it is not a file. */
const readText = (path: string, n: number): Promise<string | undefined> =>
  readFile(fileOf(path, n), 'utf8').catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' ? undefined : '',
  );

interface Found {
  readonly n: number;
  readonly text: string;
  /** Undefined where the file names no process. */
  readonly owner: Owner | undefined;
}

async function highest(path: string): Promise<Found | undefined> {
  for (let tries = 0; ; tries++) {
    const [n] = await numbersOf(path);
    if (n === undefined) return undefined;
    const text = await readText(path, n);
    if (text !== undefined) return { n, text, owner: parse(text) };
    // A link that leads nowhere.
    if (tries > MAX_TRIES) return { n, text: '', owner: undefined };
  }
}

/** Earlier versions read the first two words of it. */
const textOf = ({ id, host, pid, address = '' }: Owner) => `${id} ${host} ${pid} ${address}`;

function parse(text: string): Owner | undefined {
  const [, id, host, pid = '0', address = ''] =
    /^([0-9a-f]{16}) (\S+)(?: (\d{1,10}) ?(.*))?$/s.exec(text) ?? [];
  if (id === undefined || host === undefined) return undefined;
  return { id, host, pid: Number(pid), ...(address !== '' && { address }) };
}

/** The path whose claim keeps others from writing `path`, hidden beside it. */
export const lockOf = (path: string): string => join(dirname(path), `.${basename(path)}.lock`);
