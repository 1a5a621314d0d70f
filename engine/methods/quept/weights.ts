/** Q(W + gain · BA) on the device: a calibrated block's weights at any bit-width (docs/METHOD.md, sections 2 and 3). */
import type { NamedTensors } from '../../execution/tensors.js';
import type { KeptMemory, PartWeights } from '../../execution/source.js';
import { Graph, type Value } from '../../graph/ir.js';
import { fakeQuantizeWeight, scaleRows, weightGrid } from '../../graph/quantizers.js';
import type { LinearEntry } from '../../models/listing.js';
import type { GridWeight } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import { adaptedWeight, type BitGroup } from './adapters.js';

/** A clip logit whose sigmoid is 1 in float32: the whole range of the row (docs/METHOD.md, section 3). */
export const NO_CLIP = 30;

/** What a block's learned tensors mean at each bit-width. */
export interface BlockPrecision {
  readonly groups: readonly BitGroup[];
  /** Input columns that share a weight scale, -1 for whole rows. @param layer its local name */
  readonly groupSizeOf: (layer: string, bits: number) => number;
  /** Whether zero points are halves. */
  readonly hasHalves: (bits: number) => boolean;
}

/** Which weight is quantized, and how finely: what its graph depends on. */
interface WeightSetting {
  readonly out: number;
  readonly columns: number;
  /** Directions of the adapter: all, and those in use. */
  readonly fullRank: number;
  readonly rank: number;
  readonly gain: number;
  readonly groupSize: number;
  readonly halves: boolean;
}

/** As graphs take it. */
const listed = ({ out, columns, fullRank, rank, gain, groupSize, halves }: WeightSetting) =>
  [out, columns, fullRank, rank, gain, groupSize, halves] as const;
type Listed = ReturnType<typeof listed>;

/** Declares `weight`, and `lora_A` and `lora_B` where r > 0, and adds them up: W + gain · B[:, :r] A[:r, :]. */
function adaptedInputs(graph: Graph, ...[out, columns, fullRank, rank, gain]: Listed): Value {
  const weight = graph.input('weight', [out, columns]);
  if (rank === 0) return weight;
  const a = graph.input('lora_A', [fullRank, columns]);
  const b = graph.input('lora_B', [out, fullRank]);
  return adaptedWeight(weight, { a, b }, { rank, gain });
}

/** Declares `clip_upper` and `clip_lower` [rows, 1] and `levels`, in the order that quantizers take them. */
function gridInputs(graph: Graph, ...[out, columns, , , , groupSize, halves]: Listed) {
  const rows = scaleRows({ in: columns, out }, groupSize);
  const clips = [graph.input('clip_upper', [rows, 1]), graph.input('clip_lower', [rows, 1])] as const;
  return [...clips, graph.input('levels', []), groupSize, halves] as const;
}

/** Inputs as of `adaptedInputs` and `gridInputs`; output `weight_q` [out, in]. */
export function weightGraph(...setting: Listed): Graph {
  const graph = new Graph();
  const adapted = adaptedInputs(graph, ...setting);
  graph.output('weight_q', fakeQuantizeWeight(adapted, ...gridInputs(graph, ...setting)));
  return graph;
}

/** The same as numbers of the grid: outputs `codes` [out, in], `scale` and `zero` [rows, 1]. */
function codesGraph(...setting: Listed): Graph {
  const graph = new Graph();
  const adapted = adaptedInputs(graph, ...setting);
  const { codes, scale, zero } = weightGrid(adapted, ...gridInputs(graph, ...setting));
  graph.output('codes', codes);
  graph.output('scale', scale);
  graph.output('zero', zero);
  return graph;
}

/** Output `adapted` [out, in]. */
function adaptedGraph(...setting: Listed): Graph {
  const graph = new Graph();
  graph.output('adapted', adaptedInputs(graph, ...setting));
  return graph;
}

/** The learned tensors of one layer at one bit-width, as inputs of a graph. */
function layerInputs(
  { runtime }: Programs,
  { name, in: columns, out }: LinearEntry,
  bits: number,
  { groups, groupSizeOf, hasHalves }: BlockPrecision,
  adapters: NamedTensors,
) {
  const named = (key: string) => {
    const tensor = adapters.get(`${name}.${key}`);
    return tensor && runtime.tensor(tensor.data, tensor.shape);
  };
  const { rank = 0, gain = 1 } = groups.find((group) => group.bits.includes(bits)) ?? {};
  const [a, b] = [named('lora_A'), named('lora_B')];
  const used = a && b && gain !== 0 ? rank : 0;
  const groupSize = groupSizeOf(name, bits);
  const rows = scaleRows({ in: columns, out }, groupSize);
  const whole = () => runtime.tensor(new Float32Array(rows).fill(NO_CLIP), [rows, 1]);
  const setting: WeightSetting = {
    out,
    columns,
    fullRank: a?.shape[0] ?? 0,
    rank: used,
    gain: used > 0 ? gain : 1,
    groupSize,
    halves: hasHalves(bits),
  };
  return {
    setting,
    lora: used > 0 ? { lora_A: a!, lora_B: b! } : undefined,
    grid: {
      clip_upper: named(`clip_upper.${bits}`) ?? whole(),
      clip_lower: named(`clip_lower.${bits}`) ?? whole(),
      levels: runtime.tensor(Float32Array.of(2 ** bits - 1), []),
    },
  };
}

/**
 * @param adapters the block's learned tensors by local name; a layer without clip logits uses its whole range
 * @param placed unquantized weights on the device, by layer
 * @param memory for W + gain · BA of each bit group, so that only the first switch to it adds them
 */
export function blockWeights(
  programs: Programs,
  precision: BlockPrecision,
  adapters: NamedTensors,
  placed: ReadonlyMap<string, Tensor>,
  memory: KeptMemory,
): PartWeights {
  const kept = new Map<string, Tensor>();
  const bytesOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, Float32Array.BYTES_PER_ELEMENT);

  /** W + gain · BA where it is kept, or can be from now on. */
  const keptWeight = async (
    name: string,
    setting: WeightSetting,
    lora: Readonly<Record<string, Tensor>>,
  ): Promise<Tensor | undefined> => {
    const key = `${name} ${setting.rank} ${setting.gain}`;
    const bytes = bytesOf([setting.out, setting.columns]);
    if (kept.has(key) || memory.left < bytes) return kept.get(key);
    memory.left -= bytes;
    try {
      const label = `adapted ${setting.out}×${setting.columns}`;
      const program = await programs.getBuilt(
        adaptedGraph,
        listed({ ...setting, groupSize: -1, halves: false }),
        label,
      );
      const { adapted } = await program.run({ weight: placed.get(name)!, ...lora });
      kept.set(key, adapted!);
    } catch (error) {
      memory.left += bytes;
      throw error;
    }
    return kept.get(key);
  };
  return {
    quantize: async (layer, bits) => {
      const { setting, lora, grid } = layerInputs(programs, layer, bits, precision, adapters);
      const adapted = lora && (await keptWeight(layer.name, setting, lora));
      const left = adapted ? { ...setting, fullRank: 0, rank: 0, gain: 1 } : setting;
      const label = `weight ${left.out}×${left.columns}`;
      const program = await programs.getBuilt(weightGraph, listed(left), label);
      const weight = adapted ?? placed.get(layer.name)!;
      const outputs = await program.run({ weight, ...(adapted ? {} : lora), ...grid });
      return outputs.weight_q!;
    },
    dispose: () => {
      for (const tensor of kept.values()) {
        memory.left += bytesOf(tensor.shape);
        tensor.dispose();
      }
      kept.clear();
    },
  };
}

/** The weight of a layer as data. @param weight W, unquantized [out, in] */
export async function layerCodes(
  programs: Programs,
  precision: BlockPrecision,
  adapters: NamedTensors,
  layer: LinearEntry,
  weight: Float32Array,
  bits: number,
): Promise<GridWeight> {
  const { runtime } = programs;
  const { setting, lora, grid } = layerInputs(programs, layer, bits, precision, adapters);
  const program = await programs.getBuilt(codesGraph, listed(setting), 'codes', { keep: false });
  const outputs = await program.run({
    weight: runtime.tensor(weight, [setting.out, setting.columns]),
    ...lora,
    ...grid,
  });
  return {
    kind: 'grid',
    shape: [setting.out, setting.columns],
    bits,
    codes: Uint8Array.from(await runtime.read(outputs.codes!)),
    groupSize: setting.groupSize,
    scale: await runtime.read(outputs.scale!),
    zero: await runtime.read(outputs.zero!),
  };
}
