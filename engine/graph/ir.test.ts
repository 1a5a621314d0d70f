import { describe, expect, it } from 'vitest';
import type { vjpTable } from './gradients.js';
import { Graph, reachable, sizeOf, type Value } from './ir.js';
import * as op from './ops.js';

describe('nodes', () => {
  it('asked for twice are built once', () => {
    const graph = new Graph();
    const [a, b] = [graph.input('a', [2, 4]), graph.input('b', [2, 4])];
    expect(op.add(a, b)).toBe(op.add(a, b));
    expect(op.softmax(a, -1)).toBe(op.softmax(a, 1));
    expect(op.reduceSum(a, [1, 0])).toBe(op.reduceSum(a, [0, 1, -1]));
    expect(op.split(a, [1, 3], 1)).toEqual(op.split(a, [1, 3], 1));
    expect(op.clip(a, 0, 1)).toBe(op.clip(a, graph.scalar(0), graph.scalar(1)));
    expect(graph.nodes).toHaveLength(5);
  });

  it('that differ in operator, inputs, their order or an attribute are different', () => {
    const graph = new Graph();
    const [a, b, c] = [graph.input('a', [4, 4]), graph.input('b', [4, 4]), graph.input('c', [4])];
    const values = [
      op.add(a, b),
      op.add(b, a),
      op.sub(a, b),
      op.softmax(a, 0),
      op.softmax(a, 1),
      op.gemm(a, b),
      op.gemm(a, b, { transA: true }),
      op.gemm(a, b, { transB: true }),
      op.gemm(a, b, { c }),
      op.reduceSum(a, [0]),
      op.reduceSum(a, [1]),
      op.reduceSum(a, [0], false),
      op.layerNormalization(a, c, c, 1e-5),
      op.layerNormalization(a, c, c, 1e-6),
      op.slice(a, 0, 1, 3),
      op.slice(a, 1, 1, 3),
      op.transpose(op.reshape(a, [4, 2, 2]), [0, 2, 1]),
      op.transpose(op.reshape(a, [4, 2, 2]), [2, 0, 1]),
      op.reshape(a, [2, 8]),
      op.reshape(a, [8, 2]),
      op.clip(a, 0, 1),
      op.clip(a, -0, 1),
      ...op.split(a, [1, 3], 0),
      ...op.split(a, [3, 1], 0),
      ...op.split(a, [1, 3], 1),
    ];
    expect(new Set(values).size).toBe(values.length);
  });

  it('know their graph, node and place', () => {
    const graph = new Graph();
    const x = graph.input('x', [2, 3]);
    const [first, second] = op.split(x, [1, 2], 1);
    expect([x.graph, first!.graph, second!.graph]).toEqual([graph, graph, graph]);
    expect(x.node).toBeUndefined();
    expect(first!.node!.outputs).toEqual([first, second]);
    expect([first!.shape, second!.shape]).toEqual([[2, 1], [2, 2]]); // prettier-ignore
  });

  it('take no value of another graph', () => {
    const [one, other] = [new Graph(), new Graph()];
    const [a, b] = [one.input('a', [2]), other.input('b', [2])];
    expect(() => op.add(a, b)).toThrow('another graph');
    expect(() => one.output('y', b)).toThrow('another graph');
  });
});

describe('constants', () => {
  it('that are small and equal are stored once', () => {
    const graph = new Graph();
    expect(graph.scalar(0.1)).toBe(graph.scalar(Math.fround(0.1)));
    expect(graph.scalar(NaN)).toBe(graph.scalar(NaN));
    expect(graph.constant(Float32Array.of(1, 2), [2])).toBe(graph.constant(Float32Array.of(1, 2), [2]));
    expect(graph.constants.size).toBe(3);
  });

  it('of equal numbers but another type, shape or sign of zero are different', () => {
    const graph = new Graph();
    const ones = [1, 1, 1, 1];
    const values = [
      graph.constant(Float32Array.from(ones), [4]),
      graph.constant(Float32Array.from(ones), [2, 2]),
      graph.constant(Float32Array.from(ones), [4, 1]),
      graph.constant(BigInt64Array.from(ones, BigInt), [4]),
      graph.constant(Uint8Array.from(ones), [4]),
      graph.scalar(1),
      graph.constant(Float32Array.of(1), [1]),
      graph.constant(BigInt64Array.of(1n), []),
      graph.constant(Uint8Array.of(1), []),
      graph.scalar(0),
      graph.scalar(-0),
      graph.scalar(2 ** -149),
      graph.scalar(Infinity),
      graph.scalar(NaN),
      graph.constant(Float32Array.of(1, 23), [2]),
      graph.constant(Float32Array.of(12, 3), [2]),
      graph.constant(BigInt64Array.of(2n ** 53n), []),
      graph.constant(BigInt64Array.of(2n ** 53n + 1n), []),
      graph.constant(new Float32Array(), [0]),
      graph.constant(new Float32Array(), [0, 2]),
    ];
    expect(new Set(values).size).toBe(values.length);
    expect(values.map((v) => v.type).slice(3, 5)).toEqual(['int64', 'bool']);
    expect(Object.is(graph.constants.get(graph.scalar(-0))![0], -0)).toBe(true);
  });

  it('that are large are not compared', () => {
    const graph = new Graph();
    const data = new Float32Array(1000);
    expect(graph.constant(data, [1000])).not.toBe(graph.constant(data, [1000]));
  });

  it('fill their shape', () => {
    const graph = new Graph();
    expect(() => graph.constant(new Float32Array(3), [2, 2])).toThrow(
      'Constant of 3 elements has shape [2, 2].',
    );
    expect(() => graph.constant(new Float32Array(2), [])).toThrow('shape []');
    expect(graph.constants.size).toBe(0);
  });
});

describe('attributes', () => {
  it('are those of the operator, to the compiler', () => {
    const refused = (graph: Graph, x: Value) => {
      // @ts-expect-error that of another operator
      graph.add('Softmax', [x], { perm: [0] }, []);
      // @ts-expect-error none
      graph.add('Softmax', [x], {}, []);
      // @ts-expect-error one too many
      graph.add('Exp', [x], { axis: 0 }, []);
      // @ts-expect-error no such operator
      graph.add('Exponential', [x], {}, []);
      const rows: typeof vjpTable = {
        // @ts-expect-error read by a rule whose operator lacks it
        Softmax: ({ attributes: { perm } }) => [() => (perm ? x : x)],
      };
      return rows;
    };
    expect(refused).toBeInstanceOf(Function);
  });
});

describe('inputs and outputs', () => {
  it('have names of their own', () => {
    const graph = new Graph();
    const x = graph.input('x', [1]);
    graph.output('y', x);
    expect(() => graph.input('x', [1])).toThrow('Graph input "x" is declared twice.');
    expect(() => graph.output('y', x)).toThrow('Graph output "y" is declared twice.');
    expect(() => graph.output('x', x)).toThrow('Graph output "x" is declared twice.');
    expect(() => graph.input('y', [1])).toThrow('Graph input "y" is declared twice.');
    expect([[...graph.inputs.keys()], [...graph.outputs.keys()]]).toEqual([['x'], ['y']]);
  });

  it.each([[[-1, 2]], [[1.5]], [[NaN]], [[Infinity]]])('of shape %j are refused', (shape) => {
    const graph = new Graph();
    expect(() => graph.input('x', shape)).toThrow('is not static');
    expect(() => graph.constant(Float32Array.from({ length: 3 }), [2, 1.5])).toThrow('is not static');
    expect(graph.inputs.size).toBe(0);
  });

  it('of a node with a shape that is not static leave no node behind', () => {
    const graph = new Graph();
    const x = graph.input('x', [2]);
    expect(() => graph.add('Exp', [x], {}, [{ type: 'float32', shape: [-1] }])).toThrow('is not static');
    expect(graph.nodes).toEqual([]);
  });
});

describe('reachable', () => {
  it('holds what the targets depend on, in order', () => {
    const graph = new Graph();
    const x = graph.input('x', [2, 2]);
    const a = op.exp(x);
    op.log(x);
    const b = op.neg(a);
    const c = op.add(b, a);
    expect(reachable([c]).map((node) => node.op)).toEqual(['Exp', 'Neg', 'Add']);
    expect(reachable([a, x, a]).map((node) => node.op)).toEqual(['Exp']);
    expect(reachable([x])).toEqual([]);
    expect(reachable([])).toEqual([]);
  });

  it('follows a chain too long for recursion', () => {
    const graph = new Graph();
    let y = graph.input('x', []);
    for (let i = 0; i < 20_000; i++) y = op.neg(y);
    expect(reachable([y])).toHaveLength(20_000);
  });
});

it('sizeOf counts elements', () => {
  expect([sizeOf([]), sizeOf([2, 3, 4]), sizeOf([2, 0])]).toEqual([1, 24, 0]);
});
