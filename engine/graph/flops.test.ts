import { expect, it } from 'vitest';
import { matrixFlops } from './flops.js';
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
