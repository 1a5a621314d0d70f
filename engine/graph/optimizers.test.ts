import { afterAll, describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { openRuntime } from '../runtime/session.js';
import { Graph } from './ir.js';
import { adam, adamScalars, type AdamOptions } from './optimizers.js';

const runtime = openRuntime('cpu', 1);
afterAll(() => runtime.dispose());

const SIZE = 6;
const STEPS = 8;
const random = createRandom(1, 'optimizer');
const start = Array.from({ length: SIZE }, () => Math.fround(random.normal()));
/** Of all sizes; the last parameter never has a gradient, the one before it only at first. */
const slopes = Array.from({ length: STEPS }, (_, t) =>
  [1e-4, 1e-2, 1, 100, t === 0 ? 1 : 0, 0].map((size) => Math.fround(size * random.normal())),
);
const learningRate = (t: number) => 0.01 / t;

type Betas = Required<Pick<AdamOptions, 'beta1' | 'beta2' | 'epsilon'>>;

/** Kingma and Ba's algorithm 1 as printed, with Loshchilov and Hutter's decay (their algorithm 2), in float64. */
function written({ beta1, beta2, epsilon }: Betas, weightDecay: number) {
  const p = [...start];
  const m = p.map(() => 0);
  const v = p.map(() => 0);
  for (let t = 1; t <= STEPS; t++)
    for (let i = 0; i < SIZE; i++) {
      const g = slopes[t - 1]![i]!;
      m[i] = beta1 * m[i]! + (1 - beta1) * g;
      v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
      const mHat = m[i]! / (1 - beta1 ** t);
      const vHat = v[i]! / (1 - beta2 ** t);
      p[i] = p[i]! - learningRate(t) * (mHat / (Math.sqrt(vHat) + epsilon) + weightDecay * p[i]!);
    }
  return { p, m, v };
}

async function run(options: Partial<Betas>, weightDecay: number) {
  const graph = new Graph();
  const shape = [2, SIZE / 2];
  const [parameter, first, second, gradient] = ['p', 'm', 'v', 'g'].map((name) => graph.input(name, shape));
  const [rate, correction, decay] = ['rate', 'correction', 'decay'].map((name) => graph.input(name, []));
  const state = { parameter: parameter!, first: first!, second: second! };
  const next = adam(state, gradient!, rate!, correction!, {
    ...options,
    ...(weightDecay > 0 && { decay: decay! }),
  });
  graph.output('next.p', next.parameter);
  graph.output('next.m', next.first);
  graph.output('next.v', next.second);
  const program = await runtime.compile(graph, 'step', { keep: false });
  const zeros = runtime.tensor(new Float32Array(SIZE), shape);
  let [p, m, v] = [runtime.tensor(Float32Array.from(start), shape), zeros, zeros];
  for (let t = 1; t <= STEPS; t++) {
    const scalars = { ...adamScalars(learningRate(t), t, options), decay: learningRate(t) * weightDecay };
    const fed = Object.entries(scalars).map(
      ([name, x]) => [name, runtime.tensor(Float32Array.of(x), [])] as const,
    );
    const g = runtime.tensor(Float32Array.from(slopes[t - 1]!), shape);
    const outputs = await program.run({ p, m, v, g, ...Object.fromEntries(fed) });
    [p, m, v] = ['p', 'm', 'v'].map((name) => outputs[`next.${name}`]!) as [typeof p, typeof m, typeof v];
  }
  const found = { p: await runtime.read(p), m: await runtime.read(m), v: await runtime.read(v) };
  await program.dispose();
  return found;
}

describe('adam', () => {
  const usual = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
  it.each<[string, Partial<Betas>, number]>([
    ['Adam', {}, 0],
    ['AdamW', {}, 0.1],
    ['AdamW with other constants', { beta1: 0.5, beta2: 0.95, epsilon: 1e-3 }, 0.02],
  ])('%s follows the algorithm in float64', async (_name, options, weightDecay) => {
    const [found, expected] = [
      await run(options, weightDecay),
      written({ ...usual, ...options }, weightDecay),
    ];
    for (const key of ['p', 'm', 'v'] as const)
      // Eight steps, each rounded a few times: 6e-8 of a number of order one.
      found[key].forEach((x, i) => {
        const right = expected[key][i]!;
        expect(
          Math.abs(x - right) / Math.max(key === 'p' ? 1 : 1e-12, Math.abs(right)),
          `${key}[${i}]`,
        ).toBeLessThan(2e-6);
      });
  });

  it('a parameter that never had a gradient does not move, unless it decays', async () => {
    expect((await run({}, 0)).p[SIZE - 1]).toBe(start[SIZE - 1]);
    expect(Math.abs((await run({}, 0.5)).p[SIZE - 1]!)).toBeLessThan(Math.abs(start[SIZE - 1]!));
  });

  it('the first step has the size of the learning rate, whatever the gradient', () => {
    // m̂ = g and v̂ = g² at t = 1.
    for (const g of [1e-3, 50]) {
      const { rate, correction } = adamScalars(0.02, 1);
      expect((rate * 0.1 * g) / (Math.sqrt(0.001 * g * g) / correction)).toBeCloseTo(0.02, 12);
    }
  });
});
