/**
 * The gradient of a model's loss, carried back from the last block to the first with one block's weights in memory
 * (docs/METHOD.md, section 14). Gradients of a block take the place of what it reads.
 */
import { UserError } from '../errors.js';
import { gradients } from '../graph/gradients.js';
import { Graph, type Shape, type Value } from '../graph/ir.js';
import { addWork, timesWork, workOf, type Work } from '../graph/work.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { PartListing } from '../models/listing.js';
import { headOf, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import { disposeAll, openPlainPart, placeAll, plainGraph } from './part.js';
import { entering, passPart, type PassHooks } from './part-by-part.js';
import { NO_SOURCES, type ModelInputs, type SampleCache, type SampleStore } from './sample-store.js';
import { addUp } from './sums.js';
import { tapPart, type Tap } from './taps.js';

/** A layer's tap, and what the loss makes of it. */
export interface LayerGradient extends Tap {
  /** The gradient with respect to `y`, [rows, out]. */
  readonly delta: Value;
}

export interface BlockGradients {
  readonly index: number;
  readonly part: Part;
  readonly listing: PartListing;
  readonly batch: number;
}

/** An operand of a product of activations, [rows, channels], and what the loss makes of it. */
export interface OperandGradient {
  readonly x: Value;
  readonly delta: Value;
}

/** Declares graph inputs `sum.<name>`, and outputs `<name>`. Gradients of samples that fill up a batch are 0. */
export type LayerSums = (
  graph: Graph,
  layers: ReadonlyMap<string, LayerGradient>,
  block: BlockGradients,
) => ReadonlyMap<string, Shape>;

/** What is added up over all samples while the gradient passes a block: sums by name, and their shapes. */
export interface BlockSums {
  /** What the graph reads beside the block's parameters, on the device, made before it is built; disposed of behind the block. */
  open?(this: void, block: BlockGradients): Promise<Record<string, Tensor>>;
  build(
    this: void,
    ...args: [...Parameters<LayerSums>, operands: ReadonlyMap<string, OperandGradient>]
  ): ReadonlyMap<string, Shape>;
  /** Other outputs that `build` declares, of every sample, by name, and where they go. */
  keeps?(this: void, block: BlockGradients): ReadonlyMap<string, SampleStore>;
  done(this: void, block: BlockGradients, sums: ReadonlyMap<string, Float32Array>): Promise<void>;
}

export interface SweepTask {
  readonly checkpoint: Checkpoint;
  readonly inputs: ModelInputs;
  readonly cache: SampleCache;
  /** Samples that run at once. */
  readonly batch: number;
  /** The first block that is run, and what it reads, which stays as it is; default all, from the model's inputs. */
  readonly from?: { readonly index: number; readonly x: SampleStore };
  /** Replaces what the head reads of every sample by the gradient of its loss with respect to it. */
  differentiate(this: void, store: SampleStore, hooks: PassHooks): Promise<void>;
}

/**
 * Runs all samples through the model in full precision, keeping what every block reads, then carries the gradient of the sum of
 * all their losses back, last block first. A block is done, with sums over all samples, before the next is visited.
 * Throws UserError for a model of several chains.
 */
export async function sweepBack(
  programs: Programs,
  task: SweepTask,
  { open, build, keeps, done }: BlockSums,
  { signal, status }: PassHooks,
): Promise<void> {
  const { checkpoint, inputs, batch, from, differentiate } = task;
  const { model, listing } = checkpoint;
  if (model.towers?.length)
    throw new UserError(
      `${checkpoint.name}: gradients are not carried back through a model of several chains.`,
    );
  const side = inputs.side ?? NO_SOURCES;
  /** Of every block what it reads; behind those the gradient with respect to what the last of them yields. */
  const stores: SampleStore[] = [];
  // Back takes about twice as long as forward.
  const blocks = [...model.blocks.entries()].slice(from?.index ?? 0);
  const whole = 3 * blocks.length + 2;
  let passed = 0;
  const hooks = (parts: number) => ({
    signal,
    status: (share: number) => status?.((passed + parts * share) / whole),
  });
  try {
    for (const part of [...(from ? [] : [model.stem]), ...blocks.map(([, block]) => block)]) {
      stores.push(await passOn(programs, task, part, stores.at(-1) ?? from?.x, hooks(1)));
      passed++;
    }
    await differentiate(stores.at(-1)!, hooks(1));
    passed++;
    for (const [index, part] of blocks.reverse()) {
      const gradient = stores.pop()!;
      const x = stores.at(-1) ?? from!.x;
      const block = { index, part, listing: listing(part), batch };
      const opened = await open?.(block);
      const { graph, sums } = backwardGraph(block, build);
      const placed = { ...opened, ...(await placeAll(programs, await checkpoint.read(part))) };
      const beside = {
        reads: new Map([['dy', { samples: gradient, shape: part.outputShape(1) }]]),
        writes: new Map([...(x === from?.x ? [] : [['dx', x] as const]), ...(keeps?.(block) ?? [])]),
      };
      const streams = { part, streams: [{ x, side }], batch };
      const found = await addUp(programs, graph, sums, streams, placed, hooks(2), beside).finally(() => {
        disposeAll(placed);
        gradient.release();
      });
      passed += 2;
      await done(block, found);
    }
  } finally {
    for (const store of stores) store.release();
  }
}

/** Runs a part in full precision. @param source what it reads; absent for the stem */
async function passOn(
  programs: Programs,
  { checkpoint, inputs, cache, batch }: SweepTask,
  part: Part,
  source: SampleStore | undefined,
  hooks: PassHooks,
): Promise<SampleStore> {
  const side = inputs.side ?? NO_SOURCES;
  const runnable = await openPlainPart(programs, part, await checkpoint.read(part));
  const run = { part, runnable, source: source ?? entering(checkpoint.model, inputs, side), side, batch };
  return passPart(programs, run, undefined, cache, hooks).finally(() => runnable.dispose());
}

/** What a block is run by on the way back. */
export function backwardGraph(
  block: BlockGradients,
  build: BlockSums['build'],
): { readonly graph: Graph; readonly sums: ReadonlyMap<string, Shape> } {
  const graph = new Graph();
  const { layers, operands } = gradientsOf(graph, block);
  return { graph, sums: build(graph, layers, block, operands) };
}

/**
 * A block, differentiated: its parameters and ports are graph inputs, and `dy`, the gradient with respect to what it yields;
 * an output is `dx`, that with respect to what it reads.
 */
function gradientsOf(
  graph: Graph,
  { part, listing, batch }: BlockGradients,
): {
  readonly layers: ReadonlyMap<string, LayerGradient>;
  readonly operands: ReadonlyMap<string, OperandGradient>;
} {
  const { y, layers, read } = tapPart(graph, part, batch);
  const operands = listing.operands.map((name) => [name, read.get(name)!] as const);
  const cotangent = graph.input('dy', part.outputShape(batch));
  const wrt = [
    graph.inputs.get('x')!,
    ...[...layers.values()].map((tap) => tap.y),
    ...operands.map(([, x]) => x),
  ];
  const [dx, ...deltas] = gradients([{ value: y, cotangent }], wrt);
  graph.output('dx', dx!);
  return {
    layers: new Map([...layers].map(([name, tap], i) => [name, { ...tap, delta: deltas[i]! }])),
    operands: new Map(operands.map(([name, x], i) => [name, { x, delta: deltas[layers.size + i]! }])),
  };
}

/** What `sweepBack` takes, but for drawing labels. @param from the first block that is run, without the stem; default all */
export function sweepWork(
  { model, listing }: Pick<Checkpoint, 'model' | 'listing'>,
  samples: number,
  batch: number,
  build: BlockSums['build'],
  from?: number,
): Work {
  const runs = Math.ceil(samples / batch);
  // The gradient of a head is two products for the one of its logits.
  const head = timesWork(workOf(plainGraph(model.head, headOf(model).rows)), 3 * samples);
  const both = ([index, part]: readonly [number, Part]): Work => {
    const { graph } = backwardGraph({ index, part, listing: listing(part), batch }, build);
    return timesWork(addWork(workOf(plainGraph(part, batch)), workOf(graph)), runs);
  };
  const stem = from === undefined ? [timesWork(workOf(plainGraph(model.stem, batch)), runs)] : [];
  const blocks = [...model.blocks.entries()].slice(from ?? 0);
  return [...stem, head, ...blocks.map(both)].reduce(addWork);
}
