/**
 * One calibration step of a block as a graph (docs/METHOD.md, section 4): forward at one bit-width per group, loss,
 * backward, Adam.
 */
import { Graph, sizeOf, type Value } from '../../graph/ir.js';
import { gradients } from '../../graph/gradients.js';
import * as op from '../../graph/ops.js';
import { adam } from '../../graph/optimizers.js';
import { fakeQuantizeWeight, ZERO_STEP } from '../../graph/quantizers.js';
import { fullPrecision, parameterInputs, portInputs } from '../../models/builders.js';
import type { Builder, Part } from '../../models/model.js';
import { ordinaryWeights } from '../../execution/taps.js';
import { quantizeInput, quantizeOperand, type ActivationQuantizers } from '../../execution/activations.js';
import {
  adaptedWeight,
  splitClip,
  splitLora,
  splitScale,
  type AdapterLayout,
  type BitGroup,
} from './adapters.js';
import { stateTensors, type StateKind, type StateTensor } from './state.js';

/**
 * Which groups train only the directions that they add, those of the groups above being constants to them; the others train
 * all that they use, as the paper does.
 */
export type Apart = 'none' | 'lowest' | 'all';

export const isApart = (apart: Apart, g: number, groups: number): boolean =>
  g > 0 && (apart === 'all' || (apart === 'lowest' && g === groups - 1));

export interface StepOptions {
  readonly batch: number;
  readonly loss: 'mae' | 'mse';
  readonly apart: Apart;
  /** Whether tokens with massive activations count as the largest ordinary ones would (`ordinaryWeights`); default no. */
  readonly ordinary?: boolean;
  /** Whether tokens count as an input `weights` [rows, 1] says, in place of that; default no. */
  readonly weighted?: boolean;
  /** Whether every group reads a stream of its own (`x.g`) rather than one they share (`x`). */
  readonly ownStreams: boolean;
  /**
   * The groups that still learn, where some may have stopped: the step leaves the others' values as they are, and of the
   * adapters' elements those for which the input `live` [P] is not 1.
   */
  readonly live?: readonly number[];
}

/**
 * Builds the step. Inputs: `x` and `side.<name>` for the part's side ports (or `x.g`, `side.<name>.g`) and `y`, the parameters of the part by local name and a bias for every layer,
 * the state tensors with moments, what a drawn bit-width sets (see `drawnInputs`), `rate.<kind>` and `correction` (see
 * `adamScalars`), `losses` [groups], to which the step adds its own, and
 * with `weighted` what tokens count, `weights`. Outputs: `next.<name>` of the state, its moments
 * and `losses`.
 */
export function stepGraph(part: Part, layout: AdapterLayout, options: StepOptions): Graph {
  const graph = new Graph();
  const y = graph.input('y', part.outputShape(options.batch));
  const shared = options.ownStreams ? undefined : portInputs(graph, part, options.batch);
  const trained = stateTensors(layout).filter(
    ({ group }) => group === undefined || (options.live?.includes(group) ?? true),
  );
  const { state, adapters } = stateInputs(graph, layout, trained);

  const weights = weightsOf(y, options);
  const live = options.live ?? [...layout.groups.keys()];
  const ends = live.map((g) => ({
    g,
    ...groupEnd(graph, { part, layout, options, state, adapters, shared, y, weights }, g),
  }));

  const losses = op.concat(
    ends.map(({ loss }) => loss),
    0,
  );
  graph.output('next.losses', op.add(graph.input('losses', losses.shape), losses));

  const found = new Map<string, Value>();
  for (const { g, ...end } of ends) {
    const own = trained.filter(({ group }) => group === undefined || group === g);
    const wrt = own.map(({ name }) => state.get(name)!);
    computedTogether(gradients([end], wrt)).forEach((slope, i) => {
      const { name } = own[i]!;
      const before = found.get(name);
      found.set(name, before ? op.add(before, slope) : slope);
    });
  }
  const correction = graph.input('correction', []);
  const rates = new Map<StateKind, Value>();
  for (const { kind, name, shape } of trained) {
    if (!rates.has(kind)) rates.set(kind, graph.input(`rate.${kind}`, []));
    const moment = (suffix: string) => graph.input(`${name}.${suffix}`, shape);
    const before = { parameter: state.get(name)!, first: moment('m'), second: moment('v') };
    const after = adam(before, found.get(name)!, rates.get(kind)!, correction);
    graph.output(`next.${name}`, movedTo(kind, before.parameter, after.parameter, options));
    graph.output(`next.${name}.m`, after.first);
    graph.output(`next.${name}.v`, after.second);
  }
  return graph;
}

/** Of tokens, where they do not count alike: an error of absolute values grows with the root of the energy. */
function weightsOf(y: Value, { loss, ordinary, weighted }: StepOptions): Value | undefined {
  if (!ordinary && !weighted) return undefined;
  const features = y.shape.at(-1)!;
  const rows = sizeOf(y.shape) / features;
  const weights = weighted
    ? y.graph.input('weights', [rows, 1])
    : ordinaryWeights(op.reshape(y, [rows, features]));
  return op.reshape(loss === 'mae' ? op.sqrt(weights) : weights, [...y.shape.slice(0, -1), 1]);
}

interface Ends {
  readonly part: Part;
  readonly layout: AdapterLayout;
  readonly options: StepOptions;
  readonly state: ReadonlyMap<string, Value>;
  readonly adapters: ReturnType<typeof splitLora> | undefined;
  /** What all groups read, where they have no streams of their own. */
  readonly shared: ReturnType<typeof portInputs> | undefined;
  readonly y: Value;
  /** Of tokens, where they do not count alike. */
  readonly weights: Value | undefined;
}

function stateInputs(graph: Graph, layout: AdapterLayout, tensors: readonly StateTensor[]) {
  const state = new Map(tensors.map(({ name, shape }) => [name, graph.input(name, shape)]));
  const lora = state.get('lora');
  return { state, adapters: lora && splitLora(layout, lora) };
}

/** The block at one group's drawn bit-width: its loss, and where the backward pass begins. */
function groupEnd(
  graph: Graph,
  { part, layout, options, state, adapters, shared, y, weights }: Ends,
  g: number,
) {
  const group = layout.groups[g]!;
  const { x, side } = shared ?? portInputs(graph, part, options.batch, {}, `.${g}`);
  const select = graph.input(`select.${g}`, [1, group.bits.length]);
  const clip = splitClip(layout, g, op.matMul(select, state.get(`clip.${g}`)!));
  const scales = state.get(`scale.${g}`);
  const scale = scales && splitScale(layout, op.matMul(select, scales));
  const limit = (side: 'lower' | 'upper', name: string) => graph.input(`${side}.${g}${name}`, []);
  const builder = quantizing(graph, group, layout.groupSizes[g]!, {
    halves: layout.halves?.[g] ?? false,
    fixed: isApart(options.apart, g, layout.groups.length) ? layout.groups[g - 1]!.rank : 0,
    levels: graph.input(`levels.${g}`, []),
    clip,
    adapters,
    activations: {
      grid: (name) => {
        const own = scale?.get(name);
        return own && { scale: own, lower: limit('lower', `.${name}`), upper: limit('upper', `.${name}`) };
      },
      tokens: layout.tokens ? { lower: limit('lower', ''), upper: limit('upper', '') } : undefined,
      cache: layout.cache,
    },
  });
  const difference = op.sub(part.forward(builder, x, options.batch, side), y);
  // Summed over tokens, averaged over batch and channels.
  const share = graph.scalar(1 / (options.batch * y.shape.at(-1)!));
  const error = options.loss === 'mae' ? op.abs(difference) : op.mul(difference, difference);
  const each = weights ? op.mul(error, weights) : error;
  const loss = op.reshape(op.mul(op.reduceSum(each, [...each.shape.keys()]), share), [1]);
  const slope = options.loss === 'mae' ? op.sign(difference) : op.mul(difference, graph.scalar(2));
  return { loss, value: difference, cotangent: op.mul(weights ? op.mul(slope, weights) : slope, share) };
}

/**
 * The loss of one group's drawn bit-width alone, `loss` [1], of the state as it is. Inputs as those of the step, without
 * moments, rates and other groups' values.
 */
export function lossGraph(part: Part, layout: AdapterLayout, options: StepOptions, g: number): Graph {
  const graph = new Graph();
  const y = graph.input('y', part.outputShape(options.batch));
  const shared = options.ownStreams ? undefined : portInputs(graph, part, options.batch);
  const own = stateTensors(layout).filter(({ group }) => group === undefined || group === g);
  const { state, adapters } = stateInputs(graph, layout, own);
  const weights = weightsOf(y, options);
  const end = groupEnd(graph, { part, layout, options, state, adapters, shared, y, weights }, g);
  graph.output('loss', end.loss);
  return graph;
}

/** What a step makes of a state tensor. */
function movedTo(kind: StateKind, before: Value, after: Value, { live }: StepOptions): Value {
  if (kind === 'scale') return nearScale(before, after);
  if (kind === 'clip' || live === undefined) return after;
  const isLive = op.equal(before.graph.input('live', before.shape), before.graph.scalar(1));
  return op.where(isLive, after, before);
}

/** By how much of itself a step may change a scale at most (docs/METHOD.md, section 4). */
const LARGEST_CHANGE = 0.1;

/**
 * A scale after a step, no further from what it was than a share of it. Adam's steps have one size, whatever that of the
 * scale: they would take a small one below zero.
 */
function nearScale(before: Value, after: Value): Value {
  const scalar = (x: number) => before.graph.scalar(x);
  const least = op.max(op.mul(before, scalar(1 - LARGEST_CHANGE)), scalar(ZERO_STEP));
  return op.max(op.min(after, op.mul(before, scalar(1 + LARGEST_CHANGE))), least);
}

/**
 * The same values, none of which is to be had before all are. ONNX Runtime goes from output to output: it would leave the
 * adapters' gradients of every group for last, and hold on to the gradients of all weights until then.
 */
function computedTogether(values: readonly Value[]): Value[] {
  const flat = values.map((value) => op.reshape(value, [sizeOf(value.shape)]));
  const pieces = op.split(
    op.concat(flat, 0),
    flat.map((piece) => piece.shape[0]!),
    0,
  );
  return pieces.map((piece, i) => op.reshape(piece, values[i]!.shape));
}

/**
 * The inputs that group `g` takes when bit-width `bits` is drawn: `select.g` one-hot [1, bits of the group], `levels.g`
 * and the limits of integers, scalars: for every activation quantizer `lower.g.<name>` and `upper.g.<name>`, for what is
 * quantized per token `lower.g` and `upper.g`.
 * @param zeroOf zero point of a quantizer at this bit-width
 */
export function drawnInputs(
  layout: AdapterLayout,
  g: number,
  bits: number,
  zeroOf: (quantizer: string) => number,
): Map<string, { data: Float32Array; shape: readonly number[] }> {
  const group = layout.groups[g]!.bits;
  const scalar = (x: number) => ({ data: Float32Array.of(x), shape: [] });
  const levels = 2 ** bits - 1;
  const top = 2 ** (bits - 1) - 1;
  return new Map([
    [`select.${g}`, { data: Float32Array.from(group, (b) => Number(b === bits)), shape: [1, group.length] }],
    [`levels.${g}`, scalar(levels)],
    ...(layout.tokens ? [[`lower.${g}`, scalar(-top)] as const, [`upper.${g}`, scalar(top)] as const] : []),
    ...layout.quantizers.flatMap((name) => [
      [`lower.${g}.${name}`, scalar(-zeroOf(name))] as const,
      [`upper.${g}.${name}`, scalar(levels - zeroOf(name))] as const,
    ]),
  ]);
}

interface GroupValues {
  readonly halves: boolean;
  /** Directions of the adapter that the group does not train. */
  readonly fixed: number;
  readonly levels: Value;
  readonly clip: Map<string, { upper: Value; lower: Value }>;
  readonly adapters: Map<string, { a: Value; b: Value }> | undefined;
  readonly activations: ActivationQuantizers;
}

/** The builder that fake-quantizes weights and activations with one group's learned values. */
function quantizing(graph: Graph, group: BitGroup, groupSize: number, values: GroupValues): Builder {
  const plain = fullPrecision(graph);
  const parameter = parameterInputs(graph);
  const inputs = new Map<Value, Value>();
  return {
    ...plain,
    linear: (name, x, out) => {
      if (!inputs.has(x)) inputs.set(x, quantizeInput(name, x, values.activations));
      const weight = parameter(`${name}.weight`, [out, x.shape[1]!]);
      const adapter = values.adapters?.get(name);
      const adapted = adapter ? adaptedWeight(weight, adapter, group, values.fixed) : weight;
      const { upper, lower } = values.clip.get(name)!;
      const quantized = fakeQuantizeWeight(adapted, upper, lower, values.levels, groupSize, values.halves);
      // A folded norm gives every layer a bias.
      return op.gemm(inputs.get(x)!, quantized, { transB: true, c: parameter(`${name}.bias`, [out]) });
    },
    operand: (name, x) => quantizeOperand(name, x, values.activations),
  };
}
