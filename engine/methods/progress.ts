/**
 * What a calibration has done so far, kept in `<out>.partial` so that it can be killed at any moment: `identity.json`
 * (written first), and files of the method's own. Every file is written atomically, and what follows from it is computed
 * again in the same way.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import type { NamedTensors } from '../execution/tensors.js';
import { removeStaleTemporaries, TEMPORARY, writeFileAtomic } from '../formats/atomic.js';
import { makeFolder } from '../formats/folders.js';
import { expectObject, readJsonFile } from '../formats/json.js';
import { sha256 } from '../formats/json-fields.js';
import { openSafetensors, writeSafetensors } from '../formats/safetensors.js';

const IDENTITY = 'identity.json';
/** Where an adapter set is to be replaced, `tensors_sha256` of the one that was there. */
const REPLACES = 'replaces.json';
/** What methods keep. */
const TENSORS = '.safetensors';
/** Of what a method keeps beside its identity; raised with every change that would continue it wrongly. */
const FORMAT = 4;
export const partialOf = (out: string): string => `${out}.partial`;

/** A tensor to keep: float32 numbers, or bytes. */
export interface KeptTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint8Array;
}

/** Numbers kept with tensors. */
export type Notes = Readonly<Record<string, readonly number[]>>;

/** Files of tensors, by names that end in `.safetensors`, whose content is checked when they are read. */
export interface ProgressFiles {
  has(name: string): boolean;
  save(name: string, tensors: ReadonlyMap<string, KeptTensor>, notes: Notes): Promise<void>;
  /** What was saved under the name, if anything. Throws UserError where that has changed since. */
  load(name: string): Promise<Kept | undefined>;
  remove(name: string): Promise<void>;
}

/** What a file holds. */
export interface Kept {
  readonly tensors: NamedTensors;
  readonly bytes: ReadonlyMap<string, KeptTensor & { readonly data: Uint8Array }>;
  readonly notes: Notes;
}

export interface Progress extends ProgressFiles {
  /** Deletes the folder. */
  end(): Promise<void>;
}

/** The file of a finished block, and of the one in work, after some of its epochs. */
export const blockFile = (index: number, of = ''): string => `${of}block-${index}.safetensors`;
export const EPOCH_FILE = 'epoch.safetensors';

/**
 * Opens the progress folder of an adapter set about to be made. `identity` is everything the result depends on:
 * progress made with another is refused. Throws UserError where progress that nobody asked to resume is in the way.
 */
export async function openProgress(out: string, identity: object, resume: boolean): Promise<Progress> {
  const folder = partialOf(out);
  const identityFile = join(folder, IDENTITY);
  const text = `${JSON.stringify({ format: FORMAT, ...identity }, null, 2)}\n`;
  if (existsSync(identityFile)) {
    if (!resume) throw unfinished(folder);
    requireSame(folder, await readJsonFile(identityFile), JSON.parse(text));
    await removeStaleTemporaries(folder);
  } else {
    await makeFolder(folder);
    await requireFresh(folder);
    await writeFileAtomic(identityFile, text);
  }
  return {
    has: (name) => existsSync(join(folder, name)),
    save: (name, tensors, notes) => {
      if (!name.endsWith(TENSORS)) throw new Error(`Kept files end in ${TENSORS}: ${name}.`);
      return store(join(folder, name), tensors, notes);
    },
    load: (name) => load(join(folder, name)),
    remove: (name) => rm(join(folder, name), { force: true }),
    end: () => removeFolder(folder),
  };
}

/** Throws UserError where a folder that is to hold the progress of a new calibration holds anything of its own. */
async function requireFresh(folder: string): Promise<void> {
  const own = (name: string) => name === REPLACES || TEMPORARY.test(name);
  const other = (await readdir(folder)).find((name) => !own(name));
  if (other !== undefined)
    throw new UserError(`${folder} holds ${other} and no ${IDENTITY}; delete the folder or choose another.`);
}

/**
 * Makes sure, before any work, that a calibration can keep its progress beside the adapter set `out`: throws UserError where
 * progress that nobody asked to resume, or something else, is in the way.
 */
export async function requireProgressFolder(out: string, resume: boolean): Promise<void> {
  const folder = partialOf(out);
  await makeFolder(folder);
  if (!existsSync(join(folder, IDENTITY))) return requireFresh(folder);
  if (!resume) throw unfinished(folder);
}

const unfinished = (folder: string) =>
  new UserError(
    `${folder} holds an unfinished calibration; continue it with --resume, or delete it to start again.`,
  );

/** Notes which adapter set, if any, the calibration that begins in `out` is to replace. */
export async function noteReplaced(out: string, digest: string | undefined): Promise<void> {
  const path = join(partialOf(out), REPLACES);
  if (digest === undefined) await rm(path, { force: true });
  else await writeFileAtomic(path, `${JSON.stringify({ tensors_sha256: digest })}\n`);
}

/** `tensors_sha256` of the adapter set that the unfinished calibration of `out` is to replace; undefined where there was none. */
export async function replacedBy(out: string): Promise<string | undefined> {
  const path = join(partialOf(out), REPLACES);
  if (!existsSync(path)) return undefined;
  return sha256()(expectObject(await readJsonFile(path), path), 'tensors_sha256', path);
}

function requireSame(folder: string, saved: unknown, own: unknown): void {
  const { format } = expectObject(saved, join(folder, IDENTITY));
  if (format !== FORMAT)
    throw new UserError(
      `${folder} was begun by another version of Elastic Precision, whose progress this one cannot continue; delete it to start again.`,
    );
  const difference = firstDifference(saved, own);
  if (difference !== undefined)
    throw new UserError(
      `${folder} was made with another "${difference}"; resume with the same settings, model and data, or delete it.`,
    );
}

/** Deletes the files of a calibration, and the folder where nothing else is in it. */
async function removeFolder(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  // The identity goes last: what is left where this is cut short still belongs to it.
  const kept = names.filter((name) => name.endsWith(TENSORS) || TEMPORARY.test(name));
  for (const name of [...kept, REPLACES, IDENTITY]) await rm(join(folder, name), { force: true });
  await rmdir(folder).catch(() => undefined);
}

/** Deletes what an unfinished calibration has kept for the adapter set `out`, if there is any. */
export async function discardProgress(out: string): Promise<void> {
  if (existsSync(join(partialOf(out), IDENTITY))) await removeFolder(partialOf(out));
}

/** Removes the progress folder of a calibration that has not begun. */
export async function removeUnusedProgress(out: string): Promise<void> {
  const folder = partialOf(out);
  if (existsSync(join(folder, IDENTITY))) return;
  await rm(join(folder, REPLACES), { force: true }).catch(() => undefined);
  await rmdir(folder).catch(() => undefined);
}

/** How far a calibration has come: whole blocks, and whole epochs of the next one. */
export interface ProgressMade {
  readonly blocks: number;
  readonly epochs: number;
}

/** What resuming the calibration of the adapter set `out` would find done; undefined where nothing was kept. */
export async function progressMade(out: string): Promise<ProgressMade | undefined> {
  const folder = partialOf(out);
  const names = new Set(await readdir(folder).catch(() => []));
  if (!names.has(IDENTITY)) return undefined;
  let blocks = 0;
  while (names.has(blockFile(blocks))) blocks++;
  return { blocks, epochs: names.has(EPOCH_FILE) ? await epochsOf(join(folder, EPOCH_FILE), blocks) : 0 };
}

async function epochsOf(path: string, block: number): Promise<number> {
  try {
    const source = await openSafetensors(path);
    await source.close();
    const at = JSON.parse(source.metadata.get('at') ?? 'null') as unknown;
    return Array.isArray(at) && at[0] === block && Number.isSafeInteger(at[1]) ? (at[1] as number) : 0;
  } catch {
    // The job itself says what is wrong with it when it is resumed.
    return 0;
  }
}

/** Throws UserError for numbers that no set may hold: a calibration that went wrong ends here, and not when all is done. */
async function store(path: string, tensors: ReadonlyMap<string, KeptTensor>, notes: Notes): Promise<void> {
  for (const [name, { data }] of tensors)
    if (data instanceof Float32Array && !data.every(Number.isFinite))
      throw new UserError(
        `Calibration gave NaN or infinite numbers for ${name}; lower the learning rates, calibrate on other data, or try another device.`,
      );
  const entries = [...tensors].map(([name, { shape, data }]) => ({
    name,
    dtype: data instanceof Float32Array ? ('F32' as const) : ('U8' as const),
    shape,
    data,
  }));
  const texts = Object.fromEntries(Object.entries(notes).map(([key, list]) => [key, JSON.stringify(list)]));
  await writeSafetensors(path, entries, { ...texts, sha256: digest(tensors, texts) });
}

/** What `store` wrote, if it did. Throws UserError where that has changed since. */
async function load(path: string): Promise<Kept | undefined> {
  if (!existsSync(path)) return undefined;
  try {
    const source = await openSafetensors(path);
    try {
      const tensors: NamedTensors = new Map();
      const bytes = new Map<string, KeptTensor & { readonly data: Uint8Array }>();
      for (const { name, shape, dtype } of source.tensors.values())
        if (dtype === 'U8') bytes.set(name, { shape, data: await source.readBytes(name) });
        else tensors.set(name, { shape, data: await source.read(name) });
      const { sha256, ...texts } = Object.fromEntries(source.metadata);
      if (sha256 !== digest(new Map<string, KeptTensor>([...tensors, ...bytes]), texts))
        throw new UserError(`${basename(path)}: not as it was written.`);
      const notes = Object.entries(texts).map(([key, text]) => [key, JSON.parse(text) as number[]] as const);
      return { tensors, bytes, notes: Object.fromEntries(notes) };
    } finally {
      await source.close();
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`${messageOf(error)} Delete ${path} to compute it again.`, { cause: error });
  }
}

/** SHA-256 over notes and tensors, whatever order they come in. */
function digest(tensors: ReadonlyMap<string, KeptTensor>, notes: Readonly<Record<string, string>>): string {
  const hash = createHash('sha256').update(JSON.stringify(Object.entries(notes).sort()));
  for (const name of [...tensors.keys()].sort()) {
    const { shape, data } = tensors.get(name)!;
    hash
      .update(JSON.stringify([name, shape]))
      .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

/** The first key, dots between levels, at which two JSON values differ. */
function firstDifference(a: unknown, b: unknown, path = ''): string | undefined {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null)
    return a === b ? undefined : path;
  const [left, right] = [a, b] as [Record<string, unknown>, Record<string, unknown>];
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
    const found = firstDifference(left[key], right[key], path ? `${path}.${key}` : key);
    if (found !== undefined) return found;
  }
  return undefined;
}
