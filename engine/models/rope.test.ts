import { expect, it } from 'vitest';
import { ModelConfig } from './config.js';
import { readRope } from './rope.js';

const CONTEXT = 64;
function read(values: Readonly<Record<string, unknown>>) {
  const config = new ModelConfig(values, 'config.json');
  return { ...readRope(config, 16, CONTEXT), notes: config.notes };
}
const yarn = (change: object = {}) => ({
  rope_scaling: {
    rope_type: 'yarn',
    factor: 4,
    original_max_position_embeddings: 16,
    beta_fast: 4,
    ...change,
  },
});
const llama3 = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 };

it.each<[string, object, object]>([
  ['an empty scaling as none', { rope_scaling: {} }, {}],
  ['a scaling without a type as none', { rope_scaling: { factor: 2 } }, {}],
  ['the default written out', yarn({ truncate: true }), yarn()],
  ['a factor that is null as what the context is stretched by', yarn({ factor: null }), yarn()],
  ['bounds of 0 as the usual ones', yarn({ beta_fast: 0 }), yarn({ beta_fast: undefined })],
  ['scales of attention', yarn({ mscale: 1, mscale_all_dim: 1 }), yarn({ attention_factor: 1 })],
  ['half of the scales as none', yarn({ mscale: 0.7, mscale_all_dim: 0 }), yarn()],
  [
    'Llama 3 without an original context as from all of it',
    { rope_scaling: llama3 },
    { rope_scaling: { ...llama3, original_max_position_embeddings: CONTEXT } },
  ],
  [
    'a base of the section before one at the top',
    { rope_theta: 7, rope_parameters: { rope_theta: 500, rope_type: 'default' } },
    { rope_theta: 500 },
  ],
])('takes %s', (_, given, meant) => {
  const { notes: _given, ...found } = read(given as Record<string, unknown>);
  const { notes: _meant, ...expected } = read(meant as Record<string, unknown>);
  expect(found).toEqual(expected);
});

it('stretches between bounds that are not whole where they are not truncated', () => {
  const { frequencies } = read(yarn({ truncate: false, original_max_position_embeddings: 48 }));
  const bound = (turns: number) => (16 * Math.log(48 / (turns * 2 * Math.PI))) / (2 * Math.log(10000));
  const [first, last] = [bound(4), bound(1)];
  expect(Math.ceil(last) - last).toBeGreaterThan(0.1);
  frequencies.forEach((found, i) => {
    const share = Math.min(Math.max((i - first) / (last - first), 0), 1);
    expect(found).toBeCloseTo(10000 ** (-i / 8) * (1 - share + share / 4), 12);
  });
});

it.each<[string, object, object, string]>([
  [
    'rope_scaling beside rope_parameters',
    { ...yarn(), rope_parameters: { rope_type: 'default', rope_theta: 500 } },
    yarn(),
    '"rope_parameters" is not read',
  ],
  [
    'an original context at the top beside another one',
    { ...yarn(), original_max_position_embeddings: 32 },
    yarn({ original_max_position_embeddings: 32 }),
    '"original_max_position_embeddings" at the top counts',
  ],
  [
    'a base at the top beside another one',
    { ...yarn({ rope_theta: 500 }), rope_theta: 7 },
    yarn({ rope_theta: 500 }),
    '"rope_scaling.rope_theta" counts',
  ],
  [
    'a type by both of its keys',
    { rope_scaling: { rope_type: 'linear', type: 'dynamic', factor: 2 } },
    { rope_scaling: { rope_type: 'linear', factor: 2 } },
    '"rope_scaling.rope_type" counts',
  ],
])('reads %s as the newer generation does, and notes it', (_, given, meant, note) => {
  const { notes, ...found } = read(given as Record<string, unknown>);
  const { notes: none, ...expected } = read(meant as Record<string, unknown>);
  expect(found).toEqual(expected);
  expect(notes).toEqual([expect.stringContaining(note)]);
  expect(none).toEqual([]);
});

it('notes nothing where both sections say the same', () => {
  const same = { rope_type: 'linear', factor: 2, rope_theta: 500 };
  expect(read({ rope_scaling: same, rope_parameters: { ...same }, rope_theta: 500 }).notes).toEqual([]);
});
