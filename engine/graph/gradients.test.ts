import { afterAll, describe, expect, it, vi } from 'vitest';
import { createRandom } from '../data/random.js';
import { openRuntime } from '../runtime/session.js';
import { evaluate, type Array_ } from '../../test/support.js';
import { gradients, sumTo, vjpTable } from './gradients.js';
import { Graph, sizeOf, STOP_GRADIENT, withGradient, type Shape, type Value } from './ir.js';
import * as op from './ops.js';

const runtime = openRuntime('cpu', 1);
afterAll(() => runtime.dispose());

type Domain = (u: number, index: number) => number;

/** A function of float32 inputs, each filled with numbers of [-1, 1) that `from` takes to where it is smooth. */
interface Case {
  readonly name: string;
  readonly inputs: readonly Shape[];
  readonly from?: Domain;
  readonly build: (...inputs: Value[]) => Value | readonly Value[];
}

const positive = (u: number) => 1.5 + 0.5 * u;
/** |x| from 1 to 2, of either sign. */
const awayFromZero = (u: number) => Math.sign(u) + u;
/** Twelve numbers in disorder, a quarter apart. */
const apart = (_u: number, i: number) => ((7 * i + 3) % 12) / 4;

const broadcasts: readonly { name: string; inputs: readonly Shape[] }[] = [
  { name: 'same shape', inputs: [[2, 3], [2, 3]] }, // prettier-ignore
  { name: 'left broadcast', inputs: [[3], [2, 3]] },
  { name: 'right broadcast', inputs: [[2, 3], [2, 1]] }, // prettier-ignore
  { name: 'both broadcast', inputs: [[2, 1, 3], [4, 1]] }, // prettier-ignore
  { name: 'scalar', inputs: [[], [2, 2]] },
];
const binary = (f: (a: Value, b: Value) => Value, from?: Domain): Case[] =>
  broadcasts.map((shapes) => ({ ...shapes, build: f, ...(from && { from }) }));
const unary = (f: (x: Value) => Value, from?: Domain): Case[] => [
  { name: 'matrix', inputs: [[3, 4]], build: f, ...(from && { from }) },
];
const reductions = (f: (x: Value, axes: readonly number[]) => Value, from?: Domain): Case[] =>
  [[0], [-1], [0, 2], [0, 1, 2]].map((axes) => ({
    name: `axes ${axes.join(' and ')}`,
    inputs: [[2, 3, 2]],
    build: (x) => f(x, axes),
    ...(from && { from }),
  }));
const bools = (graph: Graph, bits: readonly number[], shape: Shape) =>
  graph.constant(Uint8Array.from(bits), shape);

/** By row of the table; every float input of an operator is an input of one of its cases. */
const smooth: Readonly<Record<string, readonly Case[]>> = {
  Add: [...binary(op.add), { name: 'a value with itself', inputs: [[3]], build: (x) => op.add(x, x) }],
  Sub: binary(op.sub),
  Mul: [...binary(op.mul), { name: 'a value with itself', inputs: [[3]], build: (x) => op.mul(x, x) }],
  Div: binary(op.div, awayFromZero),
  Where: [
    ...broadcasts.map((shapes) => ({
      ...shapes,
      build: (a: Value, b: Value) => {
        const columns = op.broadcastShape(a.shape, b.shape).at(-1)!;
        const condition = Array.from({ length: columns }, (_, i) => Number(i % 2 === 0));
        return op.where(bools(a.graph, condition, [columns]), a, b);
      },
    })),
    {
      name: 'condition larger than both',
      inputs: [[2], []],
      build: (a, b) => op.where(bools(a.graph, [1, 0, 0, 0, 1, 1], [3, 2]), a, b),
    },
  ],
  Abs: unary(op.abs, awayFromZero),
  Neg: unary(op.neg),
  Exp: unary(op.exp),
  Log: unary(op.log, positive),
  Sqrt: unary(op.sqrt, positive),
  Reciprocal: unary(op.reciprocal, awayFromZero),
  Relu: unary(op.relu, awayFromZero),
  Sigmoid: unary(op.sigmoid, (u) => 4 * u),
  Tanh: unary(op.tanh, (u) => 2 * u),
  Erf: unary(op.erf, (u) => 2 * u),
  Gelu: unary(op.gelu, (u) => 4 * u),
  Clip: [
    // Half of the elements lie outside, none within 0.1 of a bound.
    { name: 'inside and outside', inputs: [[4, 4]], from: (u) => (Math.abs(u) < 0.5 ? 1.7 * u : 1.2 * u + Math.sign(u)), build: (x) => op.clip(x, -1, 1) }, // prettier-ignore
    { name: 'bounds that are values', inputs: [[4, 4]], from: awayFromZero, build: (x) => op.clip(x, op.neg(x.graph.scalar(0.5)), x.graph.scalar(3)) }, // prettier-ignore
  ],
  Reshape: [
    { name: 'matrix', inputs: [[2, 6]], build: (x) => op.reshape(x, [3, 2, 2]) },
    { name: 'to a scalar', inputs: [[1, 1]], build: (x) => op.reshape(x, []) },
    { name: 'from a scalar', inputs: [[]], build: (x) => op.reshape(x, [1, 1]) },
  ],
  Transpose: [
    { name: 'matrix', inputs: [[2, 3]], build: (x) => op.transpose(x, [1, 0]) },
    { name: 'cycle, unlike its inverse', inputs: [[2, 3, 4]], build: (x) => op.transpose(x, [1, 2, 0]) },
    { name: 'heads', inputs: [[1, 2, 3, 2]], build: (x) => op.transpose(x, [0, 2, 3, 1]) },
  ],
  Expand: [
    { name: 'new and old axes', inputs: [[3, 1]], build: (x) => op.expand(x, [2, 3, 4]) },
    { name: 'shape shorter than the tensor', inputs: [[2, 1, 3]], build: (x) => op.expand(x, [2, 3]) },
    { name: 'scalar', inputs: [[]], build: (x) => op.expand(x, [2, 2]) },
  ],
  Concat: [
    { name: 'three lengths', inputs: [[2, 1], [2, 3], [2, 2]], build: (...parts) => op.concat(parts, 1) }, // prettier-ignore
    { name: 'a value twice', inputs: [[2, 2], [1, 2]], build: (a, b) => op.concat([a, b, a], 0) }, // prettier-ignore
    { name: 'many', inputs: Array<Shape>(9).fill([1, 2]), build: (...parts) => op.concat(parts, -2) },
  ],
  Split: [
    { name: 'all parts', inputs: [[2, 6]], build: (x) => op.split(x, [1, 3, 2], 1) },
    { name: 'first part unused', inputs: [[6, 2]], build: (x) => op.split(x, [1, 3, 2], 0).slice(1) },
    // More parts than one operator makes on every device.
    { name: 'every second of twenty parts', inputs: [[24]], build: (x) => op.split(x, Array.from({ length: 20 }, (_, i) => (i % 5 ? 1 : 2)), 0).filter((_, i) => i % 2) }, // prettier-ignore
    { name: 'middle part alone', inputs: [[6]], build: (x) => op.split(x, [1, 3, 2], -1)[1]! },
  ],
  Slice: [
    { name: 'middle', inputs: [[2, 5]], build: (x) => op.slice(x, 1, 1, 4) },
    { name: 'start', inputs: [[4, 2]], build: (x) => op.slice(x, 0, 0, 3) },
    { name: 'end', inputs: [[2, 3, 2]], build: (x) => op.slice(x, -2, 2, 3) },
  ],
  Pad: [
    { name: 'both ends', inputs: [[2, 3]], build: (x) => op.pad(x, 1, 2, 1) },
    { name: 'end', inputs: [[2, 3]], build: (x) => op.pad(x, 0, 0, 3) },
  ],
  ReduceSum: reductions(op.reduceSum),
  ReduceMean: reductions(op.reduceMean),
  ReduceMax: [
    ...reductions(op.reduceMax, apart),
    { name: 'axis of length 1', inputs: [[3, 1]], build: (x) => op.reduceMax(x, [1]) },
  ],
  ReduceMin: [
    ...reductions(op.reduceMin, apart),
    { name: 'axis of length 1', inputs: [[3, 1]], build: (x) => op.reduceMin(x, [1]) },
  ],
  MatMul: (
    [
      ['matrices', [2, 3], [3, 4]],
      ['batches', [2, 2, 3], [2, 3, 2]],
      ['one left matrix', [2, 3], [3, 3, 2]],
      ['one right matrix', [2, 2, 2, 3], [3, 2]],
      ['batches that both broadcast', [2, 1, 2, 2], [3, 2, 1]],
    ] as const
  ).map(([name, ...inputs]) => ({ name, inputs, build: op.matMul })),
  Gemm: [false, true].flatMap((transA) =>
    [false, true].flatMap((transB) =>
      [undefined, [4], [2, 1], [2, 4], []].map((term) => ({
        name: `${transA ? 'aᵀ' : 'a'}·${transB ? 'bᵀ' : 'b'}${term ? ` + [${term.join()}]` : ''}`,
        inputs: [transA ? [3, 2] : [2, 3], transB ? [4, 3] : [3, 4], ...(term ? [term] : [])],
        build: (a: Value, b: Value, c?: Value) => op.gemm(a, b, { transA, transB, ...(c && { c }) }),
      })),
    ),
  ),
  Softmax: [-1, 0, 1].map((axis) => ({ name: `axis ${axis}`, inputs: [[2, 3, 2]], from: (u) => 2 * u, build: (x) => op.softmax(x, axis) })), // prettier-ignore
  LayerNormalization: [
    // A large ε, so that it matters.
    { name: 'matrix', inputs: [[3, 5], [5], [5]], build: (x, w, b) => op.layerNormalization(x, w, b, 0.1) }, // prettier-ignore
    { name: 'tokens of samples', inputs: [[2, 2, 4], [4], [4]], build: (x, w, b) => op.layerNormalization(x, w, b, 1e-5) }, // prettier-ignore
  ],
};

/** Rows that differ from the derivative on purpose; each has a test of its own below. */
const byDefinition: Readonly<Record<string, (x: Value) => Value>> = {
  Round: op.round,
  Sign: op.sign,
  Cast: (x) => op.cast(x, 'float32'),
  Equal: (x) => op.equal(x, x.graph.scalar(0.5)),
  GreaterOrEqual: (x) => op.greaterOrEqual(x, x.graph.scalar(0.5)),
  [STOP_GRADIENT]: op.stopGradient,
};

it('every row of the table is tested', () => {
  expect([...Object.keys(smooth), ...Object.keys(byDefinition)].sort()).toEqual(Object.keys(vjpTable).sort());
});

/**
 * d Σ⟨y, cotangent⟩ / dx by the five-point stencil. With steps of 2⁻⁵ its error is h⁴/30 times the fifth derivative,
 * 1e-5 at worst here, and the outputs' float32 rounding, about 6e-8/h, adds 2e-6 per output.
 */
const STEP = 2 ** -5;
const TOLERANCE = 5e-5;

async function compare({ name, inputs, from = (u) => u, build }: Case, row: string): Promise<void> {
  const random = createRandom(1, row, name);
  const draw = (shape: Shape, f: Domain): Array_ => ({
    shape,
    data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => f(2 * random.next() - 1, i)),
  });
  const graph = new Graph();
  const values = inputs.map((shape, i) => graph.input(`x${i}`, shape));
  const built = build(...values);
  const ys = Array.isArray(built) ? (built as Value[]) : [built as Value];
  expect(
    graph.nodes.map((node) => node.op),
    'the row is on the path',
  ).toContain(row);
  const points = inputs.map((shape) => draw(shape, from));
  const cotangents = ys.map(({ shape }) => draw(shape, awayFromZero));
  const ends = ys.map((value, i) => ({ value, cotangent: graph.input(`g${i}`, value.shape) }));
  gradients(ends, values).forEach((g, i) => graph.output(`dx${i}`, g));
  ys.forEach((y, i) => graph.output(`y${i}`, y));

  const program = await runtime.compile(graph, name, { keep: false });
  const feeds = Object.fromEntries([
    ...points.map(({ data, shape }, i) => [`x${i}`, runtime.tensor(data, shape)] as const),
    ...cotangents.map(({ data, shape }, i) => [`g${i}`, runtime.tensor(data, shape)] as const),
  ]);
  const loss = async () => {
    const outputs = await program.run(feeds);
    const found = await Promise.all(ys.map((_, i) => runtime.read(outputs[`y${i}`]!)));
    return found
      .flatMap((y, i) => [...y].map((v, j) => v * cotangents[i]!.data[j]!))
      .reduce((a, b) => a + b, 0);
  };
  const outputs = await program.run(feeds);
  for (const [i, { data }] of points.entries()) {
    const found = await runtime.read(outputs[`dx${i}`]!);
    expect(outputs[`dx${i}`]!.shape, `shape of gradient ${i}`).toEqual(inputs[i]);
    for (const [j, x] of data.entries()) {
      const at = async (steps: number) => {
        data[j] = x + steps * STEP;
        return loss();
      };
      const slope = (8 * ((await at(1)) - (await at(-1))) - ((await at(2)) - (await at(-2)))) / (12 * STEP);
      data[j] = x;
      expect(
        Math.abs(found[j]! - slope) / Math.max(1, Math.abs(slope)),
        `input ${i}, element ${j}`,
      ).toBeLessThan(TOLERANCE);
    }
  }
  await program.dispose();
}

describe.each(Object.entries(smooth))('%s against finite differences', (row, cases) => {
  it.each(cases.map((one) => [one.name, one] as const))('%s', (_name, one) => compare(one, row));
});

const array = (shape: Shape, data: readonly number[]): Array_ => ({ shape, data: Float32Array.from(data) });

/** dΣ⟨f(x), g⟩/dx. */
async function slopeOf(f: (x: Value) => Value, x: Array_, g: Array_): Promise<number[]> {
  const build = (v: Record<string, Value>) => ({
    dx: gradients([{ value: f(v.x!), cotangent: v.g! }], [v.x!])[0]!,
  });
  return [...(await evaluate({ x, g }, build)).dx!];
}

describe('rows that differ from the derivative', () => {
  const x = array([5], [-1.5, -0.4, 0, 0.5, 2.49]);
  const g = array([5], [1, -2, 3, 0.25, 7]);

  it('Round passes its cotangent on as it is', async () => {
    expect(await slopeOf(op.round, x, g)).toEqual([...g.data]);
  });

  const zero = Object.entries(byDefinition).filter(([row]) => row !== 'Round');
  it.each(zero)('%s has the gradient zero', async (row, f) => {
    const graph = new Graph();
    const value = graph.input('x', [5]);
    expect(f(value).node!.op).toBe(row);
    expect(await slopeOf(f, x, g)).toEqual([0, 0, 0, 0, 0]);
  });

  it('Equal and GreaterOrEqual select without a gradient', async () => {
    const f = (v: Value) => op.where(op.greaterOrEqual(v, v.graph.scalar(0)), v, op.where(op.equal(v, v.graph.scalar(-1.5)), op.neg(v), v.graph.scalar(9))); // prettier-ignore
    expect(await slopeOf(f, x, g)).toEqual([-1, 0, 3, 0.25, 7]);
  });

  it('Clip passes inside its bounds and at them', async () => {
    const points = array([6], [-1.0001, -1, -0.5, 1, 1.0001, 50]);
    const ones = array([6], [1, 1, 1, 1, 1, 1]);
    expect(await slopeOf((v) => op.clip(v, -1, 1), points, ones)).toEqual([0, 1, 1, 1, 0, 0]);
  });

  it('Clip takes its bounds for constants', () => {
    const graph = new Graph();
    const [v, bound] = [graph.input('x', [2]), graph.input('bound', [])];
    const y = op.clip(v, op.neg(bound), bound);
    expect(zeroOf(gradients([{ value: y, cotangent: graph.input('g', [2]) }], [bound])[0]!)).toBe(true);
  });

  it('Abs has the slope zero at zero', async () => {
    expect(await slopeOf(op.abs, array([3], [-2, 0, 2]), array([3], [1, 1, 1]))).toEqual([-1, 0, 1]);
  });

  const tied = array([3, 4], [2, 2, 1, 2, -1, -1, -1, -1, 0, 3, 0, -5]);
  const rows = array([3, 1], [6, 8, 10]);
  it('ReduceMax and ReduceMin share evenly among ties', async () => {
    expect(await slopeOf((v) => op.reduceMax(v, [1]), tied, rows)).toEqual([
      2, 2, 0, 2, 2, 2, 2, 2, 0, 10, 0, 0,
    ]);
    expect(await slopeOf((v) => op.reduceMin(v, [1]), tied, rows)).toEqual([
      0, 0, 6, 0, 2, 2, 2, 2, 0, 0, 0, 10,
    ]);
  });

  it('ties count over all reduced axes, and over nothing else', async () => {
    const one = array([1, 1], [6]);
    expect(await slopeOf((v) => op.reduceMax(v, [0, 1]), array([2, 2], [1, 1, 0, 1]), one)).toEqual([
      2, 2, 0, 2,
    ]);
    const kept = await slopeOf((v) => op.reduceMax(v, [1]), array([3, 1], [4, 4, 4]), rows);
    expect(kept, 'an axis of length 1 has no ties').toEqual([6, 8, 10]);
  });
});

/** Whether a gradient is the constant zero, spread over its shape. */
function zeroOf(g: Value): boolean {
  const source = g.node?.op === 'Expand' ? g.node.inputs[0]! : g;
  return g.graph.constants.get(source)?.every((x) => Number(x) === 0) ?? false;
}

describe('no gradient', () => {
  const graph = new Graph();
  const x = graph.input('x', [1, 2, 3, 3]);
  const w = graph.input('w', [1, 2, 2, 2]);
  const b = graph.input('b', [1]);
  const at = (y: Value, wrt: Value) =>
    gradients([{ value: y, cotangent: op.expand(graph.scalar(1), y.shape) }], [wrt]);

  it.each([
    ['TopK', op.topK(x, 2)],
    ['Gather', op.gather(x, graph.constant(BigInt64Array.of(0n), [1]))],
    ['Conv', op.conv(x, w, b, 1)],
    ['Min', op.min(x, b)],
    ['Max', op.max(x, b)],
  ])('%s says so', (name, y) => {
    expect(() => at(y, x)).toThrow(`No gradient for the operator ${name}.`);
    expect(() => at(op.exp(y), x), 'further down').toThrow(`No gradient for the operator ${name}.`);
  });

  it('is asked of an operator that none of the wanted values reaches', () => {
    const other = graph.input('other', [1]);
    expect(at(op.mul(op.topK(x, 1), other), other)[0]!.shape).toEqual([1]);
    expect(zeroOf(at(op.stopGradient(op.max(x, b)), b)[0]!)).toBe(true);
  });

  it('of a reduction that dropped its axes', () => {
    for (const f of [op.reduceSum, op.reduceMean, op.reduceMax, op.reduceMin])
      expect(() => at(f(x, [1], false), x)).toThrow('kept dimensions');
  });
});

describe('gradients', () => {
  const setUp = () => {
    const graph = new Graph();
    const [x, g] = [graph.input('x', [2, 3]), graph.input('g', [2, 3])];
    return { graph, x, g };
  };

  it('gives the cotangent itself for an output that is wanted', () => {
    const { x, g } = setUp();
    expect(gradients([{ value: x, cotangent: g }], [x])).toEqual([g]);
  });

  it('adds up what comes from several outputs and several uses', async () => {
    const x = array([2], [3, 5]);
    const { dx, dy } = await evaluate({ x }, (v, graph) => {
      const one = graph.constant(Float32Array.of(1, 1), [2]);
      const y = op.mul(v.x!, v.x!);
      const ends = [op.mul(y, v.x!), y, v.x!, y].map((value) => ({ value, cotangent: one }));
      const [first, second] = gradients(ends, [v.x!, y]);
      return { dx: first!, dy: second! };
    });
    // d(x³ + 2x² + x)/dx and, with y = x², d(y·x + 2y + x)/dy.
    expect([...dx!]).toEqual([3 * 9 + 4 * 3 + 1, 3 * 25 + 4 * 5 + 1]);
    expect([...dy!]).toEqual([3 + 2, 5 + 2]);
  });

  it('ends at a wanted value, however that was made', () => {
    const { x, g } = setUp();
    const top = op.topK(x, 3);
    expect(gradients([{ value: op.neg(top), cotangent: g }], [top])).toEqual([op.neg(g)]);
  });

  it('is zero, in the shape of the value, for what the outputs do not depend on', () => {
    const { graph, x, g } = setUp();
    const other = graph.input('other', [4, 1]);
    const [zero] = gradients([{ value: op.exp(x), cotangent: g }], [other]);
    expect(zero!.shape).toEqual([4, 1]);
    expect(zeroOf(zero!)).toBe(true);
  });

  it('builds nothing for inputs that nobody wants', () => {
    const { graph, x, g } = setUp();
    const w = graph.input('w', [3, 3]);
    const y = op.matMul(op.exp(x), w);
    const before = graph.nodes.length;
    gradients([{ value: y, cotangent: g }], [w]);
    expect(graph.nodes.slice(before).map((node) => node.op)).toEqual(['Transpose', 'MatMul']);
  });

  it("refuses a cotangent of another shape, an output's or a rule's", () => {
    const { graph, x, g } = setUp();
    const message = 'A cotangent of shape [] for a value of shape [2, 3].';
    expect(() => gradients([{ value: op.exp(x), cotangent: graph.scalar(1) }], [x])).toThrow(message);
    const y = withGradient(op.exp(x), { inputs: [x], vjp: () => [graph.scalar(1)] });
    expect(() => gradients([{ value: y, cotangent: g }], [x])).toThrow(message);
  });

  it('sums a cotangent over broadcast axes alone', () => {
    const { graph, g } = setUp();
    expect(sumTo(g, [2, 3])).toBe(g);
    expect(sumTo(g, [1, 3]).shape).toEqual([1, 3]);
    const wide = graph.input('wide', [5, 1, 3]);
    expect(sumTo(wide, [1, 1]).node!.inputs[0]!.shape).toEqual([1, 1, 1]);
  });
});

describe('withGradient', () => {
  const setUp = () => {
    const graph = new Graph();
    const [x, s, g] = [graph.input('x', [2]), graph.input('s', [2]), graph.input('g', [2])];
    const triple = (v: Value) => op.mul(v, graph.scalar(3));
    return { graph, x, s, g, triple };
  };

  it('goes straight to its inputs, past operators without a row', () => {
    const { x, s, g, triple } = setUp();
    const inner = op.max(x, s);
    const y = withGradient(op.mul(inner, s), { inputs: [x, s], vjp: (c) => [triple(c), undefined] });
    const [dx, ds, dInner] = gradients([{ value: y, cotangent: g }], [x, s, inner]);
    expect(dx).toBe(triple(g));
    expect(zeroOf(ds!), 'a rule that leaves an input out').toBe(true);
    expect(zeroOf(dInner!), 'the interior').toBe(true);
  });

  it('is told which inputs are needed, and not asked where none is', () => {
    const { graph, x, s, g } = setUp();
    const vjp = vi.fn((c: Value) => [c, op.neg(c)]);
    const y = withGradient(op.max(x, s), { inputs: [x, s], vjp });
    const [ds] = gradients([{ value: y, cotangent: g }], [s]);
    expect(vjp.mock.calls).toEqual([[g, [false, true]]]);
    expect(ds).toBe(op.neg(g));
    gradients([{ value: y, cotangent: g }], [graph.input('other', [2])]);
    expect(vjp).toHaveBeenCalledTimes(1);
  });

  it('ends where its input stops gradients', () => {
    const { x, s, g } = setUp();
    const vjp = vi.fn((c: Value) => [c, c]);
    const fixed = op.stopGradient(x);
    const y = withGradient(op.max(fixed, s), { inputs: [fixed, s], vjp });
    expect(zeroOf(gradients([{ value: y, cotangent: g }], [x])[0]!)).toBe(true);
    expect(vjp).not.toHaveBeenCalled();
    gradients([{ value: y, cotangent: g }], [x, s]);
    expect(vjp.mock.calls).toEqual([[g, [false, true]]]);
  });

  it('carries on behind its inputs, also those that the value is not computed from', () => {
    const { x, g, triple } = setUp();
    const soft = op.neg(x);
    const hard = withGradient(op.sign(x), { inputs: [soft], vjp: (c) => [triple(c)] });
    expect(gradients([{ value: op.neg(hard), cotangent: g }], [x])[0]).toBe(op.neg(triple(op.neg(g))));
  });

  it('refuses a value that reverse mode would not ask, or would ask too late', () => {
    const { x, s } = setUp();
    const vjp = () => [];
    expect(() => withGradient(x, { inputs: [s], vjp })).toThrow('the only output of a node');
    expect(() => withGradient(op.split(x, [1, 1], 0)[1]!, { inputs: [x], vjp })).toThrow(
      'the only output of a node',
    );
    const y = op.exp(x);
    expect(() => withGradient(y, { inputs: [y], vjp })).toThrow('built before');
    expect(() => withGradient(y, { inputs: [op.neg(x)], vjp })).toThrow('built before');
  });
});

describe('far from zero', () => {
  it('the gradient of Gelu is 0 or 1', async () => {
    const x = [-3e38, -1e20, -1e4, -20, 20, 1e4, 1e20, 3e38];
    const ones = x.map(() => 1);
    expect((await slopeOf(op.gelu, array([8], x), array([8], ones))).map(Math.abs)).toEqual([
      0, 0, 0, 0, 1, 1, 1, 1,
    ]);
  });

  it('Sigmoid and Erf have the slope zero', async () => {
    const x = array([4], [-1e30, -1e3, 1e3, 1e30]);
    for (const f of [op.sigmoid, op.erf])
      expect((await slopeOf(f, x, array([4], [1, 2, 3, 4]))).map(Math.abs)).toEqual([0, 0, 0, 0]);
  });

  it('Softmax of large logits is that of their differences', async () => {
    const g = array([3, 2], [1, 3, 1, 3, 1, 3]);
    // Far apart: no slope. Equal, and one apart: y·(g − Σ g·y).
    const found = await slopeOf(
      (v) => op.softmax(v),
      array([3, 2], [1e30, -1e30, 8192, 8192, -8192, -8193]),
      g,
    );
    const p = 1 / (1 + Math.exp(-1));
    const expected = [0, 0, -0.5, 0.5, -2 * p * (1 - p), 2 * p * (1 - p)];
    found.forEach((d, i) => expect(d).toBeCloseTo(expected[i]!, 5));
  });

  it.each([
    ['tiny', 0, 1e-8],
    ['no', 3, 0],
    ['small, about a large mean,', 100, 0.25],
    ['large', 0, 1e15],
  ])('LayerNormalization of tokens with %s variance', async (_name, mean, spread) => {
    const epsilon = 1e-6;
    const x = array(
      [1, 6],
      [1, -2, 0.5, 1.5, -1, 0.25].map((v) => mean + spread * v),
    );
    const g = array([1, 6], [1, 2, -1, 0.5, 3, -2]);
    const f = (v: Value) => {
      const [weight, bias] = [1, 0].map((n) => v.graph.constant(new Float32Array(6).fill(n), [6]));
      return op.layerNormalization(v, weight!, bias!, epsilon);
    };
    const average = (v: readonly number[]) => v.reduce((a, b) => a + b, 0) / v.length;
    const centred = [...x.data].map((v) => v - average([...x.data]));
    const rate = 1 / Math.sqrt(average(centred.map((v) => v * v)) + epsilon);
    const normal = centred.map((v) => v * rate);
    const along = average(normal.map((v, i) => v * g.data[i]!));
    const expected = normal.map((v, i) => rate * (g.data[i]! - average([...g.data]) - v * along));
    const found = await slopeOf(f, x, g);
    // In float32 a mean of 100 is known to 4e-6, a sixtieth of a thousandth of this spread.
    found.forEach((d, i) => expect(Math.abs(d - expected[i]!)).toBeLessThan(1e-4 * rate));
  });
});
