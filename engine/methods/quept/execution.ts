/** Running a part at a bit-width: weights are quantized once a switch, activations in every run. */
import { Graph, type Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { fakeQuantizeActivation, fakeQuantizeWeight } from '../../graph/quantizers.js';
import { fullPrecision, parameterInputs } from '../../models/builders.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { PartListing } from '../../models/listing.js';
import type { Builder, Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import { adaptedWeight, scaleRows } from './adapters.js';
import type { NamedTensors } from './state.js';

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
  const rows = scaleRows({ name: '', in: columns, out }, groupSize);
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

/**
 * A part whose weights come in quantized. Inputs: `x`, the parameters, and for each of `quantizers` a grid
 * `<name>.scale` [1, 1], `<name>.lower` and `<name>.upper`, scalars. Output `y`.
 */
export function quantizedGraph(part: Part, quantizers: readonly string[], batch: number): Graph {
  const graph = new Graph();
  const plain = fullPrecision(graph);
  const parameter = parameterInputs(graph);
  const known = new Map<Value, Value>();
  const quantize = (name: string, x: Value): Value => {
    if (!quantizers.includes(name)) return x;
    return fakeQuantizeActivation(
      x,
      graph.input(`${name}.scale`, [1, 1]),
      graph.input(`${name}.lower`, []),
      graph.input(`${name}.upper`, []),
    );
  };
  const builder: Builder = {
    ...plain,
    linear: (name, x, out) => {
      if (!known.has(x)) known.set(x, quantize(name, x));
      const c = parameter(`${name}.bias`, [out]);
      return op.gemm(known.get(x)!, parameter(`${name}.weight`, [out, x.shape[1]!]), { transB: true, c });
    },
    operand: quantize,
  };
  graph.output('y', part.forward(builder, graph.input('x', part.inputShape(batch), part.inputType), batch));
  return graph;
}

/** A part in full precision: inputs `x` and the parameters, output `y`. */
export function plainGraph(part: Part, batch: number): Graph {
  const graph = new Graph();
  graph.output(
    'y',
    part.forward(fullPrecision(graph), graph.input('x', part.inputShape(batch), part.inputType), batch),
  );
  return graph;
}

/** A part with its tensors on the device, ready to run. */
export interface RunnablePart {
  /** Input shaped as the part's for `batch` samples; the output stays on the device. */
  run(x: Tensor, batch: number): Promise<Tensor>;
  dispose(): void;
}

export async function openPlainPart(
  programs: Programs,
  part: Part,
  parameters: ReadonlyMap<string, HostTensor>,
): Promise<RunnablePart> {
  const { runtime } = programs;
  const fixed: Record<string, Tensor> = {};
  for (const [name, { data, shape }] of parameters)
    fixed[name] = await runtime.place(runtime.tensor(data, shape));
  return {
    run: async (x, batch) => {
      const program = await programs.get(`plain ${part.kind} ×${batch}`, () => plainGraph(part, batch));
      return (await program.run({ ...fixed, x })).y!;
    },
    dispose: () => disposeAll(fixed),
  };
}

/** How one part's layers are quantized. */
export interface PartPrecision {
  /** Bit-width of a layer's weight; full precision where undefined. */
  readonly weight: number;
  /** Bit-width of activations; they stay in floating point where undefined. */
  readonly activation?: number;
  /** Directions of the adapter in use, and the factor on their product. */
  readonly rank: number;
  readonly gain?: number;
  /** Input columns that share a weight scale; a whole row where undefined or -1. */
  readonly groupSize?: number;
}

/** A part that can be switched between bit-widths. */
export interface ElasticPart extends RunnablePart {
  /** Recomputes the quantized weights. */
  use(precision: PartPrecision): Promise<void>;
}

/**
 * @param parameters the part's own, or folded ones (`foldedParameters`)
 * @param adapters tensors of the adapter set by local name; a layer without clip logits uses its whole range
 */
export async function openElasticPart(
  programs: Programs,
  part: Part,
  listing: PartListing,
  parameters: ReadonlyMap<string, HostTensor>,
  adapters: NamedTensors,
): Promise<ElasticPart> {
  const { runtime } = programs;
  const weights = new Map<string, Tensor>();
  const fixed: Record<string, Tensor> = {};
  for (const [name, { data, shape }] of parameters) {
    const placed = await runtime.place(runtime.tensor(data, shape));
    if (listing.linears.some((l) => name === `${l.name}.weight`)) weights.set(name, placed);
    else fixed[name] = placed;
  }
  for (const { name, out } of listing.linears)
    fixed[`${name}.bias`] ??= await runtime.place(runtime.tensor(new Float32Array(out), [out]));
  const scalar = (x: number, shape: readonly number[] = []) => runtime.tensor(Float32Array.of(x), shape);
  let quantized: Record<string, Tensor> = {};
  let grids: Record<string, Tensor> = {};
  let quantizers: string[] = [];

  const named = (key: string) => {
    const tensor = adapters.get(key);
    return tensor && runtime.tensor(tensor.data, tensor.shape);
  };
  return {
    use: async ({ weight: bits, activation, rank, gain = 1, groupSize = -1 }) => {
      const next: Record<string, Tensor> = {};
      for (const { name, in: columns, out } of listing.linears) {
        const [a, b] = [named(`${name}.lora_A`), named(`${name}.lora_B`)];
        const used = a ? rank : 0;
        const program = await programs.get(
          `weight ${out}×${columns} r${used} of ${a?.shape[0] ?? 0} gain ${gain} per ${groupSize}`,
          () => weightGraph(out, columns, a?.shape[0] ?? 0, used, gain, groupSize),
        );
        const rows = scaleRows({ name, in: columns, out }, groupSize);
        const whole = runtime.tensor(new Float32Array(rows).fill(NO_CLIP), [rows, 1]);
        const outputs = await program.run({
          weight: weights.get(`${name}.weight`)!,
          ...(used > 0 && { lora_A: a!, lora_B: b! }),
          clip_upper: named(`${name}.clip_upper.${bits}`) ?? whole,
          clip_lower: named(`${name}.clip_lower.${bits}`) ?? whole,
          levels: scalar(2 ** bits - 1),
        });
        next[`${name}.weight`] = outputs.weight_q!;
      }
      disposeAll(quantized);
      quantized = next;
      grids = {};
      quantizers = [];
      if (activation === undefined) return;
      for (const name of [...new Set(listing.linears.map((l) => l.input)), ...listing.operands]) {
        const scale = adapters.get(`${name}.act_scale.${activation}`)?.data[0];
        const zero = adapters.get(`${name}.act_zero.${activation}`)?.data[0];
        if (scale === undefined || zero === undefined) continue;
        quantizers.push(name);
        grids[`${name}.scale`] = scalar(scale, [1, 1]);
        grids[`${name}.lower`] = scalar(-zero);
        grids[`${name}.upper`] = scalar(2 ** activation - 1 - zero);
      }
    },
    run: async (x, batch) => {
      const names = quantizers;
      const program = await programs.get(`quantized ${part.kind} ×${batch} [${names.join()}]`, () =>
        quantizedGraph(part, names, batch),
      );
      return (await program.run({ ...fixed, ...quantized, ...grids, x })).y!;
    },
    dispose: () => {
      disposeAll(fixed);
      disposeAll(quantized);
      for (const tensor of weights.values()) tensor.dispose();
    },
  };
}

export function disposeAll(tensors: Readonly<Record<string, Tensor>>): void {
  for (const tensor of Object.values(tensors)) tensor.dispose();
}
