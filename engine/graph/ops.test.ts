import { afterAll, describe, expect, it } from 'vitest';
import { openRuntime } from '../runtime/session.js';
import { evaluate, type Array_ } from '../../test/support.js';
import { Graph, sizeOf, type DType, type Shape, type Value } from './ir.js';
import * as op from './ops.js';

const runtime = openRuntime('cpu', 1);
afterAll(() => runtime.dispose());

const constant = (graph: Graph, data: readonly number[], type: DType, shape: Shape = [data.length]) =>
  graph.constant(type === 'bool' ? Uint8Array.from(data) : BigInt64Array.from(data, BigInt), shape);

/** Two rows of 40 integers in groups of 32, in bytes that run through all pairs; integer i of group g is `at(g, i)`. */
function packed(graph: Graph, bits: 4 | 8) {
  const [rows, groups, groupSize, columns] = [2, 2, 32, 40];
  const size = (groupSize * bits) / 8;
  const bytes = Uint8Array.from({ length: rows * groups * size }, (_, i) => (37 * i + 11) % 256);
  const zeros = bits === 4 ? Uint8Array.of(0x58, 0xc3) : Uint8Array.of(120, 5, 3, 250);
  const scales = Float32Array.of(0.5, 0.25, 1, 2);
  const unpacked = (from: Uint8Array, i: number) =>
    bits === 8 ? from[i]! : (from[i >> 1]! >> (4 * (i % 2))) & 15;
  const at = (group: number, i: number) =>
    scales[group]! * (unpacked(bytes, group * groupSize + i) - unpacked(zeros, group));
  const weight: op.PackedWeight = {
    bits,
    groupSize,
    columns,
    integers: graph.constant(bytes, [rows, groups, size], 'uint8'),
    scales: graph.constant(scales, [rows * groups]),
    zeros: graph.constant(zeros, [zeros.length], 'uint8'),
  };
  const floats = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, c) => at(row * groups + Math.floor(c / groupSize), c % groupSize)),
  );
  return { weight, floats };
}

/** Whole numbers x [n, 4] less 3, by integers [4, 2] less their zero points, which signed ones have none of. */
function integerProduct(x: Value, type: 'int8' | 'uint8'): Value {
  const { graph } = x;
  const bytes = graph.constant(Uint8Array.of(0, 255, 1, 254, 127, 128, 3, 4), [4, 2], type);
  const zeros = type === 'uint8' ? graph.constant(Uint8Array.of(200, 7), [2], 'uint8') : undefined;
  const three = graph.constant(Uint8Array.of(3), [], 'uint8');
  return op.cast(op.matMulInteger(op.cast(x, 'uint8'), bytes, three, zeros), 'float32');
}

const isValue = (result: Value | readonly Value[]): result is Value => 'id' in result;

type Build = (...inputs: Value[]) => Value | readonly Value[];
/** By function of `ops.ts`: shapes of float32 inputs, and what is built from them. */
const cases: Readonly<Record<string, readonly (readonly [Shape[], Build])[]>> = {
  ...Object.fromEntries(
    (['add', 'sub', 'mul', 'div', 'min', 'max', 'equal', 'greaterOrEqual'] as const).map((name) => [
      name,
      [
        [[[2, 3], [2, 3]], op[name]], // prettier-ignore
        [[[], [3]], op[name]],
        [[[2, 1, 3], [4, 1]], op[name]], // prettier-ignore
        [[[0, 3], [1, 1]], op[name]], // prettier-ignore
      ],
    ]),
  ),
  ...Object.fromEntries(
    (
      [
        'abs',
        'erf',
        'exp',
        'log',
        'neg',
        'reciprocal',
        'relu',
        'round',
        'sigmoid',
        'sign',
        'sqrt',
        'tanh',
        'gelu',
        'stopGradient',
      ] as const
    ).map((name) => [
      name,
      [
        [[[]], op[name]],
        [[[2, 1, 3]], op[name]],
      ],
    ]),
  ),
  where: [
    [[[3], [2, 1]], (a, b) => op.where(constant(a.graph, [1, 0, 1], 'bool'), a, b)], // prettier-ignore
    [[[1], []], (a, b) => op.where(constant(a.graph, [1, 0], 'bool', [2, 1]), a, b)],
  ],
  cast: [[[[2, 2]], (x) => op.cast(op.equal(x, x), 'float32')]],
  clip: [
    [[[2, 3]], (x) => op.clip(x, -1, 1)],
    [[[2], [], []], (x, lo, hi) => op.clip(x, lo, hi)],
  ],
  reshape: [
    [[[2, 6]], (x) => op.reshape(x, [3, 1, 4])],
    [[[1, 1]], (x) => op.reshape(x, [])],
    [[[]], (x) => op.reshape(x, [1, 1])],
    [[[0, 4]], (x) => op.reshape(x, [2, 0])],
    [[[2, 0]], (x) => op.reshape(x, [0, 3, 5])],
  ],
  transpose: [
    [[[2, 3, 4]], (x) => op.transpose(x, [1, 2, 0])],
    [[[2, 3, 4, 5]], (x) => op.transpose(x, [0, 2, 3, 1])],
  ],
  expand: [
    [[[]], (x) => op.expand(x, [2, 3])],
    [[[2, 1, 3]], (x) => op.expand(x, [2, 3])],
    [[[3, 1]], (x) => op.expand(x, [2, 3, 4])],
  ],
  concat: [
    [[[2, 1], [2, 3], [2, 2]], (...parts) => op.concat(parts, 1)], // prettier-ignore
    [[[1, 2, 2], [4, 2, 2]], (...parts) => op.concat(parts, -3)], // prettier-ignore
    [[[1], [0]], (...parts) => op.concat(parts, 0)],
  ],
  split: [
    [[[2, 6]], (x) => op.split(x, [1, 3, 2], 1)],
    [[[6, 2]], (x) => op.split(x, [1, 5], -2)],
    [[[3]], (x) => op.split(x, [3, 0], 0)],
    [[[2, 20]], (x) => op.split(x, Array<number>(20).fill(1), 1)],
  ],
  slice: [
    [[[2, 5]], (x) => op.slice(x, 1, 1, 4)],
    [[[4, 2]], (x) => op.slice(x, -2, 3, 4)],
    [[[4, 2]], (x) => op.slice(x, 0, 2, 2)],
  ],
  pad: [
    [[[2, 3]], (x) => op.pad(x, 1, 2, 1)],
    [[[2, 3, 1]], (x) => op.pad(x, -3, 0, 3)],
  ],
  topK: [
    [[[2, 5]], (x) => op.topK(x, 3)],
    [[[4]], (x) => op.topK(x, 4)],
  ],
  gather: [
    [[[4, 2, 3]], (x) => op.gather(x, constant(x.graph, [3, 0, 0], 'int64'))],
    [[[4]], (x) => op.gather(x, constant(x.graph, [1], 'int64', []))],
  ],
  ...Object.fromEntries(
    (['reduceSum', 'reduceMean', 'reduceMax', 'reduceMin'] as const).map((name) => [
      name,
      [
        [[[2, 3, 4]], (x) => op[name](x, [-1])],
        [[[2, 3, 4]], (x) => op[name](x, [2, 0, -1])],
        [[[2, 3, 4]], (x) => op[name](x, [1, 2], false)],
        [[[2, 3]], (x) => op[name](x, [0, 1], false)],
        [[[2, 3]], (x) => op.neg(op[name](x, []))],
      ] satisfies [Shape[], Build][],
    ]),
  ),
  matMul: [
    [[[2, 3], [3, 4]], op.matMul], // prettier-ignore
    [[[2, 3], [5, 3, 1]], op.matMul], // prettier-ignore
    [[[5, 1, 2, 3], [4, 3, 2]], op.matMul], // prettier-ignore
  ],
  gemm: [
    [[[2, 3], [3, 4]], (a, b) => op.gemm(a, b)], // prettier-ignore
    [[[3, 2], [4, 3], [4]], (a, b, c) => op.gemm(a, b, { transA: true, transB: true, c: c })], // prettier-ignore
    [[[2, 3], [4, 3], [2, 1]], (a, b, c) => op.gemm(a, b, { transB: true, c: c })], // prettier-ignore
    [[[3, 2], [3, 4], []], (a, b, c) => op.gemm(a, b, { transA: true, c: c })], // prettier-ignore
  ],
  matMulNBits: [
    [[[3, 40]], (x) => op.matMulNBits(x, packed(x.graph, 4).weight)],
    [[[2, 1, 40]], (x) => op.matMulNBits(x, packed(x.graph, 8).weight)],
  ],
  matMulInteger: [
    [[[3, 4]], (x) => integerProduct(x, 'int8')],
    [[[3, 4]], (x) => integerProduct(x, 'uint8')],
  ],
  softmax: [[[[2, 3]], (x) => op.softmax(x)]],
  layerNormalization: [[[[2, 3, 4], [4], [4]], (x, w, b) => op.layerNormalization(x, w, b, 1e-6)]], // prettier-ignore
  conv: [
    [[[2, 3, 8, 6], [5, 3, 4, 2], [5]], (x, w, b) => op.conv(x, w, b, 2)], // prettier-ignore
    [[[1, 1, 7, 5], [2, 1, 3, 3], [2]], (x, w, b) => op.conv(x, w, b, 3)], // prettier-ignore
  ],
};
const helpers = ['broadcastShape', 'axisOf'];

describe('shape and type are what ONNX Runtime makes of it', () => {
  it('every operator has a case', () => {
    expect([...Object.keys(cases), ...helpers].sort()).toEqual(Object.keys(op).sort());
  });

  it.each(Object.entries(cases))('%s', async (name, list) => {
    for (const [shapes, build] of list) {
      const graph = new Graph();
      const result = build(...shapes.map((shape, i) => graph.input(`x${i}`, shape)));
      const built = isValue(result) ? [result] : result;
      built.forEach((y, i) => graph.output(`y${i}`, y));
      const program = await runtime.compile(graph, name, { keep: false });
      const halves = (shape: Shape) => runtime.tensor(new Float32Array(sizeOf(shape)).fill(0.5), shape);
      const feeds = shapes.map((shape, i) => [`x${i}`, halves(shape)] as const);
      const outputs = await program.run(Object.fromEntries(feeds));
      const found = built.map((_, i) => ({ type: outputs[`y${i}`]!.type, shape: outputs[`y${i}`]!.shape }));
      expect(found).toEqual(built.map(({ type, shape }) => ({ type, shape })));
      await program.dispose();
    }
  });

  it('arithmetic keeps int64', () => {
    const graph = new Graph();
    const [a, b] = [graph.input('a', [2], 'int64'), graph.input('b', [2], 'int64')];
    const types = [op.add(a, b), op.neg(a), op.reduceSum(a, [0]), op.concat([a, b], 0), op.gather(a, b)].map(
      (v) => v.type,
    );
    expect(new Set(types)).toEqual(new Set(['int64']));
    expect([op.equal(a, b).type, op.greaterOrEqual(a, b).type]).toEqual(['bool', 'bool']);
  });
});

const array = (shape: Shape, data: readonly number[]): Array_ => ({ shape, data: Float32Array.from(data) });
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

describe('what an operator computes', () => {
  const row = array([6], [-2.5, -0.5, 0.5, 1.5, 2.5, 3]);
  const grid = array([2, 3], [1, 5, 3, 2, 2, 9]);
  it.each<[string, Array_, (x: Value) => Value, number[]]>([
    ['round: half to even', row, op.round, [-2, 0, 0, 2, 2, 3]],
    ['relu', row, op.relu, [0, 0, 0.5, 1.5, 2.5, 3]],
    ['sign', array([3], [-4, 0, 0.1]), op.sign, [-1, 0, 1]],
    ['gelu: exact, not the tanh form', array([2], [1, -2]), op.gelu, [0.8413447, -0.0455003]],
    ['clip', row, (x) => op.clip(x, -1, 2), [-1, -0.5, 0.5, 1.5, 2, 2]],
    ['greaterOrEqual: equal counts', row, (x) => op.cast(op.greaterOrEqual(x, x.graph.scalar(1.5)), 'float32'), [0, 0, 0, 1, 1, 1]], // prettier-ignore
    ['transpose', grid, (x) => op.transpose(x, [1, 0]), [1, 2, 5, 2, 3, 9]],
    ['concat', grid, (x) => op.concat([x, op.neg(x)], 1), [1, 5, 3, -1, -5, -3, 2, 2, 9, -2, -2, -9]],
    ['split', grid, (x) => op.split(x, [1, 2], 1)[1]!, [5, 3, 2, 9]],
    ['split into many', array([24], range(24)), (x) => op.concat(op.split(x, Array.from({ length: 20 }, (_, i) => (i % 5 ? 1 : 2)), 0).filter((_, i) => i % 5 === 0), 0), [0, 1, 6, 7, 12, 13, 18, 19]], // prettier-ignore
    ['slice', grid, (x) => op.slice(x, 1, 1, 2), [5, 2]],
    ['pad', grid, (x) => op.pad(x, 1, 1, 2), [0, 1, 5, 3, 0, 0, 0, 2, 2, 9, 0, 0]],
    ['topK: descending', grid, (x) => op.topK(x, 2), [5, 3, 9, 2]],
    ['gather', grid, (x) => op.gather(x, constant(x.graph, [1, 0, 1], 'int64')), [2, 2, 9, 1, 5, 3, 2, 2, 9]],
    ['reduceMean', grid, (x) => op.reduceMean(x, [0]), [1.5, 3.5, 6]],
    ['reduceMax', grid, (x) => op.reduceMax(x, [1]), [5, 9]],
    ['reduceSum over no axis', grid, (x) => op.reduceSum(x, []), [...grid.data]],
    ['softmax: along its axis', grid, (x) => op.reduceSum(op.softmax(x, 0), [0]), [1, 1, 1]],
    ['layerNormalization', array([1, 2], [3, 5]), (x) => op.layerNormalization(x, x.graph.constant(Float32Array.of(2, 3), [2]), x.graph.constant(Float32Array.of(0.5, 0), [2]), 3), [-0.5, 1.5]], // prettier-ignore
    ['gemm', grid, (x) => op.gemm(x, x, { transB: true, c: x.graph.constant(Float32Array.of(1, -1), [2]) }), [36, 38, 40, 88]], // prettier-ignore
    // Rows 0, 2 and columns 0, 2 of a 4 × 4 picture begin the windows of 2 × 2.
    ['conv: windows by stride', array([1, 1, 4, 4], range(16)), (x) => op.conv(x, x.graph.constant(Float32Array.of(1, 10, 100, 1000), [1, 1, 2, 2]), x.graph.constant(Float32Array.of(0.5), [1]), 2), [5410.5, 7632.5, 14298.5, 16520.5]], // prettier-ignore
  ])('%s', async (_name, x, f, expected) => {
    const { y } = await evaluate({ x }, (v) => ({ y: f(v.x!) }));
    const rounded = (numbers: Iterable<number>) => Array.from(numbers, (n) => Math.round(n * 1e4) / 1e4 + 0);
    expect(rounded(y!)).toEqual(rounded(expected));
  });
});

it.each([4, 8] as const)(
  'matMulNBits multiplies by the weight that its %i-bit integers stand for',
  async (bits) => {
    const x = array(
      [40],
      range(40).map((i) => ((7 * i) % 11) - 5),
    );
    const { y } = await evaluate({ x: { ...x, shape: [1, 40] } }, (v, graph) => ({
      y: op.matMulNBits(v.x!, packed(graph, bits).weight),
    }));
    const { floats } = packed(new Graph(), bits);
    const expected = floats.map((row) => row.reduce((sum, w, i) => sum + w * x.data[i]!, 0));
    // The kernel may round its input to 8 bits.
    const size = Math.max(...expected.map(Math.abs));
    expected.forEach((sum, row) => expect(Math.abs(y![row]! - sum)).toBeLessThan(0.01 * size));
  },
);

it.each([
  ['int8', [0, -1, 1, -2, 127, -128, 3, 4], [0, 0]],
  ['uint8', [0, 255, 1, 254, 127, 128, 3, 4], [200, 7]],
] as const)('matMulInteger multiplies %s by uint8 without rounding', async (type, b, zeros) => {
  const rows = [0, 255, 7, 254];
  const { y } = await evaluate({ x: { ...array([4], rows), shape: [1, 4] } }, (v) => ({
    y: integerProduct(v.x!, type),
  }));
  const sums = [0, 1].map((n) => rows.reduce((sum, a, k) => sum + (a - 3) * (b[2 * k + n]! - zeros[n]!), 0));
  expect([...y!]).toEqual(sums);
});

describe('what does not change anything builds no node', () => {
  const graph = new Graph();
  const x = graph.input('x', [2, 3]);
  it.each<[string, () => Value]>([
    ['reshape', () => op.reshape(x, [2, 3])],
    ['expand', () => op.expand(x, [2, 3])],
    ['concat of one', () => op.concat([x], 0)],
    ['split into one', () => op.split(x, [3], 1)[0]!],
    ['slice of all', () => op.slice(x, 1, 0, 3)],
    ['pad by nothing', () => op.pad(x, 0, 0, 0)],
    ['reduction over no axis', () => op.reduceMax(x, [])],
  ])('%s', (_name, build) => {
    expect(build()).toBe(x);
    expect(graph.nodes).toEqual([]);
  });
});

describe('what does not fit is refused', () => {
  const graph = new Graph();
  const float = (...shape: number[]) => graph.input(`x${graph.inputs.size}`, shape);
  const typed = (type: DType, ...shape: number[]) => graph.input(`x${graph.inputs.size}`, shape, type);
  const bytes = (...shape: number[]) => typed('uint8', ...shape);
  it.each<[string, () => unknown, string]>([
    ['add', () => op.add(float(2, 3), float(2)), 'Shapes [2, 3] and [2] do not broadcast.'],
    ['add', () => op.add(float(0), float(2)), 'do not broadcast'],
    ['add', () => op.add(float(2), typed('int64', 2)), 'Add of float32 and int64.'],
    ['where', () => op.where(typed('bool', 2), float(3), float(1)), 'do not broadcast'],
    ['where', () => op.where(float(2), float(2), float(2)), 'Where on float32.'],
    ['where', () => op.where(typed('bool', 2), float(2), typed('int64', 2)), 'Where of float32 and int64.'],
    ['clip', () => op.clip(float(2), float(2), 1), 'Clip to a bound of shape [2].'],
    ['reshape', () => op.reshape(float(2, 3), [4]), 'Reshape of [2, 3] to [4].'],
    ['reshape', () => op.reshape(float(2, 3), [-2, -3]), 'is not static'],
    ['transpose', () => op.transpose(float(2, 3), [0]), 'Transpose of [2, 3] by [0].'],
    ['transpose', () => op.transpose(float(2, 3), [0, 0]), 'Transpose of [2, 3] by [0, 0].'],
    ['transpose', () => op.transpose(float(2, 3), [0, -1]), 'Transpose of [2, 3] by [0, -1].'],
    ['expand', () => op.expand(float(2, 3), [2, 2]), 'do not broadcast'],
    ['concat', () => op.concat([], 0), 'Concat of nothing.'],
    ['concat', () => op.concat([float(2, 3), float(2, 2)], 0), 'Concat of [2, 3] and [2, 2] on axis 0.'],
    ['concat', () => op.concat([float(2), float(2, 1)], 0), 'Concat of [2] and [2, 1] on axis 0.'],
    ['concat', () => op.concat([float(2), typed('bool', 2)], 0), 'Concat of float32 and bool.'],
    ['concat', () => op.concat([float(2), float(2)], 1), 'Axis 1 is outside a tensor of rank 1.'],
    ['split', () => op.split(float(2, 5), [2, 2], 1), 'Split of [2, 5] into [2, 2] on axis 1.'],
    ['split', () => op.split(float(2, 5), [6, -1], 1), 'is not static'],
    ['slice', () => op.slice(float(5), 0, 2, 6), 'Slice [2, 6) of [5] on axis 0.'],
    ['slice', () => op.slice(float(5), 0, -1, 3), 'Slice [-1, 3)'],
    ['slice', () => op.slice(float(5), 0, 3, 2), 'Slice [3, 2)'],
    ['slice', () => op.slice(float(5), -2, 0, 2), 'Axis -2 is outside'],
    ['pad', () => op.pad(float(5), 0, -1, 2), 'Pad of -1 and 2.'],
    ['pad', () => op.pad(float(5), 1, 0, 0), 'Axis 1 is outside'],
    ['topK', () => op.topK(float(2, 3), 4), 'TopK 4 of [2, 3].'],
    ['topK', () => op.topK(float(), 1), 'TopK 1 of [].'],
    ['gather', () => op.gather(float(), typed('int64', 1)), 'Gather of [] at int64.'],
    ['gather', () => op.gather(float(2), float(1)), 'Gather of [2] at float32.'],
    ['reduceSum', () => op.reduceSum(float(2), [1]), 'Axis 1 is outside a tensor of rank 1.'],
    ['softmax', () => op.softmax(float()), 'Axis -1 is outside a tensor of rank 0.'],
    ['matMul', () => op.matMul(float(2, 3), float(2, 3)), 'MatMul of [2, 3] and [2, 3].'],
    ['matMul', () => op.matMul(float(3), float(3, 2)), 'MatMul of [3] and [3, 2].'],
    ['matMul', () => op.matMul(float(2, 2, 3), float(3, 3, 2)), 'Shapes [2] and [3] do not broadcast.'],
    ['gemm', () => op.gemm(float(2, 3), float(4, 3)), 'Gemm of [2, 3] and [4, 3].'],
    [
      'matMulNBits',
      () => op.matMulNBits(float(2, 41), packed(graph, 4).weight),
      'MatMulNBits of [2, 41] and integers of shape [2, 2, 16].',
    ],
    [
      'matMulNBits',
      () => op.matMulNBits(float(2, 40), { ...packed(graph, 4).weight, scales: float(3) }),
      'MatMulNBits with [3] scales and [2] bytes of zeros.',
    ],
    ['matMulInteger', () => op.matMulInteger(bytes(2, 3), bytes(4, 3), bytes()), 'MatMulInteger of [2, 3] and [4, 3].'], // prettier-ignore
    ['matMulInteger', () => op.matMulInteger(float(2, 3), bytes(3, 4), bytes()), 'of float32 and uint8.'],
    ['matMulInteger', () => op.matMulInteger(bytes(2, 3), bytes(3, 4), float()), 'of uint8 and float32.'],
    ['matMulInteger', () => op.matMulInteger(bytes(2, 3), bytes(3, 4), bytes(), bytes(3)), 'zero points [] and [3].'], // prettier-ignore
    [
      'gemm',
      () => op.gemm(float(3, 2), float(4, 2), { transA: true, transB: true }),
      'Gemm of [3, 2]ᵀ and [4, 2]ᵀ.',
    ],
    ['gemm', () => op.gemm(float(1, 2, 3), float(3, 4)), 'Gemm of [1, 2, 3]'],
    ['gemm', () => op.gemm(float(2, 3), float(3, 4), { c: float(3) }), 'do not broadcast'],
    ['gemm', () => op.gemm(float(1, 3), float(3, 4), { c: float(2, 4) }), 'a term of shape [2, 4]'],
    ['gemm', () => op.gemm(float(2, 3), float(3, 4), { c: float(1, 2, 4) }), 'a term of shape [1, 2, 4]'],
    ['layerNormalization', () => op.layerNormalization(float(2, 3), float(2), float(3), 0), 'LayerNormalization of [2, 3] by [2].'], // prettier-ignore
    ['layerNormalization', () => op.layerNormalization(float(2, 3), float(3), float(1), 0), 'LayerNormalization of [2, 3] by [1].'], // prettier-ignore
    [
      'conv',
      () => op.conv(float(1, 3, 8, 8), float(4, 1, 2, 2), float(4), 2),
      'Conv of [1, 3, 8, 8] by [4, 1, 2, 2].',
    ],
    ['conv', () => op.conv(float(1, 3, 8, 8), float(4, 3, 2, 2), float(3), 2), 'Conv of'],
    ['conv', () => op.conv(float(3, 8, 8), float(4, 8, 2), float(4), 2), 'Conv of'],
    ['conv', () => op.conv(float(1, 3, 2, 8), float(4, 3, 4, 4), float(4), 1), 'is not static'],
  ])('%s, case %#', (_name, build, message) => {
    const before = graph.nodes.length;
    expect(build).toThrow(message);
    expect(graph.nodes).toHaveLength(before);
  });
});

describe('helpers', () => {
  it('broadcastShape aligns at the end', () => {
    expect(op.broadcastShape([2, 1], [3], [])).toEqual([2, 3]);
    expect(op.broadcastShape([1, 0], [4, 1])).toEqual([4, 0]);
    expect(op.broadcastShape()).toEqual([]);
  });

  it('axisOf counts from either end', () => {
    expect([op.axisOf(0, 2), op.axisOf(-1, 2), op.axisOf(-2, 2)]).toEqual([0, 1, 0]);
    for (const axis of [2, -3]) expect(() => op.axisOf(axis, 2)).toThrow(`Axis ${axis}`);
  });
});
