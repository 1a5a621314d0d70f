import { expect, it } from 'vitest';
import { Graph, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { graphHash } from './graph-hash.js';

/** The hash of a graph with the outputs that `build` makes of the input `x` [2, 3]. */
function hashOf(build: (x: Value, graph: Graph) => Readonly<Record<string, Value>>): string {
  const graph = new Graph();
  for (const [name, value] of Object.entries(build(graph.input('x', [2, 3]), graph)))
    graph.output(name, value);
  return graphHash(graph);
}
const table = (change = 0) => Float32Array.from({ length: 20 }, (_, i) => i + (i === 19 ? change : 0));

it('is that of an equal graph, whatever else was built on the way', () => {
  const plain = (x: Value, graph: Graph) => ({
    y: op.softmax(op.matMul(x, graph.constant(table().subarray(0, 18), [3, 6]))),
  });
  const other = (x: Value, graph: Graph) => {
    op.exp(op.add(x, graph.scalar(7)));
    return plain(x, graph);
  };
  expect(hashOf(plain)).toBe(hashOf(plain));
  expect(hashOf(other)).toBe(hashOf(plain));
});

it('is another where anything differs that a program is made of', () => {
  const graphs: readonly ((x: Value, graph: Graph) => Readonly<Record<string, Value>>)[] = [
    (x) => ({ y: x }),
    (x) => ({ z: x }),
    (x) => ({ y: x, z: x }),
    (x) => ({ z: x, y: x }),
    (x) => ({ y: op.exp(x) }),
    (x) => ({ y: op.log(x) }),
    (x) => ({ y: op.exp(x), z: x }),
    (x) => ({ y: op.softmax(x, 0) }),
    (x) => ({ y: op.softmax(x, 1) }),
    (x) => ({ y: op.reduceSum(x, [0]) }),
    (x) => ({ y: op.reduceSum(x, [0], false) }),
    (x) => ({ y: op.reduceSum(x, [1]) }),
    (x, graph) => ({ y: op.sub(x, graph.scalar(0)) }),
    (x, graph) => ({ y: op.sub(x, graph.scalar(-0)) }),
    (x, graph) => ({ y: op.sub(graph.scalar(0), x) }),
    (x, graph) => ({ y: op.mul(x, graph.scalar(NaN)) }),
    (x, graph) => ({ y: op.mul(x, graph.scalar(Infinity)) }),
    (x, graph) => ({ y: op.gather(x, graph.constant(BigInt64Array.of(0n), [1])) }),
    (x, graph) => ({ y: op.gather(x, graph.input('at', [1], 'int64')) }),
    (x, graph) => ({ y: op.gather(x, graph.input('to', [1], 'int64')) }),
    (x, graph) => ({ y: x, table: graph.constant(table(), [4, 5]) }),
    (x, graph) => ({ y: x, table: graph.constant(table(), [5, 4]) }),
    (x, graph) => ({ y: x, table: graph.constant(table(1), [5, 4]) }),
    (x, graph) => (graph.input('unread', [1]), { y: x }),
    (x, graph) => (graph.input('unread', [2]), { y: x }),
  ];
  const hashes = graphs.map(hashOf);
  hashes.forEach((hash, i) => expect(hashes.indexOf(hash), `graph ${i}`).toBe(i));
});

it('tells layer normalisations with different epsilons apart', () => {
  const normalised = (epsilon: number) =>
    hashOf((x, graph) => ({
      y: op.layerNormalization(x, graph.input('weight', [3]), graph.input('bias', [3]), epsilon),
    }));
  expect(normalised(1e-5)).not.toBe(normalised(1e-6));
  expect(normalised(1e-6)).toBe(normalised(1e-6));
});
