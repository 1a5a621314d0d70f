/**
 * What each bit-width of each layer costs by itself (docs/METHOD.md, section 6): the mean KL of the full-precision
 * logits from those with only this layer quantized, all others in full precision. Of an adapter set that folds or
 * rotates weights, full precision is the function of its own unquantized weights.
 *
 * Nothing before the changed layer's block is run again: its input is computed once for all layers and bit-widths.
 */
import {
  type ModelInputs,
  type SampleCache,
  type Samples,
  type SampleStore,
  type Sources,
} from './sample-store.js';
import { matrixFlops } from '../graph/work.js';
import type { Checkpoint } from '../models/checkpoint.js';
import {
  blocksOf,
  chainParts,
  chainsOf,
  headOf,
  partsOf,
  readersOf,
  type Model,
  type Part,
} from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { openBlock, widthsIn } from './quantized-model.js';
import { plainGraph, type RunnablePart } from './part.js';
import { type ElasticPart } from './quantized-part.js';
import type { Distance } from './logit-divergence.js';
import { entering, passPart, plainParts } from './part-by-part.js';
import type { QuantizedSource } from './source.js';

export interface SensitivityTask {
  readonly source: QuantizedSource;
  readonly inputs: ModelInputs;
  readonly batch: number;
  readonly cache: SampleCache;
  readonly distance: Distance;
  /** Whether the blocks behind the changed one stay in memory; else each is read again for every bit-width of every layer. */
  readonly keepBlocks: boolean;
}

export interface SensitivityHooks {
  readonly signal: AbortSignal;
  /** @param done 0 to 1 */
  readonly status: (done: number) => void;
  /** Hears the costs of each layer at each offered bit-width, ascending, as soon as they are there. */
  readonly measured: (costs: readonly number[]) => Promise<void>;
}

/** @param known costs of the first layers, which are not computed again */
export async function measureSensitivity(
  programs: Programs,
  task: SensitivityTask,
  known: number,
  { signal, status, measured }: SensitivityHooks,
): Promise<void> {
  const { source, inputs, cache, distance } = task;
  const { checkpoint, offered } = source;
  const { model } = checkpoint;
  const chains = chainsOf(model);
  const batch = Math.min(task.batch, inputs.samples);
  const plain = plainParts(programs, checkpoint);
  /** Of each chain: what enters its changed block, what it yields in full precision, and what with one layer quantized. */
  const before: SampleStore[] = [];
  const full: SampleStore[] = [];
  const changed: SampleStore[] = [];
  /** What feeds side ports in full precision. */
  const side = new Map(inputs.side);
  const kept = new Map<Part, ElasticPart>();

  const withBlock = async (part: Part, use: (block: ElasticPart) => Promise<void>) => {
    const block = kept.get(part) ?? (await openBlock(programs, source, part));
    if (task.keepBlocks) kept.set(part, block);
    await use(block).finally(() => task.keepBlocks || block.dispose());
  };
  const run = (
    part: Part,
    runnable: RunnablePart,
    source: Samples,
    into: SampleStore | undefined,
    named: Sources = side,
  ) => passPart(programs, { part, runnable, source, side: named, batch }, into, cache, { signal });
  /** Runs the stem of chain `c` into its place among `stores`. */
  const runStem = async (c: number, stores: SampleStore[], named: Sources = side) => {
    const chain = chains[c]!;
    const stem = await plain(chain.stem);
    const own = entering(chain, inputs, named);
    stores[c] = await run(chain.stem, stem, own, stores[c], named).finally(() => stem.dispose());
  };
  /** Runs blocks of chain `c` from the k-th on into its place among `stores`. */
  const runBlocks = async (
    c: number,
    k: number,
    from: SampleStore,
    stores: SampleStore[],
    named: Sources = side,
  ) => {
    let own = from;
    for (const part of chains[c]!.blocks.slice(k))
      await withBlock(part, async (block) => {
        own = stores[c] = await run(part, block, own, stores[c], named);
      });
  };
  /** What the head reads where chain `c` yields what is in `changed`. */
  const runReaders = async (c: number): Promise<SampleStore> => {
    const named = new Map<string, Samples>(side);
    const name = (d: number) => chains[d]!.name !== undefined && named.set(chains[d]!.name, changed[d]!);
    name(c);
    const readers = readersOf(model, c);
    for (const d of readers) {
      await runStem(d, changed, named);
      await runBlocks(d, 0, changed[d]!, changed, named);
      name(d);
    }
    const last = chains.length - 1;
    return c === last || readers.includes(last) ? changed[last]! : full[last]!;
  };

  const work = workOf(model, (part) => checkpoint.listing(part).linears.length * offered.length);
  let done = 0;
  const advance = (by: number) => status((done += by) / work.whole);
  const head = await plain(model.head);
  try {
    for (const [c, { name }] of chains.entries()) {
      await runStem(c, before);
      await runBlocks(c, 0, before[c]!, full);
      full[c] ??= before[c]!;
      if (name !== undefined) side.set(name, full[c]);
    }
    advance(work.pass);

    let layer = 0;
    for (const [c, { blocks }] of chains.entries())
      for (const [k, part] of blocks.entries())
        await withBlock(part, async (block) => {
          const listing = checkpoint.listing(part);
          for (const { name } of listing.linears) {
            if (layer++ < known) {
              advance(offered.length * work.behind(c, k));
              continue;
            }
            const costs: number[] = [];
            for (const bits of offered) {
              const only = (full: string) => (full === part.prefix + name ? bits : undefined);
              // Keys and values in the cache are not part of the layer.
              await block.use(widthsIn(source, part, only), false);
              changed[c] = await run(part, block, before[c]!, changed[c]);
              await runBlocks(c, k + 1, changed[c], changed);
              const pair = [full.at(-1)!, await runReaders(c)].map((store) => ({ head, store }));
              const cost = await distance(programs, model, pair[0]!, pair[1]!, signal);
              // Rounding can bring the mean of next to nothing below zero.
              costs.push(Math.max(0, cost));
              advance(work.behind(c, k));
            }
            await measured(costs);
          }
          await block.use(() => undefined, false);
          if (k + 1 < blocks.length) before[c] = await run(part, block, before[c]!, before[c]);
          advance(work.of(part));
        });
  } finally {
    head.dispose();
    for (const block of kept.values()) block.dispose();
    for (const store of [...before, ...full, ...changed]) store?.release();
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
  const runs = blocksOf(model).reduce((sum, part) => sum + count(part), 0);
  return 1 - whole / (all * (runs + 1));
}

/** Operations per sample; `runs` is how often each block is changed. */
function workOf(model: Model, runs: (part: Part) => number) {
  const { rows } = headOf(model);
  const flops = new Map<string, number>();
  const of = (part: Part) => {
    if (!flops.has(part.kind))
      flops.set(part.kind, matrixFlops(plainGraph(part, part === model.head ? rows : 1)));
    return flops.get(part.kind)!;
  };
  const sum = (parts: readonly Part[]) => parts.reduce((total, part) => total + of(part), 0);
  const chains = chainsOf(model);
  const all = sum(partsOf(model));
  const pass = all - of(model.head);
  const readers = chains.map((_, c) =>
    readersOf(model, c).reduce((total, d) => total + sum(chainParts(chains[d]!)), 0),
  );
  /** From block k of chain c on, what reads the chain, and the head twice. */
  const behind = (c: number, k: number) => sum(chains[c]!.blocks.slice(k)) + readers[c]! + 2 * of(model.head);
  let whole = pass;
  for (const [c, { blocks }] of chains.entries())
    for (const [k, part] of blocks.entries()) whole += runs(part) * behind(c, k) + of(part);
  return { all, of, pass, behind, whole };
}
