/**
 * A step of training the weights of all blocks at once by what the model yields, as graphs (docs/METHOD.md, section 13): blocks
 * forward, the head's divergence from full precision, blocks backward with a step of Adam each.
 */
import { Graph } from '../../graph/ir.js';
import { gradients } from '../../graph/gradients.js';
import * as op from '../../graph/ops.js';
import { fullPrecision } from '../../models/builders.js';
import type { LinearEntry } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import { learn, roundedBlock } from './train-step.js';

/** Inputs as `roundedBlock` declares them; output `y`, what the block yields. */
export function forwardGraph(
  part: Part,
  linears: readonly LinearEntry[],
  groupSize: number,
  batch: number,
): Graph {
  const graph = new Graph();
  graph.output('y', roundedBlock(graph, part, linears, groupSize, batch).y);
  return graph;
}

/**
 * Inputs as `roundedBlock` declares them, `dy`, the gradient with respect to what the block yields, and those of `learn`. Outputs:
 * `dx`, the gradient with respect to what it reads, and those of `learn`.
 */
export function backwardGraph(
  part: Part,
  linears: readonly LinearEntry[],
  groupSize: number,
  batch: number,
): Graph {
  const graph = new Graph();
  const { y, state, scales } = roundedBlock(graph, part, linears, groupSize, batch);
  const dy = graph.input('dy', y.shape);
  const [dx, ...slopes] = gradients(
    [{ value: y, cotangent: dy }],
    [graph.inputs.get('x')!, ...state.values()],
  );
  graph.output('dx', dx!);
  learn(graph, { linears, groupSize, state, scales }, slopes);
  return graph;
}

/**
 * Of some of a head's own samples what their divergence from full precision makes of what it reads: inputs `x`, `full` of its
 * shape, what it reads in full precision, `share` [], what a row counts, and the head's parameters; output `dx` of the shape of `x`.
 */
export function headGraph(head: Part, rows: number): Graph {
  const graph = new Graph();
  const builder = fullPrecision(graph);
  const [x, full] = ['x', 'full'].map((name) => graph.input(name, head.inputShape(rows)));
  const [own, other] = [x!, full!].map((read) => head.forward(builder, read, rows, {}));
  const share = graph.input('share', []);
  const cotangent = op.mul(op.sub(op.softmax(own!), op.softmax(other!)), share);
  const [dx] = gradients([{ value: own!, cotangent }], [x!]);
  graph.output('dx', dx!);
  return graph;
}
