/** A block's layers in its graph: what each reads, what it yields, and the stream that this is added to. */
import type { Graph, Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { fullPrecision, parameterInputs, portInputs } from '../models/builders.js';
import type { Builder, Part } from '../models/model.js';

export interface Tap {
  /** [rows, in] */
  readonly x: Value;
  /** [rows, out] */
  readonly y: Value;
}

/**
 * Builds a part; graph inputs are the part's parameters, and those of its ports with a suffix.
 * @param weightOf the graph input for a layer's weight, where it is not the checkpoint's
 */
export function tapPart(
  graph: Graph,
  part: Part,
  batch: number,
  suffix = '',
  weightOf: (layer: string) => string = (layer) => `${layer}.weight`,
): { readonly y: Value; readonly layers: ReadonlyMap<string, Tap> } {
  const layers = new Map<string, Tap>();
  const plain = fullPrecision(graph);
  const parameter = parameterInputs(graph);
  const builder: Builder = {
    ...plain,
    linear: (name, x, out, { bias = true } = {}) => {
      const weight = parameter(weightOf(name), [out, x.shape[1]!]);
      const y = op.gemm(x, weight, { transB: true, ...(bias && { c: parameter(`${name}.bias`, [out]) }) });
      layers.set(name, { x, y });
      return y;
    },
  };
  const { x, side } = portInputs(graph, part, batch, {}, suffix);
  return { y: part.forward(builder, x, batch, side), layers };
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

/**
 * Weights of tokens, [rows, 1]: `counted` [batch, 1, 1], 1 for samples that count and 0 for others, over the energy of the
 * full-precision stream behind the layer, where its output is added to one: a few tokens with huge activations would decide
 * everything else.
 */
export function tokenWeights(graph: Graph, tap: Tap, batch: number, isWeighted: boolean): Value {
  const counted = graph.inputs.get('counted') ?? graph.input('counted', [batch, 1, 1]);
  const [rows] = tap.x.shape as readonly [number, number];
  const each = op.reshape(op.expand(counted, [batch, rows / batch, 1]), [rows, 1]);
  const stream = isWeighted ? streamOf(graph, tap) : undefined;
  if (!stream) return each;
  const behind = op.add(stream, tap.y);
  const energy = op.reduceMean(op.mul(behind, behind), [1]);
  return op.div(each, op.add(energy, graph.scalar(SMALLEST_ENERGY)));
}

const SMALLEST_ENERGY = 1e-12;

/** xᵀ · (weights ∘ x) [n, n], added to `before`. */
export function addMoment(x: Value, weights: Value, before: Value): Value {
  return op.gemm(op.mul(x, weights), x, { transA: true, c: before });
}
