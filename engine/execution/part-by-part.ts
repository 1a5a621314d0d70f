/** A model over many samples with the weights of one part in memory at a time, activations lying in a store between parts. */
import {
  everySample,
  NO_SOURCES,
  type ModelInputs,
  type SampleCache,
  type Samples,
  type SampleStore,
  type Sources,
} from './sample-store.js';
import { batchReader, tensorsOfBatch } from './batches.js';
import { CancelledError } from '../errors.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { chainParts, chainsOf, outputSize, type Chain, type Model, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { openPlainPart, partFlops, type RunnablePart } from './part.js';
import { wideLayers, type OpenOptions } from './wide-layers.js';

/** Opens a part of a model at some precision, ready to run; whoever asks for it disposes of it. */
export type OpenPart = (part: Part) => Promise<RunnablePart>;

/** The parts as the checkpoint has them. */
export const plainParts =
  (programs: Programs, checkpoint: Checkpoint, options: OpenOptions = {}): OpenPart =>
  async (part) => {
    const wide = wideLayers(programs, checkpoint.listing(part), options);
    return openPlainPart(programs, part, await checkpoint.read(part), wide);
  };

export interface PassHooks {
  readonly signal: AbortSignal;
  /** @param done 0 to 1 */
  readonly status?: (done: number) => void;
}

/** A part, ready to run, and what it reads. */
export interface PartRun {
  readonly part: Part;
  readonly runnable: RunnablePart;
  readonly source: Samples;
  /** What feeds side ports. */
  readonly side?: Sources;
  /** Samples that run at once. */
  readonly batch: number;
}

/** How a model runs over its samples: how many at once, and where activations lie between parts. */
export interface ModelPass extends PassHooks {
  readonly cache: SampleCache;
  readonly batch: number;
}

/**
 * Runs a part on the samples at `indices` of what it reads and writes each output to its sample's place in `into`, which may be
 * the source. The last batch is filled up by repetition.
 */
export async function runSamples(
  { runtime }: Programs,
  { part, runnable, source, side = NO_SOURCES, batch }: PartRun,
  indices: readonly number[],
  into: SampleStore,
  { signal, status }: PassHooks,
): Promise<void> {
  const reader = batchReader(part, source, side, batch);
  for (let start = 0; start < indices.length; start += batch) {
    if (signal.aborted) throw new CancelledError();
    const picked = indices.slice(start, start + batch);
    const filler = Array<number>(batch - picked.length).fill(picked[0]!);
    const { x, ...ports } = tensorsOfBatch(runtime, part, reader.read([...picked, ...filler]), batch);
    const output = await runnable.run(x!, batch, ports);
    const data = await runtime.read(output);
    into.write(picked, data.subarray(0, picked.length * into.size));
    output.dispose();
    status?.(Math.min(1, (start + batch) / indices.length));
  }
}

/**
 * Runs a part on all samples of what it reads. Its outputs take the place of what is in `into`, which may be the source: in the
 * same store where they have its size, else in a new one, and the old one is released.
 */
export async function passPart(
  programs: Programs,
  run: PartRun,
  into: SampleStore | undefined,
  cache: SampleCache,
  hooks: PassHooks,
): Promise<SampleStore> {
  const { source } = run;
  const size = outputSize(run.part);
  const isReplaced = into?.size !== size;
  if (isReplaced && into !== source) into?.release();
  const target = isReplaced ? cache.store(source.samples, size) : into;
  try {
    await runSamples(programs, run, everySample(target), target, hooks);
  } catch (error) {
    if (isReplaced) target.release();
    throw error;
  }
  if (isReplaced) into?.release();
  return target;
}

/** What the stem of a chain reads. @param named what feeds side ports and towers, by their names */
export function entering({ input, stem }: Chain, own: Samples, named: Sources): Samples {
  const samples = input === undefined ? own : named.get(input);
  if (!samples) throw new Error(`${stem.prefix} (${stem.kind}): nothing feeds "${input!}".`);
  return samples;
}

/**
 * All chains, one part after another, on all of the inputs.
 * @returns what the head reads of every sample; whoever asks for it releases it
 */
export async function passBlocks(
  programs: Programs,
  model: Model,
  open: OpenPart,
  inputs: ModelInputs,
  { cache, batch, signal, status }: ModelPass,
): Promise<SampleStore> {
  const flops = flopsByKind();
  const total = flopsOfBlocks(model);
  let passed = 0;
  const side = new Map(inputs.side);
  const towers: SampleStore[] = [];
  let store: SampleStore | undefined;
  try {
    for (const chain of chainsOf(model)) {
      store = undefined;
      for (const part of chainParts(chain)) {
        const runnable = await open(part);
        const source: Samples = store ?? entering(chain, inputs, side);
        const own = flops(part);
        store = await passPart(programs, { part, runnable, source, side, batch }, store, cache, {
          signal,
          status: (done) => status?.((passed + done * own) / total),
        }).finally(() => runnable.dispose());
        passed += own;
      }
      if (chain.name === undefined) continue;
      side.set(chain.name, store!);
      towers.push(store!);
    }
    return store!;
  } catch (error) {
    store?.release();
    throw error;
  } finally {
    for (const tower of towers) tower.release();
  }
}

/** What a sample takes in all parts before the head, in floating-point operations of matrix products. */
export function flopsOfBlocks(model: Model): number {
  const flops = flopsByKind();
  return chainsOf(model)
    .flatMap(chainParts)
    .reduce((sum, part) => sum + flops(part), 0);
}

/** `partFlops`, counted once for each kind. */
function flopsByKind(): (part: Part) => number {
  const known = new Map<string, number>();
  return (part) => {
    const flops = known.get(part.kind) ?? partFlops(part);
    known.set(part.kind, flops);
    return flops;
  };
}

/** The most elements of a sample that lie in stores at once while it passes all chains. */
export function passingSize(model: Model): number {
  let most = 0;
  let kept = 0;
  for (const chain of chainsOf(model)) {
    const sizes = chainParts(chain).map(outputSize);
    for (const [i, size] of sizes.entries())
      most = Math.max(most, kept + size + (i > 0 && sizes[i - 1] !== size ? sizes[i - 1]! : 0));
    kept += sizes.at(-1)!;
  }
  return most;
}
