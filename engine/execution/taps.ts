/** A block's layers in its graph: what each reads, what it yields, and the stream that this is added to. */
import type { Graph, Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { fullPrecision, parameterInputs, portInputs } from '../models/builders.js';
import type { Builder, Part } from '../models/model.js';

/** What becomes of activations on their way into layers and products. */
export interface Quantizers {
  /** What the layer `name` reads of x. */
  input(name: string, x: Value): Value;
  operand(name: string, x: Value): Value;
}

export interface Tap {
  /** What it reads, quantized where it is: [rows, in]. */
  readonly x: Value;
  /** [rows, out] */
  readonly y: Value;
}

/**
 * Builds a part; graph inputs are the part's parameters, and those of its ports with a suffix.
 * @param weightOf the graph input for a layer's weight, where it is not the checkpoint's
 * @param quantizers of activations, where these are quantized
 */
export function tapPart(
  graph: Graph,
  part: Part,
  batch: number,
  suffix = '',
  weightOf: (layer: string) => string = (layer) => `${layer}.weight`,
  quantizers?: Quantizers,
): {
  readonly y: Value;
  readonly layers: ReadonlyMap<string, Tap>;
  /** What layers and operands read before it is quantized, by their names. */
  readonly read: ReadonlyMap<string, Value>;
} {
  const layers = new Map<string, Tap>();
  const read = new Map<string, Value>();
  const plain = fullPrecision(graph);
  const parameter = parameterInputs(graph);
  const builder: Builder = {
    ...plain,
    linear: (name, input, out, { bias = true } = {}) => {
      const x = quantizers?.input(name, input) ?? input;
      read.set(name, input);
      const weight = parameter(weightOf(name), [out, x.shape[1]!]);
      const y = op.gemm(x, weight, { transB: true, ...(bias && { c: parameter(`${name}.bias`, [out]) }) });
      layers.set(name, { x, y });
      return y;
    },
    operand: (name, x) => {
      read.set(name, x);
      return quantizers?.operand(name, x) ?? x;
    },
  };
  const { x, side } = portInputs(graph, part, batch, {}, suffix);
  return { y: part.forward(builder, x, batch, side), layers, read };
}

/**
 * The stream that a layer's output is added to, as it is before; undefined where something else is made of the output.
 * Found in the graph, so that no family need say it.
 */
export function streamOf(graph: Graph, { y }: Tap): Value | undefined {
  const readers = graph.nodes.filter(({ inputs }) => inputs.includes(y));
  const [reader] = readers;
  if (readers.length !== 1 || reader!.op !== 'Add') return undefined;
  const other = reader.inputs.find((value) => value !== y);
  return other?.shape.join() === y.shape.join() ? other : undefined;
}

/** Which tokens count how much where a layer's output is added to a stream: see `tokenWeights`. */
export type Weighing = 'alike' | 'ordinary' | 'energy';

/**
 * Weights of tokens, [rows, 1]: `counted` [batch, 1, 1], 1 for samples that count and 0 for others; where the layer's output
 * is added to a stream, times what the energy of that stream behind it says: `energy`, one over it; `ordinary`, 1 but for
 * tokens with massive activations (`ordinaryWeights`), a few of which would decide everything else; `alike`, 1.
 */
export function tokenWeights(graph: Graph, tap: Tap, batch: number, weighing: Weighing): Value {
  const counted = graph.inputs.get('counted') ?? graph.input('counted', [batch, 1, 1]);
  const [rows] = tap.x.shape as readonly [number, number];
  const each = op.reshape(op.expand(counted, [batch, rows / batch, 1]), [rows, 1]);
  const stream = weighing === 'alike' ? undefined : streamOf(graph, tap);
  if (!stream) return each;
  const behind = op.add(stream, tap.y);
  return weighing === 'energy' ? op.div(each, energyOf(behind)) : ordinaryWeights(behind, each);
}

/** Mean square of every row of x [rows, features], [rows, 1]. */
function energyOf(x: Value): Value {
  return op.add(op.reduceMean(op.mul(x, x), [1]), x.graph.scalar(SMALLEST_ENERGY));
}

const SMALLEST_ENERGY = 1e-12;

/** So many times the energy that tokens have in the geometric mean is ordinary (docs/METHOD.md, section 13). */
const ORDINARY = 16;

/**
 * Weights of tokens by their energy, [rows, 1]: 1, and less for those that have far more than others, which then count as if
 * they had the most that is ordinary.
 * @param x [rows, features] @param counted [rows, 1], what else they are weighted with: tokens of 0 are not seen; default 1
 */
export function ordinaryWeights(x: Value, counted = ones(x)): Value {
  const { graph } = x;
  const energy = energyOf(x);
  const total = op.max(op.reduceSum(counted, [0]), graph.scalar(1));
  const mean = op.exp(op.div(op.reduceSum(op.mul(op.log(energy), counted), [0]), total));
  const least = op.min(op.div(op.mul(mean, graph.scalar(ORDINARY)), energy), graph.scalar(1));
  return op.mul(counted, least);
}

const ones = (x: Value): Value => x.graph.constant(new Float32Array(x.shape[0]!).fill(1), [x.shape[0]!, 1]);

/** Columns of a block of a moment. */
const BLOCK = 512;

/** xᵀ · (weights ∘ x) [n, n], added to `before`: products for the blocks on the diagonal and above, the others are these. */
export function addMoment(x: Value, weights: Value, before: Value): Value {
  const [, n] = x.shape as readonly [number, number];
  const weighted = op.mul(x, weights);
  if (n <= BLOCK) return op.gemm(weighted, x, { transA: true, c: before });
  const starts = Array.from({ length: Math.ceil(n / BLOCK) }, (_, i) => i * BLOCK);
  const endOf = (start: number) => Math.min(n, start + BLOCK);
  const above = starts.map((start) =>
    op.gemm(op.slice(weighted, 1, start, endOf(start)), op.slice(x, 1, start, n), { transA: true }),
  );
  const rows = starts.map((start, i) => {
    const left = starts
      .slice(0, i)
      .map((first, j) => op.transpose(op.slice(above[j]!, 1, start - first, endOf(start) - first), [1, 0]));
    return op.concat([...left, above[i]!], 1);
  });
  return op.add(before, op.concat(rows, 0));
}
