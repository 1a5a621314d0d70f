import { expect, it } from 'vitest';
import { matrixFlops, peakBytes, workOf } from './work.js';
import { Graph } from './ir.js';
import * as op from './ops.js';

it('counts multiplications and additions of the products that outputs depend on', () => {
  const graph = new Graph();
  const [a, b] = [graph.input('a', [5, 2, 3]), graph.input('b', [3, 7])];
  const [c, d] = [graph.input('c', [11, 2]), graph.input('d', [11, 4])];
  op.gemm(c, op.transpose(d, [1, 0]), { transA: true, transB: true });
  expect(matrixFlops(graph)).toBe(0);
  graph.output('batched', op.exp(op.matMul(a, b)));
  expect(matrixFlops(graph)).toBe(2 * (5 * 2 * 3 * 7));
  graph.output('transposed', op.gemm(c, d, { transA: true }));
  expect(matrixFlops(graph)).toBe(2 * (5 * 2 * 3 * 7 + 2 * 11 * 4));
  graph.output('again', op.neg(op.gemm(c, d, { transA: true })));
  expect(matrixFlops(graph), 'a shared product counts once').toBe(2 * (5 * 2 * 3 * 7 + 2 * 11 * 4));
});

it('counts the elements that other operators compute, and no tensor that is only renamed', () => {
  const graph = new Graph();
  const [a, b] = [graph.input('a', [5, 8]), graph.input('b', [8, 3])];
  const product = op.reshape(op.matMul(a, b), [3, 5]);
  graph.output('y', op.reduceSum(op.exp(product), [0]));
  expect(workOf(graph)).toEqual({ flops: 2 * 5 * 8 * 3, elements: 15 + 15, operators: 3 });
});

it('finds the most memory alive at once', () => {
  const graph = new Graph();
  const x = graph.input('x', [100]);
  // A chain holds two tensors at a time, whatever its length.
  let y = x;
  for (let i = 0; i < 10; i++) y = op.exp(y);
  graph.output('y', y);
  expect(peakBytes(graph)).toBe(2 * 400);
  // What is used again at the end stays all the while.
  const early = op.neg(x);
  let z = op.abs(early);
  for (let i = 0; i < 5; i++) z = op.sqrt(z);
  graph.output('z', op.add(z, early));
  expect(peakBytes(graph)).toBe((1 + 3) * 400);
});
