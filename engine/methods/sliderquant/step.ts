/** One step of training a window's corrections and ranges as a graph (docs/METHOD.md, section 17). */
import { gradients } from '../../graph/gradients.js';
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { adam } from '../../graph/optimizers.js';
import { sizeOf } from '../../graph/ir.js';
import { fullPrecision, parameterInputs, portInputs } from '../../models/builders.js';
import type { Builder, Part } from '../../models/model.js';
import type { SliderquantSettings } from './settings.js';
import { splitState, stateSizes, type StateLayout } from './state.js';
import { roundedColumns, roundedWeight } from './weight.js';

export interface StepOptions extends Pick<SliderquantSettings, 'loss'> {
  readonly batch: number;
  /** Of the columns of weights that are rounded. */
  readonly share: number;
}

/**
 * Inputs: `x`, `side.<name>` and `y`, what the window's blocks yield in full precision on their own input; their parameters;
 * `levels` []; `adapters` and `clips` of `StateLayout`, each with moments `.m` and `.v`; `rate.<kind>` and `correction` (see
 * `adamScalars`); `losses` [1], to which the step adds its own. Outputs: `next.<name>` of state, moments and `losses`.
 */
export function stepGraph(window: Part, layout: StateLayout, { batch, loss, share }: StepOptions): Graph {
  const graph = new Graph();
  const state = new Map(
    [...stateSizes(layout)].map(([kind, size]) => [kind, graph.input(kind, [size])] as const),
  );
  const trained = splitState(layout, state);
  const levels = graph.input('levels', []);
  const parameter = parameterInputs(graph);
  const builder: Builder = {
    ...fullPrecision(graph),
    linear: (name, x, out, { bias = true } = {}) => {
      const columns = x.shape[1]!;
      const { rank, groupSize } = layout;
      const rounded = roundedWeight(parameter(`${name}.weight`, [out, columns]), trained.get(name)!, levels, {
        rank,
        groupSize,
        columns: roundedColumns({ in: columns, out }, share, groupSize),
      });
      return op.gemm(x, rounded, { transB: true, ...(bias && { c: parameter(`${name}.bias`, [out]) }) });
    },
  };
  const y = graph.input('y', window.outputShape(batch));
  const { x, side } = portInputs(graph, window, batch);
  const difference = op.sub(window.forward(builder, x, batch, side), y);
  const each = graph.scalar(1 / sizeOf(y.shape));
  const error = loss === 'mae' ? op.abs(difference) : op.mul(difference, difference);
  const sum = op.reshape(op.reduceSum(error, [...error.shape.keys()]), [1]);
  graph.output('next.losses', op.add(graph.input('losses', [1]), op.mul(sum, each)));

  const slope = loss === 'mae' ? op.sign(difference) : op.mul(difference, graph.scalar(2));
  const cotangent = op.mul(slope, each);
  const found = gradients([{ value: difference, cotangent }], [...state.values()]);
  const correction = graph.input('correction', []);
  for (const [i, [kind, parameter]] of [...state].entries()) {
    const moment = (suffix: string) => graph.input(`${kind}.${suffix}`, parameter.shape);
    const before = { parameter, first: moment('m'), second: moment('v') };
    const after = adam(before, found[i]!, graph.input(`rate.${kind}`, []), correction);
    graph.output(`next.${kind}`, after.parameter);
    graph.output(`next.${kind}.m`, after.first);
    graph.output(`next.${kind}.v`, after.second);
  }
  return graph;
}
