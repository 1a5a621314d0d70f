/** Running a part at a bit-width: weights are quantized once a switch, activations in every run. */
import { Graph, type Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { fakeQuantizeWeight } from '../../graph/quantizers.js';
import { fullPrecision, parameterInputs } from '../../models/builders.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { PartListing } from '../../models/listing.js';
import type { Builder, Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import {
  cacheOf,
  quantizeInput,
  quantizeOperand,
  type ActivationQuantizers,
  type Cache,
} from './activations.js';
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

/** Which activations of a part are quantized, and how. */
interface QuantizedActivations {
  /** Inputs of layers and operands with a grid of their own. */
  readonly grids: readonly string[];
  /** Whether inputs of layers without one are quantized per token. */
  readonly tokens: boolean;
  readonly cache: Cache | undefined;
}

/**
 * A part whose weights come in quantized. Inputs: `x`, the parameters, for each of `grids` `<name>.scale` [1, 1],
 * `<name>.lower` and `<name>.upper`, scalars, and for tokens `lower` and `upper`. Output `y`.
 */
export function quantizedGraph(
  part: Part,
  { grids, tokens, cache }: QuantizedActivations,
  batch: number,
): Graph {
  const graph = new Graph();
  const plain = fullPrecision(graph);
  const parameter = parameterInputs(graph);
  const known = new Map<Value, Value>();
  const limits = (prefix: string) => ({
    lower: graph.input(`${prefix}lower`, []),
    upper: graph.input(`${prefix}upper`, []),
  });
  const activations: ActivationQuantizers = {
    grid: (name) =>
      grids.includes(name)
        ? { scale: graph.input(`${name}.scale`, [1, 1]), ...limits(`${name}.`) }
        : undefined,
    tokens: tokens ? limits('') : undefined,
    cache,
  };
  const builder: Builder = {
    ...plain,
    linear: (name, x, out) => {
      if (!known.has(x)) known.set(x, quantizeInput(name, x, activations));
      const c = parameter(`${name}.bias`, [out]);
      return op.gemm(known.get(x)!, parameter(`${name}.weight`, [out, x.shape[1]!]), { transB: true, c });
    },
    operand: (name, x) => quantizeOperand(name, x, activations),
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
  /** Bit-width of activations, per token where a layer's input has no grid; they stay in floating point where undefined. */
  readonly activation?: number;
  /** Bit-width of keys and values in the cache; floating point where undefined or above 8. */
  readonly cache?: number;
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
  let activations: QuantizedActivations = { grids: [], tokens: false, cache: undefined };

  const named = (key: string) => {
    const tensor = adapters.get(key);
    return tensor && runtime.tensor(tensor.data, tensor.shape);
  };
  return {
    use: async ({ weight: bits, activation, cache, rank, gain = 1, groupSize = -1 }) => {
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
      const found: string[] = [];
      const inputs = new Set(listing.linears.map((l) => l.input));
      if (activation !== undefined)
        for (const name of [...inputs, ...listing.operands]) {
          const scale = adapters.get(`${name}.act_scale.${activation}`)?.data[0];
          const zero = adapters.get(`${name}.act_zero.${activation}`)?.data[0];
          if (scale === undefined || zero === undefined) continue;
          found.push(name);
          grids[`${name}.scale`] = scalar(scale, [1, 1]);
          grids[`${name}.lower`] = scalar(-zero);
          grids[`${name}.upper`] = scalar(2 ** activation - 1 - zero);
        }
      const tokens = activation !== undefined && [...inputs].some((name) => !found.includes(name));
      if (tokens) {
        const top = 2 ** (activation - 1) - 1;
        Object.assign(grids, { lower: scalar(-top), upper: scalar(top) });
      }
      activations = { grids: found, tokens, cache: cache === undefined ? undefined : cacheOf(part, cache) };
    },
    run: async (x, batch) => {
      const now = activations;
      const how = `${now.grids.join()}${now.tokens ? ' tokens' : ''}${now.cache ? ` cache ${now.cache.bits}` : ''}`;
      const program = await programs.get(`quantized ${part.kind} ×${batch} [${how}]`, () =>
        quantizedGraph(part, now, batch),
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
