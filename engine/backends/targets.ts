/** What layers are rounded from on a stream of quantized activations: weights that make up for what it has lost. */
import { addMoment, streamOf, tapPart, tokenWeights, type Tap } from '../execution/taps.js';
import { Graph, type Shape, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { LinearEntry } from '../models/listing.js';
import type { Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { correctedWeight, product } from './corrected-weight.js';
import { factorMoment, type FactorHooks } from './moment-factor.js';

/** The sums of the i-th stream beside the one in full precision. */
export const momentName = (i: number): string => `moment.${i}`;
export const lostName = (i: number): string => `lost.${i}`;

/**
 * Adds up, for every stream, the moment of what the layers that share an input read of it, `moment.<i>`, and its
 * correlation with what is missing, `lost.<i>`: in their inputs, share · Σ (x − x_q) x_qᵀ [in, in]; or, where the one layer
 * that reads it is added to the stream between blocks, in that stream behind it, share · Σ ((r + W x) − (r_q + W x_q)) x_qᵀ
 * [out, in], tokens weighted by the energy there.
 * @param layer the first that reads the input @param tapsOf builds the layer's taps in the streams
 * @param weightsOf weights of tokens in place of those by energy, [rows, 1]
 */
export function siteGraph(
  { part, batch }: { readonly part: Part; readonly batch: number },
  { name, in: columns, out }: LinearEntry,
  share: number,
  tapsOf: (graph: Graph) => readonly Tap[],
  weightsOf?: (graph: Graph, rows: number) => Value,
): { readonly graph: Graph; readonly sums: ReadonlyMap<string, Shape>; readonly isAdded: boolean } {
  const graph = new Graph();
  const sums = new Map<string, Shape>();
  const full = tapPart(graph, part, batch).layers.get(name)!;
  const taps = tapsOf(graph);
  const stream = streamOf(graph, full);
  const weights = weightsOf
    ? op.mul(tokenWeights(graph, full, batch, 'alike'), weightsOf(graph, full.x.shape[0]!))
    : tokenWeights(graph, full, batch, 'energy');
  const shared = op.mul(weights, graph.scalar(share));
  const addTo = (key: string, shape: Shape, add: (before: Value) => Value) => {
    sums.set(key, shape);
    graph.output(key, add(graph.input(`sum.${key}`, shape)));
  };
  for (const [i, own] of taps.entries()) {
    const ownStream = streamOf(graph, own);
    const missing =
      stream && ownStream ? op.sub(op.add(stream, full.y), op.add(ownStream, own.y)) : op.sub(full.x, own.x);
    const weighted = op.mul(missing, shared);
    addTo(momentName(i), [columns, columns], (before) => addMoment(own.x, weights, before));
    addTo(lostName(i), [stream ? out : columns, columns], (before) =>
      op.gemm(weighted, own.x, { transA: true, c: before }),
    );
  }
  return { graph, sums, isAdded: stream !== undefined };
}

/** What a stream shows of an input that layers share. */
export interface OwnSite {
  /** Σ x_q x_qᵀ, [in, in]. */
  readonly hessian: Float32Array;
  /** What the layer's output lacks, with x_q, [out, in]; or what the input lacks, [in, in]. */
  readonly lost: Float32Array;
  readonly isAdded: boolean;
  /** Share of the mean diagonal that is added to it. */
  readonly damping: number;
  readonly label: string;
}

/** What layers at a site are rounded from, by their weights [out, in]. */
export async function openTargets(
  programs: Programs,
  { hessian, lost, isAdded, damping, label }: OwnSite,
  columns: number,
  hooks: FactorHooks,
): Promise<(weight: Float32Array) => Promise<Float32Array>> {
  if (lost.every((x) => x === 0)) return (weight) => Promise.resolve(weight);
  const factored = await factorMoment(programs, hessian, columns, damping, label, hooks);
  return async (weight) => {
    const correlation = isAdded ? lost : await product(programs, weight, lost, columns);
    return correctedWeight(programs, weight, correlation, factored, hooks.signal);
  };
}
