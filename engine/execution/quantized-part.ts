/** Running a part at a bit-width: weights are quantized once a switch, activations in every run. */
import { Graph, type Value } from '../graph/ir.js';
import { buildPart, fullPrecision, type PortShapes } from '../models/builders.js';
import type { LinearEntry, PartListing } from '../models/listing.js';
import type { Builder, Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { remembered } from '../runtime/remembered.js';
import type { Program, Runtime, Tensor } from '../runtime/session.js';
import { cacheOf, limitsOf, quantizeInput, quantizeOperand, type Cache } from './activations.js';
import { keeping } from './kept-tokens.js';
import { disposeAll, keptName, runOf, shapesOf, type Kept, type RunnablePart, type Tensors } from './part.js';
import type { ActivationForm, KeptMemory, PartSource } from './source.js';
import { byColumns, NONE, turned } from './wide-layers.js';

/**
 * Which activations of a part are quantized, and how. Layers that share an input and a bit-width share a quantizer, which
 * has the name of the first of them; operands have quantizers of their own names.
 */
export interface QuantizedActivations {
  /** The quantizer of each layer's input; a layer without one reads it as it is. */
  readonly inputs: ReadonlyMap<string, string>;
  /** Quantizers of layers' inputs and of operands with a grid; the others work per token. */
  readonly grids: ReadonlySet<string>;
  readonly cache: Cache | undefined;
}

/**
 * A part whose weights come in quantized. Inputs: `x`, `side.<name>` for its side ports, the parameters, for each quantizer
 * `<name>.lower` and `<name>.upper`, scalars, and for those with a grid `<name>.scale` [1, 1]. Output `y`. See `keeping`.
 * @param shapes of `x` and of what feeds side ports @param wide layers whose weights are [in, out]
 */
export function quantizedGraph(
  part: Part,
  { inputs, grids, cache }: QuantizedActivations,
  batch: number,
  shapes?: PortShapes,
  kept?: Kept,
  wide: ReadonlySet<string> = NONE,
): Graph {
  const graph = new Graph();
  const plain = byColumns(fullPrecision(graph), wide);
  const known = new Map<string, Value>();
  const limits = (name: string) => ({
    lower: graph.input(`${name}.lower`, []),
    upper: graph.input(`${name}.upper`, []),
  });
  const grid = (name: string) =>
    grids.has(name) ? { scale: graph.input(`${name}.scale`, [1, 1]), ...limits(name) } : undefined;
  const quantized = (name: string, x: Value) => {
    const found =
      known.get(name) ?? quantizeInput(name, x, { grid, tokens: grids.has(name) ? undefined : limits(name) });
    known.set(name, found);
    return found;
  };
  const own: Builder = {
    ...plain,
    linear: (name, x, out) => {
      const quantizer = inputs.get(name);
      const input = quantizer === undefined ? x : quantized(quantizer, x);
      return plain.linear(name, input, out);
    },
    operand: (name, x) => quantizeOperand(name, x, { grid, cache }),
  };
  const builder = kept ? keeping(graph, own, kept.room, kept.rope) : own;
  graph.output('y', buildPart(graph, part, builder, batch, shapes));
  return graph;
}

/** A bit-width for all layers, or one by a layer's name; a layer of none stays in full precision. */
export type Widths = number | ((layer: string) => number | undefined);

/** A part that can be switched between bit-widths. */
export interface ElasticPart extends RunnablePart {
  /**
   * Recomputes the quantized weights of layers whose bit-width changes; resolves to how many they are.
   * @param widths by local names; @param cached whether keys and values in the cache are quantized too
   */
  use(widths: Widths, cached?: boolean): Promise<number>;
}

/** @param memory shared by all parts that are given it @param wide layers whose weights are to lie by columns */
export async function openElasticPart(
  programs: Programs,
  part: Part,
  listing: PartListing,
  source: PartSource,
  memory: KeptMemory = { left: 0 },
  wide: ReadonlySet<string> = NONE,
): Promise<ElasticPart> {
  const { runtime } = programs;
  const { linears } = listing;
  const { weights, fixed } = await placeParameters(runtime, linears, source);
  const switcher = weightSwitcher(
    programs,
    linears,
    weights,
    source.weights(programs, weights, memory),
    wide,
  );
  const elements = linears.reduce((sum, { in: columns, out }) => sum + columns * out, 0);
  const isSmall = runtime.device === 'cpu' && elements <= TOGETHER;
  let activations: QuantizedActivations = { inputs: new Map(), grids: new Set(), cache: undefined };
  let limits: Record<string, Tensor> = {};
  const known = new Map<string, Promise<Program>>();
  const outputs = async (ports: Tensors, batch: number, kept?: Kept, before: Tensors = {}) => {
    const now = activations;
    const name = `quantized ${runOf(part, ports, batch)}${keptName(kept)} [${activationKey(now)}]`;
    const program = await remembered(known, name, () =>
      programs.get(quantizedGraph(part, now, batch, shapesOf(ports), kept, wide), name),
    );
    const feeds: Record<string, Tensor> = { ...fixed, ...limits, ...ports, ...before };
    for (const { name } of linears) feeds[`${name}.weight`] = await switcher.weight(name);
    return program.run(feeds);
  };

  return {
    use: async (widths, cached = true) => {
      const bitsOf = typeof widths === 'number' ? () => widths : widths;
      const switched = await switchAll(linears, isSmall ? linears.length : 1, (layer) =>
        switcher.use(layer, bitsOf(layer.name)),
      );
      const cache = cached && source.cache !== undefined ? cacheOf(part, source.cache) : undefined;
      ({ activations, limits } = activationInputs(runtime, listing, source, bitsOf, cache));
      return switched.filter(Boolean).length;
    },
    run: async (x, batch, side = {}) => (await outputs({ ...side, x }, batch)).y!,
    keep: (x, kept, before) => outputs({ x }, 1, kept, before),
    dispose: () => {
      disposeAll(fixed);
      switcher.dispose();
      for (const tensor of weights.values()) tensor.dispose();
    },
  };
}

/** The unquantized weights of layers on the device, and all other parameters, a bias for every layer among them. */
async function placeParameters(
  runtime: Runtime,
  linears: readonly LinearEntry[],
  { parameters }: PartSource,
): Promise<{ readonly weights: Map<string, Tensor>; readonly fixed: Record<string, Tensor> }> {
  const weights = new Map<string, Tensor>();
  const fixed: Record<string, Tensor> = {};
  const layerOf = new Map(linears.map(({ name }) => [`${name}.weight`, name]));
  for (const [name, { data, shape }] of parameters) {
    const placed = await runtime.place(runtime.tensor(data, shape));
    const layer = layerOf.get(name);
    if (layer === undefined) fixed[name] = placed;
    else weights.set(layer, placed);
  }
  for (const { name, out } of linears)
    fixed[`${name}.bias`] ??= await runtime.place(runtime.tensor(new Float32Array(out), [out]));
  return { weights, fixed };
}

/** The weights that are in use. @param placed in full precision; they stay the caller's @param wide layers whose weights lie by columns */
function weightSwitcher(
  programs: Programs,
  linears: readonly LinearEntry[],
  placed: ReadonlyMap<string, Tensor>,
  source: ReturnType<PartSource['weights']>,
  wide: ReadonlySet<string>,
) {
  const quantized = new Map<string, { readonly bits: number; readonly weight: Tensor }>();
  /** Of wide layers that are in full precision. */
  const plain = new Map<string, Promise<Tensor>>();
  const quantize = async (layer: LinearEntry, bits: number): Promise<Tensor> => {
    const weight = await source.quantize(layer, bits);
    if (!wide.has(layer.name)) return weight;
    const lying = await turned(programs, weight);
    weight.dispose();
    return lying;
  };
  return {
    /** Resolves to whether the layer's weight had to change. */
    use: async (layer: LinearEntry, bits: number | undefined): Promise<boolean> => {
      const now = quantized.get(layer.name);
      if (now?.bits === bits) return false;
      const weight = bits === undefined ? undefined : await quantize(layer, bits);
      now?.weight.dispose();
      plain.delete(layer.name);
      if (weight) quantized.set(layer.name, { bits: bits!, weight });
      else quantized.delete(layer.name);
      return true;
    },
    weight: async (layer: string): Promise<Tensor> => {
      const known = quantized.get(layer)?.weight;
      if (known) return known;
      const own = placed.get(layer)!;
      return wide.has(layer) ? remembered(plain, layer, () => turned(programs, own)) : own;
    },
    dispose: () => {
      for (const { name } of linears) quantized.get(name)?.weight.dispose();
      source.dispose();
    },
  };
}

/** How the part's activations are quantized at these bit-widths, and the inputs that say so to its graph. */
function activationInputs(
  runtime: Runtime,
  listing: PartListing,
  source: PartSource,
  bitsOf: (layer: string) => number | undefined,
  cache: Cache | undefined,
): { readonly activations: QuantizedActivations; readonly limits: Record<string, Tensor> } {
  const { inputs, quantizers } = quantizersOf(listing, source, bitsOf);
  const scalar = (x: number, shape: readonly number[] = []) => runtime.tensor(Float32Array.of(x), shape);
  const limits: Record<string, Tensor> = {};
  const grids = new Set<string>();
  for (const [name, { form, bits }] of quantizers) {
    const { lower, upper, scale } = limitsOf(form, bits);
    if (scale !== undefined) {
      grids.add(name);
      limits[`${name}.scale`] = scalar(scale, [1, 1]);
    }
    limits[`${name}.lower`] = scalar(lower);
    limits[`${name}.upper`] = scalar(upper);
  }
  return { activations: { inputs, grids, cache }, limits };
}

const activationKey = ({ inputs, grids, cache }: QuantizedActivations) =>
  [[...inputs].join(' '), [...grids].join(), cache?.bits ?? ''].join('; ');

export interface Quantizer {
  readonly bits: number;
  readonly form: ActivationForm;
}

/**
 * The quantizers of a part: one for each input and bit-width that layers read it at, named after the first of these layers.
 * An operand has the bit-width of the layer that it is made of; one that is made of several has the highest of the part's,
 * and none where a layer has none.
 */
export function quantizersOf(
  { linears, operands, producers }: PartListing,
  source: Pick<PartSource, 'activation'>,
  bitsOf: (layer: string) => number | undefined,
): { readonly inputs: Map<string, string>; readonly quantizers: Map<string, Quantizer> } {
  const inputs = new Map<string, string>();
  const quantizers = new Map<string, Quantizer>();
  const names = new Map<string, string>();
  for (const { name, input } of linears) {
    const bits = bitsOf(name);
    const form = bits === undefined ? undefined : source.activation(input, bits);
    if (bits === undefined || form === undefined) continue;
    const key = `${bits} ${input}`;
    if (!names.has(key)) {
      names.set(key, name);
      quantizers.set(name, { bits, form });
    }
    inputs.set(name, names.get(key)!);
  }
  const highest = Math.max(...linears.map(({ name }) => bitsOf(name) ?? Infinity));
  for (const name of operands) {
    const producer = producers.get(name);
    const bits = producer === undefined ? highest : (bitsOf(producer) ?? Infinity);
    const form = bits < Infinity ? source.activation(name, bits) : undefined;
    // Operands are quantized on grids alone: what multiplies tokens by tokens has no scale of its own per token.
    if (form !== undefined && form !== 'token') quantizers.set(name, { bits, form });
  }
  return { inputs, quantizers };
}

/**
 * Weights of a part that are switched at once on a CPU, where a small layer does not keep it busy (docs/METHOD.md,
 * section 11).
 */
const TOGETHER = 1 << 22;

/** Handles the items, so many at a time; what comes of them in their order. Nothing is under way any more when it throws. */
async function switchAll<T, R>(
  items: readonly T[],
  atOnce: number,
  handle: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  for (let first = 0; first < items.length; first += atOnce) {
    const handled = items.slice(first, first + atOnce).map(handle);
    await Promise.allSettled(handled);
    results.push(...(await Promise.all(handled)));
  }
  return results;
}
