/** The cross-entropy of a model's outputs: labels of them, and the gradient with respect to what its head reads. */
import { createRandom, type Random } from '../data/random.js';
import { CancelledError } from '../errors.js';
import { gradients } from '../graph/gradients.js';
import { Graph, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { buildPart, fullPrecision } from '../models/builders.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { headOf, inputSize, outputSize, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Program } from '../runtime/session.js';
import { rowsAtOnce } from './logit-divergence.js';
import { disposeAll, placeAll, plainGraph } from './part.js';
import type { PassHooks } from './part-by-part.js';
import { everySample, type SampleSource, type SampleStore } from './sample-store.js';

/** For each row, as a sample of the head's own is called, the number of its class or token; -1 where it has none. */
export type Labels = Int32Array;

/** Of every token the next one of its text; the last has none. */
export function nextTokens(inputs: SampleSource<BigInt64Array>): Labels {
  const { samples, size } = inputs;
  const ids = new BigInt64Array(samples * size);
  inputs.read(everySample(inputs), ids);
  return Int32Array.from(ids, (_, i) => ((i + 1) % size === 0 ? -1 : Number(ids[i + 1]!)));
}

/** Which rows have a label to learn from: all but the last token of each text. */
export function labelledRows({ model }: Pick<Checkpoint, 'model'>): (row: number) => boolean {
  const { rows } = headOf(model);
  return (row) => model.reads !== 'tokens' || row % rows !== rows - 1;
}

/**
 * One draw for each row from the model's own prediction. With such labels, squares of gradients are in the mean the curvature
 * of the divergence from the model (the Fisher identity).
 * @param store what the head reads @param isLabelled which rows get a label
 */
export async function drawLabels(
  programs: Programs,
  checkpoint: Checkpoint,
  store: SampleStore,
  { seed, isLabelled }: { readonly seed: number; readonly isLabelled: (row: number) => boolean },
  hooks: PassHooks,
): Promise<Labels> {
  const classes = outputSize(checkpoint.model.head);
  const labels = new Int32Array(rowsOf(checkpoint, store)).fill(-1);
  const visit: VisitRows = async ({ first, count, run }) => {
    const logits = await run('y');
    for (let row = first; row < first + count; row++)
      if (isLabelled(row)) {
        const at = (row - first) * classes;
        labels[row] = drawn(logits.subarray(at, at + classes), createRandom(seed, 'label', row).next());
      }
  };
  await visitRows(programs, checkpoint, store, { graphOf: plainGraph, name: 'logits', visit }, hooks);
  return labels;
}

/** The class at which the cumulative softmax of logits passes `share`, 0 to 1. */
function drawn(logits: Float32Array, share: number): number {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(logits, (x) => Math.exp(x - largest));
  let left = share * weights.reduce((sum, x) => sum + x, 0);
  for (const [i, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return i;
  }
  return weights.length - 1;
}

/**
 * Replaces what the head reads by the gradient of the sum of all rows' cross-entropies, in nats, with respect to it. It is 0
 * in rows without a label.
 */
export async function replaceByGradient(
  programs: Programs,
  checkpoint: Checkpoint,
  store: SampleStore,
  labels: Labels,
  hooks: PassHooks,
): Promise<void> {
  const { runtime } = programs;
  const size = inputSize(checkpoint.model.head);
  const visit: VisitRows = async ({ first, count, rows, run }) => {
    const own = new Float32Array(rows).fill(-1);
    own.set(labels.subarray(first, first + count));
    const gradient = await run('dx', { label: runtime.tensor(own, [rows, 1]) });
    store.writeSpan(first * size, gradient.subarray(0, count * size));
  };
  await visitRows(programs, checkpoint, store, { graphOf: gradientGraph, name: 'gradient', visit }, hooks);
}

/** Inputs `x`, `label` [rows, 1] and the head's parameters; output `dx` of the shape of `x`. */
const gradientGraph = (head: Part, rows: number): Graph =>
  headGradient(head, rows, (logits) => {
    const { graph } = logits;
    const classes = logits.shape.at(-1)!;
    const label = graph.input('label', [rows, 1]);
    const numbers = graph.constant(
      Float32Array.from({ length: classes }, (_, i) => i),
      [1, classes],
    );
    const is = (a: Value, b: Value) => op.cast(op.equal(a, b), 'float32');
    const none = is(label, graph.scalar(-1));
    // Softmax less the label's one.
    return op.mul(op.sub(op.softmax(logits), is(label, numbers)), op.sub(graph.scalar(1), none));
  });

/** @param cotangentOf the gradient with respect to logits [rows, classes] @returns a graph whose output is `dx`, of the shape of `x` */
function headGradient(head: Part, rows: number, cotangentOf: (logits: Value) => Value): Graph {
  const graph = new Graph();
  const logits = buildPart(graph, head, fullPrecision(graph), rows);
  const [dx] = gradients([{ value: logits, cotangent: cotangentOf(logits) }], [graph.inputs.get('x')!]);
  graph.output('dx', dx!);
  return graph;
}

/**
 * Replaces what the head reads by a random direction's gradient with respect to it, whose squares are in the mean the curvature
 * of the divergence from the model's own prediction p: that of c · logits, c = √p ∘ u − p (√p · u), where u are random signs,
 * so that E[c cᵀ] = diag(p) − p pᵀ. Drawn labels have the same mean, but tell next to nothing of predictions that are almost
 * certain.
 */
export async function replaceByCurvature(
  programs: Programs,
  checkpoint: Checkpoint,
  store: SampleStore,
  seed: number,
  hooks: PassHooks,
): Promise<void> {
  const { runtime } = programs;
  const { head } = checkpoint.model;
  const [size, classes] = [inputSize(head), outputSize(head)];
  const visit: VisitRows = async ({ first, count, rows, run }) => {
    const signs = new Float32Array(rows * classes);
    for (let row = 0; row < count; row++)
      fillWithSigns(
        signs.subarray(row * classes, (row + 1) * classes),
        createRandom(seed, 'sign', first + row),
      );
    const gradient = await run('dx', { signs: runtime.tensor(signs, [rows, classes]) });
    store.writeSpan(first * size, gradient.subarray(0, count * size));
  };
  await visitRows(programs, checkpoint, store, { graphOf: curvatureGraph, name: 'curvature', visit }, hooks);
}

/** Each 1 or −1. */
function fillWithSigns(signs: Float32Array, random: Random): void {
  let word = 0;
  for (let i = 0; i < signs.length; i++) {
    word = i % 32 === 0 ? random.integer(2 ** 32) : word >>> 1;
    signs[i] = 1 - 2 * (word & 1);
  }
}

/** Inputs `x`, `signs` [rows, classes] and the head's parameters; output `dx` of the shape of `x`. */
const curvatureGraph = (head: Part, rows: number): Graph =>
  headGradient(head, rows, (logits) => {
    const p = op.softmax(logits);
    const mixed = op.mul(op.sqrt(p), logits.graph.input('signs', logits.shape));
    return op.sub(mixed, op.mul(p, op.reduceSum(mixed, [-1])));
  });

interface Rows {
  readonly first: number;
  readonly count: number;
  /** Rows of a run, of which those behind `count` are filled up with zeros. */
  readonly rows: number;
  /** Runs the head's graph on them. */
  readonly run: (output: string, more?: Parameters<Program['run']>[0]) => Promise<Float32Array>;
}

type VisitRows = (rows: Rows) => Promise<void>;

const rowsOf = ({ model }: Checkpoint, store: SampleStore) =>
  (store.samples * store.size) / inputSize(model.head);

/** Visits all rows that the head reads, a few at a time: those of a large vocabulary have many logits. */
async function visitRows(
  programs: Programs,
  checkpoint: Checkpoint,
  store: SampleStore,
  {
    graphOf,
    name,
    visit,
  }: {
    readonly graphOf: (head: Part, rows: number) => Graph;
    readonly name: string;
    readonly visit: VisitRows;
  },
  { signal, status }: PassHooks,
): Promise<void> {
  const { runtime } = programs;
  const { head } = checkpoint.model;
  const size = inputSize(head);
  const all = rowsOf(checkpoint, store);
  const rows = Math.min(all, rowsAtOnce(outputSize(head)));
  const program = await programs.get(graphOf(head, rows), `head ${name} ×${rows}`);
  const placed = await placeAll(programs, await checkpoint.read(head));
  const x = new Float32Array(rows * size);
  try {
    for (let first = 0; first < all; first += rows) {
      if (signal.aborted) throw new CancelledError();
      const count = Math.min(rows, all - first);
      x.fill(0, count * size);
      store.readSpan(first * size, x.subarray(0, count * size));
      const run: Rows['run'] = async (output, more = {}) => {
        const outputs = await program.run({
          ...placed,
          ...more,
          x: runtime.tensor(x, head.inputShape(rows)),
        });
        const data = (await runtime.read(outputs[output]!)).slice();
        disposeAll(outputs);
        return data;
      };
      await visit({ first, count, rows, run });
      status?.((first + count) / all);
    }
  } finally {
    disposeAll(placed);
  }
}
