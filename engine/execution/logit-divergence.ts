/** How far one run of a model is from another: mean KL of their logits, computed on the device in pieces. */
import type { SampleStore } from './sample-store.js';
import { CancelledError } from '../errors.js';
import { Graph, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { inputSize, outputSize, type Model } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { RunnablePart } from './part.js';

/** A head, and what it reads of every sample. */
export interface HeadInputs {
  readonly head: RunnablePart;
  readonly store: SampleStore;
}

/** Rows of logits computed at once: few enough to stay close to the caches, enough for a matrix product to be worth it. */
export const rowsAtOnce = (classes: number): number => Math.max(128, Math.floor((1 << 20) / classes));

/** log p of every class: logits [rows, classes] → [rows, classes]. */
export function logProbabilities(logits: Value): Value {
  const below = op.sub(logits, op.reduceMax(logits, [1]));
  return op.sub(below, op.log(op.reduceSum(op.exp(below), [1])));
}

/** KL(p ‖ q) in nats of every row, from log p and log q [rows, classes] → [rows]. */
export const divergenceOf = (p: Value, q: Value): Value =>
  op.reduceSum(op.mul(op.exp(p), op.sub(p, q)), [1], false);

/** KL(softmax p ‖ softmax q) of every row: `p` and `q` [rows, classes] → `kl` [rows]. */
function divergenceGraph(rows: number, classes: number): Graph {
  const graph = new Graph();
  const of = (name: string) => logProbabilities(graph.input(name, [rows, classes]));
  graph.output('kl', divergenceOf(of('p'), of('q')));
  return graph;
}

/**
 * How far what a model makes of `q` is from what it makes of `p`: 0 where they are the same.
 * @param most the head's own samples of a run, which bound the memory it takes
 */
export type Distance = (
  programs: Programs,
  model: Pick<Model, 'head'>,
  p: HeadInputs,
  q: HeadInputs,
  signal: AbortSignal,
  most?: number,
) => Promise<number>;

/**
 * The mean of KL(p ‖ q) over all rows of logits, nats: those of every picture, or of every token.
 * @param most rows of logits of a run, which bound the memory it takes
 */
export async function meanDivergence(
  programs: Programs,
  { head: part }: Pick<Model, 'head'>,
  p: HeadInputs,
  q: HeadInputs,
  signal: AbortSignal,
  most?: number,
): Promise<number> {
  const { runtime } = programs;
  const size = inputSize(part);
  const classes = outputSize(part);
  const count = (p.store.samples * p.store.size) / size;
  const rows = Math.min(count, most ?? rowsAtOnce(classes));
  const label = `divergence ${rows}×${classes}`;
  const program = await programs.getBuilt(divergenceGraph, [rows, classes], label, { keep: false });
  const buffers = [new Float32Array(rows * size), new Float32Array(rows * size)] as const;
  const shape = part.inputShape(rows);
  let sum = 0;
  for (let start = 0; start < count; start += rows) {
    if (signal.aborted) throw new CancelledError();
    // The last run goes back to be whole; what it computes again is left out of the sum.
    const from = Math.min(start, count - rows);
    const logits = async ({ head, store }: HeadInputs, buffer: Float32Array) => {
      store.readSpan(from * size, buffer);
      return head.run(runtime.tensor(buffer, shape), rows);
    };
    const feeds = { p: await logits(p, buffers[0]), q: await logits(q, buffers[1]) };
    const { kl } = await program.run(feeds);
    feeds.p.dispose();
    feeds.q.dispose();
    for (const x of (await runtime.read(kl!)).subarray(start - from)) sum += x;
  }
  return sum / count;
}
