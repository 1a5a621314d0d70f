/**
 * What each bit-width of each layer costs by itself (method, section 6): the mean KL of the full-precision logits from
 * those with only this layer quantized, all others in full precision. Of an adapter set that folds or rotates weights,
 * full precision is the function of its own unquantized weights.
 *
 * Nothing before the changed layer's block is run again: its input is computed once for all layers and bit-widths.
 */
import {
  NO_SOURCES,
  type ModelInputs,
  type SampleCache,
  type Samples,
  type SampleStore,
} from './sample-store.js';
import { matrixFlops } from '../graph/work.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { headOf, partsOf, type Model, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { elasticOpener, precisionOf, type Adapters } from './quantized-model.js';
import { plainGraph, type RunnablePart } from './part.js';
import { type ElasticPart } from './quantized-part.js';
import { meanDivergence } from './logit-divergence.js';
import { passPart, plainParts } from './part-by-part.js';
import type { NamedTensors } from './tensors.js';

export interface SensitivityTask {
  /** Rotated already where the config says so (`rotatedFor`). */
  readonly checkpoint: Checkpoint;
  readonly config: Adapters['config'];
  readonly adaptersOf: (part: Part) => NamedTensors | Promise<NamedTensors>;
  readonly bits: readonly number[];
  readonly inputs: ModelInputs;
  readonly batch: number;
  readonly cache: SampleCache;
  /** Whether the blocks behind the changed one stay in memory; else each is read again for every bit-width of every layer. */
  readonly keepBlocks: boolean;
}

export interface SensitivityHooks {
  readonly signal: AbortSignal;
  /** @param done 0 to 1 */
  readonly status: (done: number) => void;
  /** Hears the costs of each layer, in order, as soon as they are there. */
  readonly measured: (costs: readonly number[]) => Promise<void>;
}

/** @param known costs of the first layers, which are not computed again */
export async function measureSensitivity(
  programs: Programs,
  task: SensitivityTask,
  known: number,
  { signal, status, measured }: SensitivityHooks,
): Promise<void> {
  const { checkpoint, config, adaptersOf, bits, inputs, cache } = task;
  const { model } = checkpoint;
  const { blocks } = model;
  const { samples, side = NO_SOURCES } = inputs;
  const batch = Math.min(task.batch, samples);
  const plain = plainParts(programs, checkpoint);
  const opener = elasticOpener(programs, checkpoint, config, adaptersOf);
  /** What enters the changed block; what the head reads in full precision; what it reads where one layer is quantized. */
  let entering: SampleStore | undefined;
  let reference: SampleStore | undefined;
  let changed: SampleStore | undefined;
  const kept = new Map<Part, ElasticPart>();

  const withBlock = async (part: Part, use: (block: ElasticPart) => Promise<void>) => {
    const block = kept.get(part) ?? (await opener.block(part));
    if (task.keepBlocks) kept.set(part, block);
    await use(block).finally(() => task.keepBlocks || block.dispose());
  };
  const run = (part: Part, runnable: RunnablePart, from: Samples, into: SampleStore | undefined) =>
    passPart(programs, part, runnable, from, into, cache, batch, { signal, side });

  const work = workOf(model, (part) => checkpoint.listing(part).linears.length * bits.length);
  let done = 0;
  const advance = (by: number) => status((done += by) / work.whole);
  const head = await plain(model.head);
  try {
    const stem = await plain(model.stem);
    entering = await run(model.stem, stem, inputs, undefined).finally(() => stem.dispose());
    for (const part of blocks)
      await withBlock(part, async (block) => {
        reference = await run(part, block, reference ?? entering!, reference);
      });
    advance(work.pass);

    let layer = 0;
    for (const [k, part] of blocks.entries())
      await withBlock(part, async (block) => {
        const listing = checkpoint.listing(part);
        for (const { name } of listing.linears) {
          if (layer++ < known) {
            advance(bits.length * work.behind(k));
            continue;
          }
          const costs: number[] = [];
          for (const width of bits) {
            const only = (full: string) => (full === part.prefix + name ? width : undefined);
            const precision = precisionOf(config, part, listing, only);
            // Keys and values in the cache are no part of the layer.
            await block.use({ layers: precision.layers });
            changed = await run(part, block, entering!, changed);
            for (const next of blocks.slice(k + 1))
              await withBlock(next, async (following) => {
                changed = await run(next, following, changed!, changed);
              });
            const pair = [reference!, changed].map((store) => ({ head, store }));
            const cost = await meanDivergence(programs, model, pair[0]!, pair[1]!, signal);
            // Rounding can bring the mean of next to nothing below zero.
            costs.push(Math.max(0, cost));
            advance(work.behind(k));
          }
          await measured(costs);
        }
        await block.use({ layers: new Map() });
        if (k + 1 < blocks.length) entering = await run(part, block, entering!, entering);
        advance(work.block(k));
      });
  } finally {
    head.dispose();
    for (const block of kept.values()) block.dispose();
    for (const store of [entering, reference, changed]) store?.release();
  }
}

/**
 * The share of the operations of matrix products that are saved against running the whole model for every bit-width of
 * every layer, and once in full precision.
 */
export function savedWork(checkpoint: Checkpoint, bits: number): number {
  const { model } = checkpoint;
  const count = (part: Part) => checkpoint.listing(part).linears.length * bits;
  const { whole, all } = workOf(model, count);
  const runs = model.blocks.reduce((sum, part) => sum + count(part), 0);
  return 1 - whole / (all * (runs + 1));
}

/** Operations a sample; `runs` is how often each block is changed. */
function workOf(model: Model, runs: (part: Part) => number) {
  const { rows } = headOf(model);
  const flops = new Map<string, number>();
  const of = (part: Part) => {
    if (!flops.has(part.kind))
      flops.set(part.kind, matrixFlops(plainGraph(part, part === model.head ? rows : 1)));
    return flops.get(part.kind)!;
  };
  const all = partsOf(model).reduce((sum, part) => sum + of(part), 0);
  const blocks = model.blocks.map(of);
  const head = of(model.head);
  const block = (k: number) => blocks[k]!;
  const pass = all - head;
  /** From block k on, and the head twice. */
  const behind = (k: number) => blocks.slice(k).reduce((sum, flops) => sum + flops, 0) + 2 * head;
  const whole = model.blocks.reduce((sum, part, k) => sum + runs(part) * behind(k) + block(k), pass);
  return { all, block, pass, behind, whole };
}
