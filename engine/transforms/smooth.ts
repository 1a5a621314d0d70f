/**
 * Activation-aware smoothing (AWQ, Lin et al. 2024, section 3.2; docs/METHOD.md, section 9): input channels that
 * matter are scaled up before their weights are quantized, and the layer or norm before them makes up for it. The
 * function stays the same.
 */
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { fakeQuantizeWeight } from '../graph/quantizers.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { LinearEntry, PartListing } from '../models/listing.js';
import type { Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { scaleRows, LARGEST_LOGIT } from '../graph/quantizers.js';
import { meanSquares, weightedError, type KnownPart, type Moments } from '../execution/moments.js';
import type { NamedTensors } from '../execution/tensors.js';
/** Exponents tried between no smoothing (0) and all of an input's magnitude (1; docs/METHOD.md, section 9). */
const EXPONENTS = Array.from({ length: 20 }, (_, i) => i / 20);

/** Layers that read one input, and what in front of them takes the inverse of their scales. */
export interface Site {
  readonly layers: readonly LinearEntry[];
  /** A norm, or a layer whose output enters the input channel by channel. */
  readonly absorber: { readonly norm: string } | { readonly layer: string };
  /** The absorber's channel of an input column; absent: the same. Columns of one channel share a scale. */
  readonly channelOf?: (column: number) => number;
}

/** The sites of a part: behind norms, between values and output, between a gated product's factor and its reader. */
export function smoothingSites(part: Part, listing: PartListing): Site[] {
  const sites: Site[] = [];
  const layer = (name: string) => listing.linears.find((l) => l.name === name)!;
  for (const norm of new Set(listing.linears.map((l) => l.norm)))
    if (norm !== undefined)
      sites.push({ layers: listing.linears.filter((l) => l.norm === norm), absorber: { norm } });
  const { attention, gated, gatedFactor } = part.roles ?? {};
  if (attention?.valueLayer !== undefined) {
    const [from, to] = [layer(attention.valueLayer), layer(attention.outputLayer)];
    const sharing = to.in / from.out;
    const channelOf = (column: number) => {
      const head = Math.floor(column / attention.size / sharing);
      return head * attention.size + (column % attention.size);
    };
    sites.push({ layers: [to], absorber: { layer: from.name }, channelOf });
  }
  if (gated !== undefined && gatedFactor !== undefined)
    sites.push({ layers: [layer(gated)], absorber: { layer: gatedFactor } });
  return sites;
}

export interface SmoothingOptions {
  readonly bits: readonly number[];
  readonly groupSizeOf: (bits: number) => number;
}

/**
 * Scales of every site with the least output error of plain rounding, as tensors of the adapter set:
 * `<layer>.input_scale` [in], and its inverse in `<norm>.weight` or `<layer>.output_scale` [out].
 */
export async function smooth(
  programs: Programs,
  { part, listing, parameters }: KnownPart,
  moments: ReadonlyMap<string, Moments>,
  options: SmoothingOptions,
): Promise<NamedTensors> {
  const tensors: NamedTensors = new Map();
  for (const site of smoothingSites(part, listing)) {
    const { absorber, layers, channelOf = (column) => column } = site;
    const magnitude = channelMagnitudes(moments.get(layers[0]!.name)!, channelOf);
    const costs = await costsOf(programs, layers, parameters, moments, magnitude, options);
    const best = scaleFrom(magnitude, EXPONENTS[costs.indexOf(Math.min(...costs))]!);
    for (const { name, in: columns } of layers)
      tensors.set(`${name}.input_scale`, { shape: [columns], data: best });
    if ('norm' in absorber) {
      const { data, shape } = parameters.get(`${absorber.norm}.weight`)!;
      tensors.set(`${absorber.norm}.weight`, { shape, data: data.map((w, c) => w / best[c]!) });
      const bias = parameters.get(`${absorber.norm}.bias`);
      if (bias)
        tensors.set(`${absorber.norm}.bias`, {
          shape: bias.shape,
          data: bias.data.map((b, c) => b / best[c]!),
        });
    } else {
      const [out] = parameters.get(`${absorber.layer}.weight`)!.shape as readonly [number, number];
      const inverse = new Float32Array(out);
      best.forEach((s, column) => (inverse[channelOf(column)] = 1 / s));
      tensors.set(`${absorber.layer}.output_scale`, { shape: [out], data: inverse });
    }
  }
  return tensors;
}

/**
 * A channel that is (almost) never used keeps a share of the largest, or its scale would be of no size at all
 * (docs/METHOD.md, section 9).
 */
const MIN_MAGNITUDE = 1e-4;

/** Root mean square of every input column, [in]; of columns that share a channel, of all of them. */
function channelMagnitudes(moments: Moments, channelOf: (column: number) => number): Float32Array {
  const squares = meanSquares(moments);
  const sums = new Map<number, { sum: number; count: number }>();
  squares.forEach((square, column) => {
    const { sum, count } = sums.get(channelOf(column)) ?? { sum: 0, count: 0 };
    sums.set(channelOf(column), { sum: sum + square, count: count + 1 });
  });
  const largest = Math.sqrt(Math.max(...squares)) || 1;
  return squares.map((_, column) => {
    const { sum, count } = sums.get(channelOf(column))!;
    return Math.max(Math.sqrt(sum / count), MIN_MAGNITUDE * largest);
  });
}

/** magnitude^exponent, centred so that the smallest and largest are each other's inverse. */
function scaleFrom(magnitude: Float32Array, exponent: number): Float32Array {
  const powers = magnitude.map((m) => m ** exponent);
  const middle = Math.sqrt(Math.max(...powers) * Math.min(...powers));
  return powers.map((p) => p / middle);
}

/** For every exponent the sum over bit-widths of the logarithm of all layers' output error: every bit-width counts alike. */
async function costsOf(
  programs: Programs,
  layers: readonly LinearEntry[],
  parameters: ReadonlyMap<string, HostTensor>,
  moments: ReadonlyMap<string, Moments>,
  magnitude: Float32Array,
  { bits, groupSizeOf }: SmoothingOptions,
): Promise<number[]> {
  const { runtime } = programs;
  const costs = EXPONENTS.map(() => 0);
  for (const b of bits) {
    const groupSize = groupSizeOf(b);
    const totals = EXPONENTS.map(() => 0);
    for (const { name, in: columns, out } of layers) {
      const { data, panel } = moments.get(name)!;
      const sizes = [out, columns, panel, groupSize] as const;
      const label = `smoothing ${out}×${columns}`;
      const program = await programs.getBuilt(errorGraph, sizes, label, { keep: false });
      const { errors } = await program.run({
        weight: runtime.tensor(parameters.get(`${name}.weight`)!.data, [out, columns]),
        moments: runtime.tensor(data, [Math.ceil(columns / panel), panel, panel]),
        magnitude: runtime.tensor(magnitude, [1, columns]),
        levels: runtime.tensor(Float32Array.of(2 ** b - 1), []),
      });
      (await runtime.read(errors!)).forEach((error, i) => (totals[i]! += error));
    }
    // Rounding may leave an error of nothing a little below zero.
    totals.forEach((total, i) => (costs[i]! += Math.log(Math.max(total, Number.MIN_VALUE))));
  }
  return costs;
}

/** Output error of Q(W·diag(s))·diag(1/s) over the whole range of every row of scales, s = magnitude^exponent, for every exponent: `errors` [exponents]. */
export function errorGraph(out: number, columns: number, panel: number, groupSize: number): Graph {
  const graph = new Graph();
  const weight = graph.input('weight', [out, columns]);
  const logarithm = op.log(graph.input('magnitude', [1, columns]));
  const moments = graph.input('moments', [Math.ceil(columns / panel), panel, panel]);
  const levels = graph.input('levels', []);
  const rows = scaleRows({ in: columns, out }, groupSize);
  const whole = graph.constant(new Float32Array(rows).fill(LARGEST_LOGIT), [rows, 1]);
  const errors = EXPONENTS.map((exponent) => {
    const scale = op.exp(op.mul(logarithm, graph.scalar(exponent)));
    const scaled = op.mul(weight, scale);
    const quantized = fakeQuantizeWeight(scaled, whole, whole, levels, groupSize);
    const difference = op.div(op.sub(quantized, scaled), scale);
    return op.reshape(op.reduceSum(weightedError(difference, moments), [0, 1]), [1]);
  });
  graph.output('errors', op.concat(errors, 0));
  return graph;
}
