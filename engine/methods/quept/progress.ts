/**
 * What a calibration has done so far, kept in `<out>.partial` so that it can be killed at any moment: `identity.json`
 * (written first), `block-<n>.safetensors` for finished blocks, `epoch.safetensors` for the one in work. Every file is
 * written atomically, and what follows from it is computed again in the same way.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../errors.js';
import { removeStaleTemporaries, writeFileAtomic } from '../../formats/atomic.js';
import { readJsonFile } from '../../formats/json.js';
import { openSafetensors, writeSafetensors } from '../../formats/safetensors.js';
import type { Snapshot } from './reconstruct.js';
import type { NamedTensors } from './state.js';

export interface FinishedBlock {
  readonly tensors: NamedTensors;
  /** Mean loss of each bit group over the first and last epoch. */
  readonly first: readonly number[];
  readonly last: readonly number[];
}

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
  const folder = `${out}.partial`;
  if (existsSync(join(out, 'adapter_config.json')) && !existsSync(folder))
    throw new UserError(`${out} already holds an adapter set; choose another folder or delete it.`);
  const identityFile = join(folder, 'identity.json');
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
    await writeFileAtomic(identityFile, text);
  }

  const blockFile = (index: number) => join(folder, `block-${index}.safetensors`);
  const epochFile = join(folder, 'epoch.safetensors');
  return {
    block: async (index) => {
      const saved = await load(blockFile(index));
      return saved && { tensors: saved.tensors, first: saved.notes.first!, last: saved.notes.last! };
    },
    finishBlock: async (index, { tensors, first, last }) => {
      await store(blockFile(index), tensors, { first, last });
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
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

type Notes = Readonly<Record<string, readonly number[]>>;

async function store(path: string, tensors: NamedTensors, notes: Notes): Promise<void> {
  const entries = [...tensors].map(([name, { shape, data }]) => ({
    name,
    dtype: 'F32' as const,
    shape,
    data,
  }));
  await writeSafetensors(
    path,
    entries,
    Object.fromEntries(Object.entries(notes).map(([key, list]) => [key, JSON.stringify(list)])),
  );
}

async function load(path: string): Promise<{ tensors: NamedTensors; notes: Notes } | undefined> {
  if (!existsSync(path)) return undefined;
  const source = await openSafetensors(path);
  try {
    const tensors: NamedTensors = new Map();
    for (const { name, shape } of source.tensors.values())
      tensors.set(name, { shape, data: await source.read(name) });
    return {
      tensors,
      notes: Object.fromEntries(
        [...source.metadata].map(([key, text]) => [key, JSON.parse(text) as number[]]),
      ),
    };
  } finally {
    await source.close();
  }
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
