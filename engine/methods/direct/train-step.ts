/**
 * One step of training weights through their rounding as a graph (docs/METHOD.md, section 13): the block with rounded
 * weights forward, what it yields beside full precision, backward, Adam.
 */
import { gradients } from '../../graph/gradients.js';
import { Graph, type Shape, type Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { adam } from '../../graph/optimizers.js';
import { fakeQuantizeToGrids, scaleRows, spreadOverWeight } from '../../graph/quantizers.js';
import { fullPrecision, parameterInputs, portInputs } from '../../models/builders.js';
import type { LinearEntry } from '../../models/listing.js';
import type { Builder, Part } from '../../models/model.js';

/** For few steps: the usual .999 would remember all of them alike. */
export const BETA2 = 0.99;
/** Gradients of a relative error of weights are small. */
const EPSILON = 1e-12;
const SMALLEST_ENERGY = 1e-12;

/** What a step replaces, by name: of each layer its weight before rounding, and by how much its scales have grown. */
export function trainedShapes(linears: readonly LinearEntry[], groupSize: number): Map<string, Shape> {
  return new Map(
    linears.flatMap((layer): [string, Shape][] => [
      [weightName(layer.name), [layer.out, layer.in]],
      [growthName(layer.name), [scaleRows(layer, groupSize), 1]],
    ]),
  );
}

export const weightName = (layer: string): string => `${layer}.weight`;
/** Logarithms of what scales are multiplied by. */
export const growthName = (layer: string): string => `${layer}.growth`;

/** A block whose weights are rounded as they stand. */
export interface RoundedBlock {
  readonly y: Value;
  /** What a step replaces, as `trainedShapes` names it. */
  readonly state: ReadonlyMap<string, Value>;
  /** Of each layer the scales that it began with. */
  readonly scales: ReadonlyMap<string, Value>;
}

/**
 * Inputs: `x` and `side.<name>`; the block's parameters; of each layer `<layer>.scale` and `.zero` [rows, 1], the grids it began
 * on; `levels` []; the state of `trainedShapes`.
 */
export function roundedBlock(
  graph: Graph,
  part: Part,
  linears: readonly LinearEntry[],
  groupSize: number,
  batch: number,
): RoundedBlock {
  const shapes = trainedShapes(linears, groupSize);
  const state = new Map([...shapes].map(([name, shape]) => [name, graph.input(name, shape)]));
  const levels = graph.input('levels', []);
  const scales = new Map<string, Value>();
  const parameter = parameterInputs(graph);
  const builder: Builder = {
    ...fullPrecision(graph),
    linear: (name, x, out, { bias = true } = {}) => {
      const growth = state.get(growthName(name))!;
      const before = parameter(`${name}.scale`, growth.shape);
      scales.set(name, before);
      const weight = fakeQuantizeToGrids(
        state.get(weightName(name))!,
        op.mul(before, op.exp(growth)),
        parameter(`${name}.zero`, growth.shape),
        levels,
        groupSize,
      );
      return op.gemm(x, weight, { transB: true, ...(bias && { c: parameter(`${name}.bias`, [out]) }) });
    },
  };
  const { x, side } = portInputs(graph, part, batch);
  return { y: part.forward(builder, x, batch, side), state, scales };
}

interface Learning extends Pick<RoundedBlock, 'state' | 'scales'> {
  readonly linears: readonly LinearEntry[];
  readonly groupSize: number;
}

/**
 * A step of Adam. Inputs: moments `.m` and `.v` of the state; `rate.weight` in steps of the grid, `rate.growth` and `correction`
 * (see `adamScalars`). Outputs: `next.<name>` of state and moments. @param slopes the gradient with respect to each of the state
 */
export function learn(
  graph: Graph,
  { linears, groupSize, state, scales }: Learning,
  slopes: readonly (Value | undefined)[],
): void {
  const correction = graph.input('correction', []);
  const ratesOf = { weight: graph.input('rate.weight', []), growth: graph.input('rate.growth', []) };
  const rates = new Map(
    linears.flatMap(({ name }): [string, Value][] => {
      const { shape } = state.get(weightName(name))!;
      const steps = spreadOverWeight(op.mul(scales.get(name)!, ratesOf.weight), shape, groupSize);
      return [
        [weightName(name), steps],
        [growthName(name), ratesOf.growth],
      ];
    }),
  );
  for (const [i, [name, parameter]] of [...state].entries()) {
    const moment = (suffix: string) => graph.input(`${name}.${suffix}`, parameter.shape);
    const before = { parameter, first: moment('m'), second: moment('v') };
    const after = adam(before, slopes[i]!, rates.get(name)!, correction, { beta2: BETA2, epsilon: EPSILON });
    graph.output(`next.${name}`, after.parameter);
    graph.output(`next.${name}.m`, after.first);
    graph.output(`next.${name}.v`, after.second);
  }
}

/** Σ y² of every token. */
const energyOf = (y: Value): Value =>
  op.add(op.reduceSum(op.mul(y, y), [y.shape.length - 1]), y.graph.scalar(SMALLEST_ENERGY));

/**
 * Inputs: those of `roundedBlock`, with `x` and `side.<name>` of the stream, and of `learn`; `y` what the block yields in full
 * precision on its own; `curvature` C [features, features], symmetric. Outputs: those of `learn`, and `loss` [1], the
 * mean over tokens of e C eᵀ, e the error of each, over its energy, so that no token with huge activations decides everything.
 * @param isWeighted whether, in place of that, each counts as an input `weights` [tokens, 1] says
 */
export function trainStepGraph(
  part: Part,
  linears: readonly LinearEntry[],
  groupSize: number,
  batch: number,
  isWeighted = false,
): Graph {
  const graph = new Graph();
  const { y: found, state, scales } = roundedBlock(graph, part, linears, groupSize, batch);
  const y = graph.input('y', part.outputShape(batch));
  const difference = op.sub(found, y);
  const features = y.shape.at(-1)!;
  const each = [...y.shape.slice(0, -1), 1];
  const tokens = each.reduce((n, length) => n * length, 1);
  const shares = isWeighted
    ? op.mul(op.reshape(graph.input('weights', [tokens, 1]), each), graph.scalar(1 / tokens))
    : op.div(graph.scalar(1 / tokens), energyOf(y));
  const costs = op.gemm(difference, graph.input('curvature', [features, features]));
  const weighted = op.mul(costs, shares);
  graph.output('loss', op.reshape(op.reduceSum(op.mul(difference, weighted), [...y.shape.keys()]), [1]));
  const slopes = gradients(
    [{ value: difference, cotangent: op.mul(weighted, graph.scalar(2)) }],
    [...state.values()],
  );
  learn(graph, { linears, groupSize, state, scales }, slopes);
  return graph;
}
