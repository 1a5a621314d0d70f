/** Running a part at a bit-width: weights are quantized once a switch, activations in every run. */
import { Graph, sizeOf, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { fakeQuantizeWeight, scaleRows } from '../graph/quantizers.js';
import { buildPart, fullPrecision, parameterInputs, type PortShapes } from '../models/builders.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { LinearEntry, PartListing } from '../models/listing.js';
import type { Builder, Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { remembered } from '../runtime/remembered.js';
import type { Program, Tensor } from '../runtime/session.js';
import { cacheOf, quantizeInput, quantizeOperand, type Cache } from './activations.js';
import { adaptedWeight } from '../methods/quept/adapters.js';
import type { NamedTensors } from './tensors.js';
import { type RunnablePart, disposeAll, runOf, shapesOf } from './part.js';
/** A clip logit whose sigmoid is 1 in float32: the whole range of the row. */
export const NO_CLIP = 30;

/** Q_b(W + gain · B[:, :r] A[:r, :]): inputs `weight`, `lora_A`, `lora_B` (where r > 0), `clip_upper`, `clip_lower`, `levels`; output `weight_q`. */
export function weightGraph(
  out: number,
  columns: number,
  fullRank: number,
  rank: number,
  gain = 1,
  groupSize = -1,
): Graph {
  const rows = scaleRows({ in: columns, out }, groupSize);
  const graph = new Graph();
  const weight = graph.input('weight', [out, columns]);
  const adapter = rank > 0 && {
    a: graph.input('lora_A', [fullRank, columns]),
    b: graph.input('lora_B', [out, fullRank]),
  };
  const clips = [graph.input('clip_upper', [rows, 1]), graph.input('clip_lower', [rows, 1])] as const;
  const adapted = adapter ? adaptedWeight(weight, adapter, { rank, gain }) : weight;
  graph.output('weight_q', fakeQuantizeWeight(adapted, ...clips, graph.input('levels', []), groupSize));
  return graph;
}

/** W + gain · B[:, :r] A[:r, :]: inputs `weight`, `lora_A`, `lora_B`; output `adapted`. */
function adaptedGraph(out: number, columns: number, fullRank: number, rank: number, gain: number): Graph {
  const graph = new Graph();
  const weight = graph.input('weight', [out, columns]);
  const adapter = {
    a: graph.input('lora_A', [fullRank, columns]),
    b: graph.input('lora_B', [out, fullRank]),
  };
  graph.output('adapted', adaptedWeight(weight, adapter, { rank, gain }));
  return graph;
}

/** Memory for weights with the adapter of a bit group added, which parts keep so that only the first switch to it adds them. */
export interface AdaptedWeights {
  /** Bytes. */
  left: number;
}

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
 * `<name>.lower` and `<name>.upper`, scalars, and for those with a grid `<name>.scale` [1, 1]. Output `y`.
 * @param shapes of `x` and of what feeds side ports
 */
export function quantizedGraph(
  part: Part,
  { inputs, grids, cache }: QuantizedActivations,
  batch: number,
  shapes?: PortShapes,
): Graph {
  const graph = new Graph();
  const plain = fullPrecision(graph);
  const parameter = parameterInputs(graph);
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
  const builder: Builder = {
    ...plain,
    linear: (name, x, out) => {
      const quantizer = inputs.get(name);
      const input = quantizer === undefined ? x : quantized(quantizer, x);
      const c = parameter(`${name}.bias`, [out]);
      return op.gemm(input, parameter(`${name}.weight`, [out, x.shape[1]!]), { transB: true, c });
    },
    operand: (name, x) => quantizeOperand(name, x, { grid, cache }),
  };
  graph.output('y', buildPart(graph, part, builder, batch, shapes));
  return graph;
}

/** How a layer is quantized. */
export interface LayerPrecision {
  /** Bit-width of its weight. */
  readonly weight: number;
  /** Bit-width of its input, per token where that has no grid; it stays in floating point where undefined. */
  readonly activation?: number;
  /** Directions of the adapter in use, and the factor on their product. */
  readonly rank: number;
  readonly gain?: number;
  /** Input columns that share a weight scale; a whole row where undefined or -1. */
  readonly groupSize?: number;
}

/** How one part's layers are quantized, all alike. */
export interface PartPrecision extends LayerPrecision {
  /** Bit-width of keys and values in the cache; floating point where undefined or above 8. */
  readonly cache?: number;
}

/** How each of a part's layers is quantized; one that it lacks stays in full precision. */
export interface MixedPrecision {
  readonly layers: ReadonlyMap<string, LayerPrecision>;
  readonly cache?: number;
}

/** A part that can be switched between bit-widths. */
export interface ElasticPart extends RunnablePart {
  /** Recomputes the quantized weights of layers whose precision changes; resolves to how many they are. */
  use(precision: PartPrecision | MixedPrecision): Promise<number>;
}

/**
 * @param parameters the part's own, or folded ones (`foldedParameters`)
 * @param adapters tensors of the adapter set by local name; a layer without clip logits uses its whole range
 * @param memory shared by all parts that are given it
 */
export async function openElasticPart(
  programs: Programs,
  part: Part,
  listing: PartListing,
  parameters: ReadonlyMap<string, HostTensor>,
  adapters: NamedTensors,
  memory: AdaptedWeights = { left: 0 },
): Promise<ElasticPart> {
  const { runtime } = programs;
  const { linears } = listing;
  const weights = new Map<string, Tensor>();
  const fixed: Record<string, Tensor> = {};
  for (const [name, { data, shape }] of parameters) {
    const placed = await runtime.place(runtime.tensor(data, shape));
    const layer = linears.find((l) => name === `${l.name}.weight`);
    if (layer) weights.set(layer.name, placed);
    else fixed[name] = placed;
  }
  for (const { name, out } of linears)
    fixed[`${name}.bias`] ??= await runtime.place(runtime.tensor(new Float32Array(out), [out]));
  const quantized = new Map<string, { readonly how: string; readonly weight: Tensor }>();
  const elements = linears.reduce((sum, { in: columns, out }) => sum + columns * out, 0);
  const isSmall = runtime.device === 'cpu' && elements <= TOGETHER;
  const kept = new Map<string, Tensor>();
  const known = new Map<string, Promise<Program>>();
  let limits: Record<string, Tensor> = {};
  let activations: QuantizedActivations = { inputs: new Map(), grids: new Set(), cache: undefined };

  /** What a layer's weight becomes, where that is not what it is now. */
  const switchLayer = async (layer: LinearEntry, precision: LayerPrecision | undefined) => {
    const how = precision && weightKey(precision);
    const now = quantized.get(layer.name);
    if (now?.how === how) return false;
    const weight = precision && (await quantizeWeight(layer, precision));
    now?.weight.dispose();
    if (weight) quantized.set(layer.name, { how: how!, weight });
    else quantized.delete(layer.name);
    return true;
  };
  const quantizeWeight = async (
    { name, in: columns, out }: LinearEntry,
    { weight: bits, rank, gain = 1, groupSize = -1 }: LayerPrecision,
  ) => {
    const named = (key: string) => {
      const tensor = adapters.get(`${name}.${key}`);
      return tensor && runtime.tensor(tensor.data, tensor.shape);
    };
    const lora = { a: named('lora_A'), b: named('lora_B') };
    const adapted = lora.a && rank > 0 && gain !== 0 ? await keptWeight(name, lora, rank, gain) : undefined;
    const { a, b } = adapted ? { a: undefined, b: undefined } : lora;
    const used = a ? rank : 0;
    const full = a?.shape[0] ?? 0;
    const usedGain = used > 0 ? gain : 1;
    const label = `weight ${out}×${columns} of rank ${used}`;
    const parameters = [out, columns, full, used, usedGain, groupSize] as const;
    const program = await programs.getBuilt(weightGraph, parameters, label);
    const rows = scaleRows({ in: columns, out }, groupSize);
    const whole = () => runtime.tensor(new Float32Array(rows).fill(NO_CLIP), [rows, 1]);
    const outputs = await program.run({
      weight: adapted ?? weights.get(name)!,
      ...(used > 0 && { lora_A: a!, lora_B: b! }),
      clip_upper: named(`clip_upper.${bits}`) ?? whole(),
      clip_lower: named(`clip_lower.${bits}`) ?? whole(),
      levels: scalar(2 ** bits - 1),
    });
    return outputs.weight_q!;
  };
  /** W + gain · BA where it is kept, or can be from now on. */
  const keptWeight = async (
    name: string,
    { a, b }: { readonly a: Tensor | undefined; readonly b: Tensor | undefined },
    rank: number,
    gain: number,
  ): Promise<Tensor | undefined> => {
    const key = `${name} ${rank} ${gain}`;
    const weight = weights.get(name)!;
    const [out, columns] = weight.shape as readonly [number, number];
    const bytes = out * columns * Float32Array.BYTES_PER_ELEMENT;
    if (kept.has(key) || memory.left < bytes) return kept.get(key);
    memory.left -= bytes;
    const full = a!.shape[0]!;
    const label = `adapted ${out}×${columns} of rank ${rank}`;
    const program = await programs.getBuilt(adaptedGraph, [out, columns, full, rank, gain], label);
    kept.set(key, (await program.run({ weight, lora_A: a!, lora_B: b! })).adapted!);
    return kept.get(key);
  };
  const scalar = (x: number, shape: readonly number[] = []) => runtime.tensor(Float32Array.of(x), shape);

  return {
    use: async (precision) => {
      const each =
        'layers' in precision ? precision.layers : new Map(linears.map(({ name }) => [name, precision]));
      const switched = await switchAll(linears, isSmall ? linears.length : 1, (layer) =>
        switchLayer(layer, each.get(layer.name)),
      );
      const changed = switched.filter(Boolean).length;
      const { inputs, bits } = quantizersOf(listing, each);
      limits = {};
      const grids = new Set<string>();
      for (const [name, { owner, width }] of bits) {
        const scale = adapters.get(`${owner}.act_scale.${width}`)?.data[0];
        const zero = adapters.get(`${owner}.act_zero.${width}`)?.data[0];
        const onGrid = scale !== undefined && zero !== undefined;
        if (!onGrid && listing.operands.includes(name)) continue;
        if (onGrid) {
          grids.add(name);
          limits[`${name}.scale`] = scalar(scale, [1, 1]);
        }
        const top = 2 ** (width - 1) - 1;
        limits[`${name}.lower`] = scalar(onGrid ? -zero : -top);
        limits[`${name}.upper`] = scalar(onGrid ? 2 ** width - 1 - zero : top);
      }
      const { cache } = precision;
      activations = { inputs, grids, cache: cache === undefined ? undefined : cacheOf(part, cache) };
      return changed;
    },
    run: async (x, batch, side = {}) => {
      const now = activations;
      const ports = { ...side, x };
      const name = `quantized ${runOf(part, ports, batch)} [${activationKey(now)}]`;
      const program = await remembered(known, name, () =>
        programs.get(quantizedGraph(part, now, batch, shapesOf(ports)), name),
      );
      const feeds: Record<string, Tensor> = { ...fixed, ...limits, ...ports };
      for (const { name } of linears)
        feeds[`${name}.weight`] = quantized.get(name)?.weight ?? weights.get(name)!;
      return (await program.run(feeds)).y!;
    },
    dispose: () => {
      disposeAll(fixed);
      for (const { weight } of quantized.values()) weight.dispose();
      for (const tensor of kept.values()) {
        memory.left += sizeOf(tensor.shape) * Float32Array.BYTES_PER_ELEMENT;
        tensor.dispose();
      }
      for (const tensor of weights.values()) tensor.dispose();
    },
  };
}

const weightKey = ({ weight, rank, gain = 1, groupSize = -1 }: LayerPrecision) =>
  [weight, rank, gain, groupSize].join();

const activationKey = ({ inputs, grids, cache }: QuantizedActivations) =>
  [[...inputs].join(' '), [...grids].join(), cache?.bits ?? ''].join('; ');

interface Quantizer {
  /** What its grid is stored under: the first layer that reads the input, or the operand. */
  readonly owner: string;
  readonly width: number;
}

/**
 * The quantizers of a part: one for each input and bit-width that layers read it at. An operand has the bit-width of the
 * layer that it is made of; one that is made of several has the highest of the part's, and none where a layer has none.
 */
function quantizersOf({ linears, operands, producers }: PartListing, each: MixedPrecision['layers']) {
  const inputs = new Map<string, string>();
  const bits = new Map<string, Quantizer>();
  const names = new Map<string, string>();
  for (const { name, input } of linears) {
    const width = each.get(name)?.activation;
    if (width === undefined) continue;
    const key = `${width} ${input}`;
    if (!names.has(key)) {
      names.set(key, name);
      bits.set(name, { owner: input, width });
    }
    inputs.set(name, names.get(key)!);
  }
  const widths = linears.map(({ name }) => each.get(name)?.activation ?? Infinity);
  const highest = Math.max(...widths);
  for (const name of operands) {
    const producer = producers.get(name);
    const width = producer === undefined ? highest : (each.get(producer)?.activation ?? Infinity);
    if (width < Infinity) bits.set(name, { owner: name, width });
  }
  return { inputs, bits };
}

/** Weights of a part that are switched at once on a CPU, where a small layer does not keep it busy. */
const TOGETHER = 1 << 22;

/** Handles the items, so many at a time; what comes of them in their order. */
async function switchAll<T, R>(
  items: readonly T[],
  atOnce: number,
  handle: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  for (let first = 0; first < items.length; first += atOnce)
    results.push(...(await Promise.all(items.slice(first, first + atOnce).map(handle))));
  return results;
}
