/** Second moments of layer inputs: how errors of a layer's weights add up in its output. */
import { Graph, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { buildPart, fullPrecision } from '../models/builders.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { PartListing } from '../models/listing.js';
import type { Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import { tensorsOfBatch, type PartBatch } from './batches.js';
import { requireFinite } from './finite.js';
import { disposeAll, placeAll } from './part.js';
import type { SampleSource } from './sample-store.js';
import { ordinaryWeights, streamOf, type Tap } from './taps.js';

/**
 * E[x xᵀ] of a layer's input in panels of `panel` columns on the diagonal, the last zero-padded: data [panels, panel, panel].
 * The mean squared error of a layer's output that a change Δ of its weights makes, as far as panels do not correlate, is
 * Σ Δ_p M_p Δ_pᵀ over panels p and rows.
 */
export interface Moments {
  readonly data: Float32Array;
  readonly panel: number;
  readonly columns: number;
}

/** Columns of a panel: those that share a scale at low bit-widths, or 128 where whole rows do. */
export const momentPanel = ({ groupSize }: { readonly groupSize: number }): number =>
  groupSize === -1 ? 128 : groupSize;

/** A part with its parameters. */
export interface KnownPart {
  readonly part: Part;
  readonly listing: PartListing;
  readonly parameters: ReadonlyMap<string, HostTensor>;
}

/** Which tokens count how much; default all alike. */
export interface Counting {
  /** Whether those with massive activations count less (`ordinaryWeights`), where outputs are added to a stream. */
  readonly ordinary?: boolean | undefined;
  /** What all tokens count, in place of that, by the first layer that reads an input; of the samples that batches are made of. */
  readonly weights?: ReadonlyMap<string, SampleSource> | undefined;
}

const weightsOf = (layer: string) => `weights.${layer}`;

/**
 * Runs the part in full precision and collects the moments of every layer's input, by the layer's name. Throws UserError
 * where they are not finite.
 * @param batches inputs of the part, each for `batch` samples
 */
export async function secondMoments(
  programs: Programs,
  { part, listing, parameters }: KnownPart,
  batches: Iterable<PartBatch>,
  batch: number,
  panel: number,
  counting: Counting = {},
): Promise<ReadonlyMap<string, Moments>> {
  const { runtime } = programs;
  const inputs = [...new Map(listing.linears.map((l) => [l.input, l.in]))];
  const { graph, rows } = momentsGraph(part, inputs, batch, panel, {
    ...counting,
    weighted: counting.weights !== undefined,
  });
  const program = await programs.get(graph, `moments ${part.kind} ×${batch} per ${panel}`);
  const fixed = await placeAll(programs, parameters);
  let sums: Record<string, Tensor> = {};
  let count = 0;
  try {
    for (const [name, columns] of inputs) {
      const shape = [Math.ceil(columns / panel), panel, panel] as const;
      sums[name] = runtime.tensor(new Float32Array(shape[0] * panel * panel), shape);
    }
    for (const data of batches) {
      const feeds = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [`sum.${name}`, sum]));
      const ports = tensorsOfBatch(runtime, part, data, batch);
      const picked = Array.from({ length: batch }, (_, i) => count * batch + i);
      for (const [name] of inputs) {
        const source = counting.weights?.get(name);
        if (!source) continue;
        const own = new Float32Array(batch * source.size);
        source.read(picked, own);
        feeds[weightsOf(name)] = runtime.tensor(own, [own.length, 1]);
      }
      const outputs = await program.run({ ...fixed, ...feeds, ...ports });
      disposeAll(sums);
      sums = outputs;
      count++;
    }
    const found = new Map<string, Moments>();
    for (const [name, columns] of inputs) {
      const seen = count * rows.get(name)!;
      const data = (await runtime.read(sums[name]!)).map((sum) => sum / seen);
      requireFinite(data, part.prefix + name);
      found.set(name, { data, panel, columns });
    }
    return new Map(listing.linears.map((l) => [l.name, found.get(l.input)!]));
  } finally {
    disposeAll(fixed);
    disposeAll(sums);
  }
}

/**
 * Inputs: `x`, `side.<name>` for the part's side ports, the parameters and for every name of `inputs` `sum.<name>`, and where
 * tokens are weighted `weights.<name>` [rows, 1]; output
 * `<name>`, to which this batch was added, as many `rows` of it as the layer reads.
 */
export function momentsGraph(
  part: Part,
  inputs: readonly (readonly [name: string, columns: number])[],
  batch: number,
  panel: number,
  {
    ordinary = false,
    weighted: isWeighted = false,
  }: Pick<Counting, 'ordinary'> & { readonly weighted?: boolean } = {},
): { readonly graph: Graph; readonly rows: ReadonlyMap<string, number> } {
  const graph = new Graph();
  const rows = new Map<string, number>();
  const plain = fullPrecision(graph);
  const wanted = new Map(inputs);
  const taps = new Map<string, Tap>();
  const builder = {
    ...plain,
    linear: (...[name, x, out, options]: Parameters<typeof plain.linear>) => {
      const y = plain.linear(name, x, out, options);
      if (wanted.has(name)) taps.set(name, { x, y });
      return y;
    },
  };
  buildPart(graph, part, builder, batch);
  for (const [name, tap] of taps) {
    const { x } = tap;
    const [count, columns] = x.shape as readonly [number, number];
    rows.set(name, count);
    const panels = Math.ceil(columns / panel);
    const inPanels = (each: Value) =>
      op.reshape(op.pad(each, 1, 0, panels * panel - columns), [count, panels, panel]);
    const stream = ordinary && !isWeighted ? streamOf(graph, tap) : undefined;
    const weights = isWeighted
      ? graph.input(weightsOf(name), [count, 1])
      : stream && ordinaryWeights(op.add(stream, tap.y));
    const weighted = inPanels(weights ? op.mul(x, weights) : x);
    const product = op.matMul(op.transpose(weighted, [1, 2, 0]), op.transpose(inPanels(x), [1, 0, 2]));
    graph.output(name, op.add(graph.input(`sum.${name}`, [panels, panel, panel]), product));
  }
  return { graph, rows };
}

/** E[x²] of every input column, [in]. */
export function meanSquares({ data, panel, columns }: Moments): Float32Array {
  return Float32Array.from(
    { length: columns },
    (_, c) => data[Math.floor(c / panel) * panel * panel + (c % panel) * (panel + 1)]!,
  );
}

/**
 * Σ Δ M Δᵀ for every row and panel of columns: `difference` [out, in], `moments` [panels, panel, panel] → [out, panels].
 */
export function weightedError(difference: Value, moments: Value): Value {
  const [out, columns] = difference.shape as readonly [number, number];
  const [panels, panel] = moments.shape as readonly [number, number, number];
  const padded = op.pad(difference, 1, 0, panels * panel - columns);
  const byPanel = op.transpose(op.reshape(padded, [out, panels, panel]), [1, 0, 2]);
  const error = op.reduceSum(op.mul(op.matMul(byPanel, moments), byPanel), [2]);
  return op.reshape(op.transpose(error, [1, 0, 2]), [out, panels]);
}
