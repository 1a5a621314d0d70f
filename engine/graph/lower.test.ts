import { describe, expect, it } from 'vitest';
import { decodeOnnxModel, encodeOnnxModel } from '../formats/onnx.js';
import { evaluate } from '../../test/support.js';
import { gradients } from './gradients.js';
import { Graph, type Value } from './ir.js';
import { toOnnx } from './lower.js';
import * as op from './ops.js';
import { adam } from './optimizers.js';
import { fakeQuantizeWeight } from './quantizers.js';

const opTypes = (graph: Graph) => toOnnx(graph, 'test').graph.nodes.map((node) => node.opType);

/** A weight's quantization, its gradient and an optimizer step. */
function trainingStep(levels = 15): Graph {
  const graph = new Graph();
  const [w, g, m, v] = ['w', 'g', 'm', 'v'].map((name) => graph.input(name, [4, 6]));
  const clip = graph.constant(new Float32Array(4).fill(4), [4, 1]);
  const y = fakeQuantizeWeight(w!, clip, clip, graph.scalar(levels));
  const [dw] = gradients([{ value: y, cotangent: g! }], [w!]);
  const next = adam({ parameter: w!, first: m!, second: v! }, dw!, graph.scalar(0.1), graph.scalar(1));
  graph.output('y', y);
  graph.output('next', next.parameter);
  return graph;
}

describe('what is in the model', () => {
  it('is what the outputs depend on, and every declared input', () => {
    const graph = new Graph();
    const [x, unused] = [graph.input('x', [2]), graph.input('unused', [3], 'int64')];
    op.log(op.add(x, graph.scalar(7)));
    op.neg(unused);
    graph.constant(new Float32Array(100), [100]);
    graph.output('y', op.mul(op.exp(x), graph.scalar(2)));
    const { nodes, inputs, initializers, outputs } = toOnnx(graph, 'test').graph;
    expect(nodes.map((node) => node.opType)).toEqual(['Exp', 'Mul', 'Identity']);
    expect(initializers).toHaveLength(1);
    expect(inputs).toEqual([
      { name: 'x', dataType: 'float32', shape: [2] },
      { name: 'unused', dataType: 'int64', shape: [3] },
    ]);
    expect(outputs).toEqual([{ name: 'y', dataType: 'float32', shape: [2] }]);
  });

  it('no stop-gradient is', async () => {
    const found = await evaluate({ x: { data: Float32Array.of(2, 3), shape: [2] } }, ({ x }, graph) => {
      const stopped = op.stopGradient(op.stopGradient(op.neg(x!)));
      const outputs = {
        value: stopped,
        used: op.exp(op.sub(stopped, stopped)),
        input: op.stopGradient(x!),
        constant: op.stopGradient(graph.constant(Float32Array.of(5, 6), [2])),
      };
      return outputs;
    });
    expect(Object.values(found).map((v) => [...v])).toEqual([[-2, -3], [1, 1], [2, 3], [5, 6]]); // prettier-ignore

    const graph = new Graph();
    graph.output('y', op.stopGradient(op.exp(op.stopGradient(graph.input('x', [2])))));
    expect(opTypes(graph)).toEqual(['Exp', 'Identity']);
  });

  it('attributes have their ONNX types', () => {
    const graph = new Graph();
    const x = graph.input('x', [2, 3]);
    const w = graph.constant(new Float32Array(3), [3]);
    graph.output('y', op.transpose(op.gelu(op.softmax(op.layerNormalization(x, w, w, 1))), [1, 0]));
    expect(toOnnx(graph, 'test').graph.nodes.map((node) => node.attributes)).toEqual([
      { axis: { type: 'int', value: -1 }, epsilon: { type: 'float', value: 1 } },
      { axis: { type: 'int', value: 1 } },
      { approximate: { type: 'string', value: 'none' } },
      { perm: { type: 'ints', value: [1, 0] } },
      {},
    ]);
  });

  it('an optional input may be left out', async () => {
    const { y } = await evaluate({ x: { data: Float32Array.of(-9, 9), shape: [2] } }, ({ x }, graph) => ({
      y: graph.add('Clip', [x, undefined, graph.scalar(1)], {}, [{ type: 'float32', shape: [2] }])[0]!,
    }));
    expect([...y!]).toEqual([-9, 1]);
  });
});

describe('operator sets', () => {
  it('are those of the operators that are used, each by its domain', () => {
    const graph = new Graph();
    const x = graph.input('x', [1, 16]);
    const plain = op.exp(x);
    graph.output('plain', plain);
    expect(toOnnx(graph, 'test').opsets).toEqual([{ domain: '', version: 20 }]);
    const weight = {
      bits: 8,
      groupSize: 16,
      columns: 16,
      integers: graph.constant(new Uint8Array(16), [1, 1, 16], 'uint8'),
      scales: graph.constant(new Float32Array(1), [1]),
      zeros: graph.constant(new Uint8Array(1), [1], 'uint8'),
    };
    graph.output('product', op.matMulNBits(plain, weight));
    const model = toOnnx(graph, 'test');
    expect(model.opsets).toEqual([
      { domain: '', version: 20 },
      { domain: 'com.microsoft', version: 1 },
    ]);
    expect(model.graph.nodes.map(({ opType, domain }) => [opType, domain])).toEqual([
      ['Exp', undefined],
      ['MatMulNBits', 'com.microsoft'],
      ['Identity', undefined],
      ['Identity', undefined],
    ]);
  });
});

describe('named dimensions', () => {
  const graph = new Graph();
  graph.output('y', op.exp(graph.input('x', [8, 3])));

  it('are what the file has instead of lengths', () => {
    const named = new Map([
      ['x', ['batch', undefined]],
      ['y', ['batch', 'width']],
    ]);
    const model = toOnnx(graph, 'test', named);
    const { inputs, outputs } = decodeOnnxModel(encodeOnnxModel(model)).graph;
    expect(inputs[0]!.shape).toEqual(['batch', 3]);
    expect(outputs[0]!.shape).toEqual(['batch', 'width']);
  });

  it.each([
    ['another number of dimensions', 'x', ['batch']],
    ['no input or output', 'z', ['batch', 'width']],
  ])('of %s are refused', (_what, name, names) => {
    expect(() => toOnnx(graph, 'test', new Map([[name, names]]))).toThrow(`dimensions for "${name}"`);
  });
});

describe('operators written with others', () => {
  const x = [-Infinity, -3e38, -4194303.5, -2.5, -1.5, -0.5, -1e-30, -0, 0, 1e-30, 0.49999997, 0.5, 1.5, 2.5, 1e6, 4194301.5, 3e38, Infinity]; // prettier-ignore
  const run = (f: (x: Value) => Value) =>
    evaluate({ x: { data: Float32Array.from(x), shape: [x.length] } }, (v) => ({ y: f(v.x!) }));

  it('Round is exact where float32 has halves, and close beyond', async () => {
    const { y } = await run(op.round);
    const halfToEven = (n: number) =>
      n % 1 === 0 || Math.abs(n % 1) !== 0.5 ? Math.round(n) : 2 * Math.round(n / 2);
    x.forEach((n, i) => {
      if (Math.abs(n) <= 2 ** 22) expect(y![i]! + 0, `round(${n})`).toBe(halfToEven(n) + 0);
      else if (Number.isFinite(n)) expect(Math.abs(y![i]! / Math.fround(n) - 1)).toBeLessThan(2 ** -22);
      else expect(y![i]).toBe(n);
    });
  });

  it('Sign is -1, 0 or 1', async () => {
    const { y } = await run(op.sign);
    expect([...y!].map((v) => v + 0)).toEqual(x.map((n) => Math.sign(n) + 0));
  });
});

describe('names', () => {
  it('of inputs and outputs may look like those of inner values', async () => {
    // Four inputs, then sums, constants and products: the ids 4 to 16 are theirs.
    const inner = Array.from({ length: 20 }, (_, id) => [`v${id}`, `c${id}`, `v${id}_`]).flat();
    const inputs = ['v5', 'c8', 'v6_', 'v16'];
    const outputs = inner.filter((name) => !inputs.includes(name));
    const one = { data: Float32Array.of(1), shape: [1] };
    const found = await evaluate(Object.fromEntries(inputs.map((name) => [name, one])), (v, graph) => {
      const sum = Object.values(v).reduce((a, b) => op.add(a, b));
      return Object.fromEntries(outputs.map((name, i) => [name, op.mul(sum, graph.scalar(i % 5))]));
    });
    expect(outputs.map((name) => found[name]![0])).toEqual(outputs.map((_, i) => 4 * (i % 5)));
  });

  it('of an input may look like that of a constant which lowering brings in', async () => {
    const one = (n: number) => ({ data: Float32Array.of(n), shape: [1] });
    const { y } = await evaluate({ 'scalar.0': one(5), x: one(-2) }, (v) => ({
      y: op.add(op.sign(v.x!), v['scalar.0']!),
    }));
    expect([...y!]).toEqual([4]);
  });

  it('one value may be several outputs, and an input be one', async () => {
    const x = { data: Float32Array.of(1, 2), shape: [2] };
    const found = await evaluate({ x }, (v) => ({ a: op.neg(v.x!), b: op.neg(v.x!), c: v.x! }));
    expect(Object.values(found).map((y) => [...y])).toEqual([[-1, -2], [-1, -2], [1, 2]]); // prettier-ignore
  });
});

describe('bytes', () => {
  it('are the same for two builds of one graph, and others for another graph', () => {
    const bytes = (graph: Graph) => Buffer.from(encodeOnnxModel(toOnnx(graph, 'step'))).toString('base64');
    const first = trainingStep();
    expect(bytes(first) === bytes(trainingStep())).toBe(true);
    expect(bytes(first) === bytes(first), 'lowering changes nothing').toBe(true);
    expect(bytes(first) === bytes(trainingStep(7))).toBe(false);
  });
});

it('a constant keeps the sign of zero, its type and its elements on the way', async () => {
  const wide = new Float32Array(12).fill(9);
  const found = await evaluate({ x: { data: Float32Array.of(1), shape: [1] } }, ({ x }, graph) => ({
    minus: op.div(x!, graph.scalar(-0)),
    plus: op.div(x!, graph.scalar(0)),
    chosen: op.where(graph.constant(Uint8Array.of(0, 1), [2]), x!, graph.scalar(0)),
    index: op.gather(
      graph.constant(Float32Array.of(5, 6, 7), [3]),
      graph.constant(BigInt64Array.of(2n, 0n), [2]),
    ),
    // A window onto a larger buffer.
    part: op.add(x!, graph.constant(wide.fill(3, 4, 6).subarray(3, 7), [4])),
  }));
  const data = Object.entries(found).map(([name, y]) => [name, [...y]]);
  expect(Object.fromEntries(data)).toEqual({
    minus: [-Infinity],
    plus: [Infinity],
    chosen: [0, 1],
    index: [7, 5],
    part: [10, 4, 4, 10],
  });
});
