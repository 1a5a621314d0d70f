/**
 * What a calibration has done so far, kept in `<out>.partial` so that it can be killed at any moment: `identity.json`
 * (written first), `block-<n>.safetensors` for finished blocks, `epoch.safetensors` for the one in work. Every file is
 * written atomically, and what follows from it is computed again in the same way.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { messageOf, UserError } from '../../errors.js';
import { removeStaleTemporaries, writeFileAtomic } from '../../formats/atomic.js';
import { readJsonFile } from '../../formats/json.js';
import { openSafetensors, writeSafetensors } from '../../formats/safetensors.js';
import type { Snapshot } from './reconstruct.js';
import type { NamedTensors } from '../../execution/tensors.js';
const IDENTITY = 'identity.json';
const EPOCH = 'epoch.safetensors';
const blockName = (index: number) => `block-${index}.safetensors`;
const partialOf = (out: string) => `${out}.partial`;

export interface FinishedBlock {
  readonly tensors: NamedTensors;
  /** What of it training changed, as it was at the start; adapters aside. */
  readonly started: NamedTensors;
  /** Mean loss of each bit group over the first and last epoch. */
  readonly first: readonly number[];
  readonly last: readonly number[];
}

/** Begins the names of `started` tensors in a block's file. */
const START = 'start/';

export interface SavedProgress {
  block(index: number): Promise<FinishedBlock | undefined>;
  finishBlock(index: number, block: FinishedBlock): Promise<void>;
  /** The latest snapshot of the given block, where it is the one in work. */
  epoch(index: number): Promise<Snapshot | undefined>;
  saveEpoch(index: number, snapshot: Snapshot): Promise<void>;
  remove(): Promise<void>;
}

/**
 * Opens the progress folder of an adapter set about to be made. `identity` is everything the result depends on:
 * progress made with another is refused. Throws UserError where an adapter set, or progress nobody asked to resume, is in the way.
 */
export async function openProgress(out: string, identity: unknown, resume: boolean): Promise<SavedProgress> {
  const folder = partialOf(out);
  if (existsSync(join(out, 'adapter_config.json')) && !existsSync(folder))
    throw new UserError(`${out} already holds an adapter set; choose another folder or delete it.`);
  const identityFile = join(folder, IDENTITY);
  const text = `${JSON.stringify(identity, null, 2)}\n`;
  if (existsSync(identityFile)) {
    if (!resume)
      throw new UserError(
        `${folder} holds an unfinished calibration; continue it with --resume, or delete it to start again.`,
      );
    const difference = firstDifference(await readJsonFile(identityFile), JSON.parse(text));
    if (difference !== undefined)
      throw new UserError(
        `${folder} was made with another "${difference}"; resume with the same settings, model and data, or delete it.`,
      );
    await removeStaleTemporaries(folder);
  } else {
    await mkdir(folder, { recursive: true });
    const others = (await readdir(folder)).filter((name) => !name.startsWith(`.${IDENTITY}.`));
    if (others.length > 0)
      throw new UserError(
        `${folder} holds ${others[0]!} and no ${IDENTITY}; delete the folder or choose another.`,
      );
    await writeFileAtomic(identityFile, text);
  }

  const blockFile = (index: number) => join(folder, blockName(index));
  const epochFile = join(folder, EPOCH);
  return {
    block: async (index) => {
      const saved = await load(blockFile(index));
      if (!saved) return undefined;
      const tensors: NamedTensors = new Map();
      const started: NamedTensors = new Map();
      for (const [name, tensor] of saved.tensors)
        if (name.startsWith(START)) started.set(name.slice(START.length), tensor);
        else tensors.set(name, tensor);
      return { tensors, started, first: saved.notes.first!, last: saved.notes.last! };
    },
    finishBlock: async (index, { tensors, started, first, last }) => {
      const all = new Map([
        ...tensors,
        ...[...started].map(([name, tensor]) => [START + name, tensor] as const),
      ]);
      await store(blockFile(index), all, { first, last });
      await rm(epochFile, { force: true });
    },
    epoch: async (index) => {
      const saved = await load(epochFile);
      if (saved?.notes.at?.[0] !== index) return undefined;
      const state = new Map([...saved.tensors].map(([name, { data }]) => [name, data]));
      return { epoch: saved.notes.at[1]!, state, first: saved.notes.first!, last: saved.notes.last! };
    },
    saveEpoch: (index, { epoch, state, first, last }) => {
      const tensors = new Map([...state].map(([name, data]) => [name, { shape: [data.length], data }]));
      return store(epochFile, tensors, { at: [index, epoch], first, last });
    },
    remove: () => removeFolder(folder),
  };
}

async function removeFolder(folder: string): Promise<void> {
  // The identity goes last: what is left where this is cut short still belongs to it.
  for (const name of await readdir(folder))
    if (name !== IDENTITY) await rm(join(folder, name), { recursive: true, force: true });
  await rm(folder, { recursive: true, force: true });
}

/** Deletes what an unfinished calibration has kept for the adapter set `out`, if there is any. */
export async function discardProgress(out: string): Promise<void> {
  if (existsSync(join(partialOf(out), IDENTITY))) await removeFolder(partialOf(out));
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
  while (names.has(blockName(blocks))) blocks++;
  return { blocks, epochs: names.has(EPOCH) ? await epochsOf(join(folder, EPOCH), blocks) : 0 };
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

type Notes = Readonly<Record<string, readonly number[]>>;

async function store(path: string, tensors: NamedTensors, notes: Notes): Promise<void> {
  const entries = [...tensors].map(([name, { shape, data }]) => ({
    name,
    dtype: 'F32' as const,
    shape,
    data,
  }));
  const texts = Object.fromEntries(Object.entries(notes).map(([key, list]) => [key, JSON.stringify(list)]));
  await writeSafetensors(path, entries, { ...texts, sha256: digest(tensors, texts) });
}

/** What `store` wrote, if it did. Throws UserError where that has changed since. */
async function load(path: string): Promise<{ tensors: NamedTensors; notes: Notes } | undefined> {
  if (!existsSync(path)) return undefined;
  try {
    const source = await openSafetensors(path);
    try {
      const tensors: NamedTensors = new Map();
      for (const { name, shape } of source.tensors.values())
        tensors.set(name, { shape, data: await source.read(name) });
      const { sha256, ...texts } = Object.fromEntries(source.metadata);
      if (sha256 !== digest(tensors, texts)) throw new UserError(`${basename(path)}: not as it was written.`);
      return {
        tensors,
        notes: Object.fromEntries(
          Object.entries(texts).map(([key, text]) => [key, JSON.parse(text) as number[]]),
        ),
      };
    } finally {
      await source.close();
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`${messageOf(error)} Delete ${path} to compute it again.`, { cause: error });
  }
}

/** SHA-256 over notes and tensors, whatever order they come in. */
function digest(tensors: NamedTensors, notes: Readonly<Record<string, string>>): string {
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
