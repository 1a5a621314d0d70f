import { afterAll, describe, expect, it } from 'vitest';
import { gradients } from '../graph/gradients.js';
import { Graph } from '../graph/ir.js';
import { openRuntime } from '../runtime/session.js';
import { readActivation } from './activations.js';
import { ModelConfig } from './config.js';

const runtime = openRuntime('cpu', 1);
afterAll(() => runtime.dispose());

const activationOf = (name?: string) =>
  readActivation(new ModelConfig(name === undefined ? {} : { hidden_act: name }, 'config.json'), 'silu');

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const byTanh = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

describe.each<[string, (x: number) => number]>([
  ['silu', (x) => x * sigmoid(x)],
  ['swish', (x) => x * sigmoid(x)],
  ['gelu_new', byTanh],
  ['gelu_pytorch_tanh', byTanh],
  ['gelu_fast', byTanh],
  ['quick_gelu', (x) => x * sigmoid(1.702 * x)],
  ['relu', (x) => Math.max(x, 0)],
])('%s', (name, formula) => {
  const points = [-100, -6.5, -3, -1.25, -0.5, -0.01, 0.01, 0.5, 1.25, 3, 6.5, 100];

  it('is its formula, and its gradient the slope of that', async () => {
    const graph = new Graph();
    const x = graph.input('x', [points.length]);
    const y = activationOf(name)(x);
    graph.output('y', y);
    const cotangent = graph.constant(
      Float32Array.from(points, () => 1),
      [points.length],
    );
    graph.output('dx', gradients([{ value: y, cotangent }], [x])[0]!);
    const program = await runtime.compile(graph, name, { keep: false });
    const { y: found, dx } = await program.run({ x: runtime.tensor(Float32Array.from(points), x.shape) });
    const [values, slopes] = [await runtime.read(found!), await runtime.read(dx!)];
    const step = 1e-5;
    for (const [i, at] of points.entries()) {
      expect(values[i]).toBeCloseTo(formula(at), 5);
      expect(slopes[i]).toBeCloseTo((formula(at + step) - formula(at - step)) / (2 * step), 5);
    }
    await program.dispose();
  });
});

it('is the default where nothing is said, and refused where it is not known', () => {
  expect(activationOf()).toBe(activationOf('silu'));
  expect(() => activationOf('mish')).toThrow(
    'config.json: "hidden_act" is "mish"; supported: silu, swish, gelu,',
  );
});
