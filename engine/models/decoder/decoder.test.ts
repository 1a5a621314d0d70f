import { expect, it } from 'vitest';
import { evaluate, maxDifference } from '../../../test/support.js';
import { createRandom } from '../../data/random.js';
import { fullPrecision } from '../builders.js';
import { ModelConfig } from '../config.js';
import { silu } from '../activations.js';
import { ropeOf } from '../rope.js';
import { fromStored, toStored } from '../stored-form.js';
import { alibiSlopes } from './alibi.js';
import { experts } from './experts.js';

function normals(shape: readonly number[], name: string) {
  const random = createRandom(1, name);
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal());
  return { data, shape };
}

it('biases of scores fall by the rates of their authors', () => {
  const eight = [1, 2, 3, 4, 5, 6, 7, 8].map((h) => 2 ** -h);
  const between = [0.5, 1.5, 2.5, 3.5].map((h) => 2 ** -h);
  expect(alibiSlopes(8)).toEqual(eight);
  alibiSlopes(12).forEach((slope, h) => expect(slope).toBeCloseTo([...eight, ...between][h]!, 12));
});

it('a parameter is stored in its other form and comes back', () => {
  const form = { shape: [2, 3], transposed: true, offset: 1 };
  const data = Float32Array.of(1, 2, 3, 4, 5, 6);
  const stored = toStored(form, data);
  expect([...stored]).toEqual([0, 3, 1, 4, 2, 5]);
  expect([...data]).toEqual([1, 2, 3, 4, 5, 6]);
  expect([...fromStored(form, stored)]).toEqual([...data]);
});

it('an expert sees what reaches it and zeros for the rest, and counts for its share', async () => {
  const [tokens, features, hidden, count, chosen] = [5, 4, 6, 3, 2];
  const names = ['router', ...[0, 1, 2].flatMap((e) => [`gate${e}`, `up${e}`, `down${e}`])];
  const shapeOf = (name: string) =>
    name === 'router' ? [count, features] : name.startsWith('down') ? [features, hidden] : [hidden, features];
  const tensors = { x: normals([tokens, features], 'x') };
  const weights = Object.fromEntries(names.map((name) => [name, normals(shapeOf(name), name)]));
  const found = await evaluate({ ...tensors, ...weights }, (v, graph) => {
    const seen: Record<string, (typeof v)[string]> = {};
    const builder = fullPrecision(graph, (name) => v[name.replace('.weight', '')]!);
    const watched: typeof builder = {
      ...builder,
      linear: (name, x, out, options) => {
        seen[name] = x!;
        return builder.linear(name, x, out, options);
      },
    };
    const layer = experts({
      router: 'router',
      ...{ count, chosen, hidden, activation: silu, isNormal: true },
      names: (e) => ({ gate: `gate${e}`, up: `up${e}`, down: `down${e}` }),
    });
    return { y: layer(watched, v.x!, 1), reached0: seen.gate0!, reached2: seen.gate2! };
  });

  const row = (of: Float32Array, t: number, n: number) => [...of.slice(t * n, (t + 1) * n)];
  const product = (name: string, x: readonly number[]) => {
    const { data, shape } = weights[name]!;
    return Array.from({ length: shape[0]! }, (_, o) =>
      x.reduce((sum, value, i) => sum + value * data[o * x.length + i]!, 0),
    );
  };
  for (let t = 0; t < tokens; t++) {
    const x = row(tensors.x.data, t, features);
    const likely = product('router', x).map(Math.exp);
    const best = likely
      .map((share, e) => ({ share, e }))
      .sort((a, b) => b.share - a.share)
      .slice(0, chosen);
    const total = best.reduce((sum, { share }) => sum + share, 0);
    const expected = Array<number>(features).fill(0);
    for (const { share, e } of best) {
      const up = product(`up${e}`, x);
      const gated = product(`gate${e}`, x).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
      product(`down${e}`, gated).forEach((y, i) => (expected[i]! += (y * share) / total));
    }
    expect(
      maxDifference(Float32Array.from(row(found.y!, t, features)), Float32Array.from(expected)),
    ).toBeLessThan(1e-5);
    for (const e of [0, 2]) {
      const isSent = best.some((one) => one.e === e);
      expect(row(found[`reached${e}`]!, t, features)).toEqual(x.map((value) => value * Number(isSent)));
    }
  }
});

it.each<[string, object, RegExp]>([
  [
    'an odd number of channels',
    { partial_rotary_factor: 0.2 },
    /"partial_rotary_factor" turns 3 of 16 channels/,
  ],
  [
    'divisors of another number',
    { rope_scaling: { type: 'longrope', short_factor: [1, 2], long_factor: [1, 2] } },
    /"rope_scaling.long_factor" must be a list of 4 positive numbers, found/,
  ],
])('positions are refused with %s', (_, values, message) => {
  const config = new ModelConfig({ ...values }, 'config.json');
  expect(() => ropeOf(config, config.section('rope_scaling'), 16, 64, { share: 0.5 })).toThrow(message);
});
