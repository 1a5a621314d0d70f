/** Weights rounded to nearest over their whole range, on the device: what embedding and head are quantized by, whatever the method. */
import { Graph } from '../graph/ir.js';
import { fakeQuantizeWeight, scaleRows, weightGrid } from '../graph/quantizers.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { LinearEntry } from '../models/listing.js';
import type { GridWeight } from '../quantized/weight.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import type { PartSource, PartWeights } from './source.js';

/** A clip logit whose sigmoid is 1 in float32: the whole range of the row (docs/METHOD.md, section 3). */
const WHOLE_RANGE = 30;

/** Input columns that share a scale, -1 for whole rows. @param layer its local name */
export type GroupSizeOf = (layer: string, bits: number) => number;

/** Inputs `weight` [out, in] and `levels`; output `weight_q` [out, in]. */
function roundedGraph(out: number, columns: number, groupSize: number): Graph {
  const graph = new Graph();
  graph.output('weight_q', fakeQuantizeWeight(...inputsOf(graph, out, columns, groupSize)));
  return graph;
}

/** The same as numbers of the grid: outputs `codes` [out, in], `scale` and `zero` [rows, 1]. */
function codesGraph(out: number, columns: number, groupSize: number): Graph {
  const graph = new Graph();
  for (const [name, value] of Object.entries(weightGrid(...inputsOf(graph, out, columns, groupSize))))
    graph.output(name, value);
  return graph;
}

function inputsOf(graph: Graph, out: number, columns: number, groupSize: number) {
  const rows = scaleRows({ in: columns, out }, groupSize);
  const weight = graph.input('weight', [out, columns]);
  const whole = graph.input('whole', [rows, 1]);
  return [weight, whole, whole, graph.input('levels', []), groupSize] as const;
}

type Sizes = Pick<LinearEntry, 'in' | 'out'>;

function feedsOf({ runtime }: Programs, { in: columns, out }: Sizes, bits: number, groupSize: number) {
  const rows = scaleRows({ in: columns, out }, groupSize);
  return {
    whole: runtime.tensor(new Float32Array(rows).fill(WHOLE_RANGE), [rows, 1]),
    levels: runtime.tensor(Float32Array.of(2 ** bits - 1), []),
  };
}

/** @param placed unquantized weights on the device, by layer */
export const roundedWeights = (
  programs: Programs,
  groupSizeOf: GroupSizeOf,
  placed: ReadonlyMap<string, Tensor>,
): PartWeights => ({
  quantize: async (layer, bits) => {
    const groupSize = groupSizeOf(layer.name, bits);
    const sizes = [layer.out, layer.in, groupSize] as const;
    const program = await programs.getBuilt(roundedGraph, sizes, `rounding ${layer.out}×${layer.in}`);
    const outputs = await program.run({
      weight: placed.get(layer.name)!,
      ...feedsOf(programs, layer, bits, groupSize),
    });
    return outputs.weight_q!;
  },
  dispose: () => undefined,
});

/** The rounded weight of a layer as data. @param weight unquantized, [out, in] */
export async function roundedCodes(
  programs: Programs,
  layer: Sizes,
  weight: Float32Array,
  bits: number,
  groupSize: number,
): Promise<GridWeight> {
  const { runtime } = programs;
  const { in: columns, out } = layer;
  const program = await programs.getBuilt(codesGraph, [out, columns, groupSize], 'codes', { keep: false });
  const outputs = await program.run({
    weight: runtime.tensor(weight, [out, columns]),
    ...feedsOf(programs, layer, bits, groupSize),
  });
  return {
    kind: 'grid',
    shape: [out, columns],
    bits,
    codes: Uint8Array.from(await runtime.read(outputs.codes!)),
    groupSize,
    scale: await runtime.read(outputs.scale!),
    zero: await runtime.read(outputs.zero!),
  };
}

/** A stem or head: its weights rounded by whole rows, its activations left as they are. */
export const fixedSource = (parameters: ReadonlyMap<string, HostTensor>): PartSource => ({
  parameters,
  cache: undefined,
  activation: () => undefined,
  weights: (programs, placed) => roundedWeights(programs, () => -1, placed),
});
