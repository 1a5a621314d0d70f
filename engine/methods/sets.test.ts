import { describe, expect, it } from 'vitest';
import type { SetConfig } from '../formats/set-config.js';
import { complaint } from '../formats/testing.js';
import { expectedTensors } from './sets.js';

const config: SetConfig = {
  schema_version: 2,
  engine_version: '0.1.0',
  mode: 'weight-only',
  model: { family: 'llama', fingerprint: 'a'.repeat(64), name: 'speaker' },
  seed: 0,
  offered: [8],
  embedding_bits: 16,
  head_bits: 16,
  transforms: [
    { name: 'rotation', signs: '09', keys: false },
    { name: 'rescaling', norms: { norm: 3 } },
  ],
  layers: { q: { in: 4, out: 2, group_size: -1, input: 'q' } },
  method: {
    name: 'quept',
    bit_groups: [{ bits: [8], rank: 1, gain: 1 }],
    products: [],
    hyperparameters: {},
    losses: [],
  },
};

it('a set has the tensors of its transforms and of its method', () => {
  const names = [...expectedTensors(config)].map(([name, { optional }]) => (optional ? `${name}?` : name));
  expect(names.sort()).toEqual(
    [
      ...['q.bias?', 'q.input_scale?', 'q.output_scale?', 'norm.weight', 'norm.bias?'],
      ...['q.lora_A', 'q.lora_B', 'q.clip_upper.8', 'q.clip_lower.8'],
    ].sort(),
  );
});

describe('a config is refused', () => {
  it.each<[string, Partial<SetConfig>, string]>([
    ['of another method', { method: { name: 'magic' } }, 'There is no calibration method "magic"; there are'],
    [
      'of another transform',
      { transforms: [{ name: 'magic' }] },
      'There is no transform "magic"; a newer version of Elastic Precision may have it.',
    ],
    [
      'with signs that are no digits',
      { transforms: [{ name: 'rotation', signs: '09x', keys: true }] },
      'transform "rotation": "signs" must be hex digits, found "09x".',
    ],
    ['with a rotation without signs', { transforms: [{ name: 'rotation', keys: true }] }, '"signs"'],
    ['with norms of no size', { transforms: [{ name: 'rescaling', norms: { norm: 0 } }] }, '"norm" must be'],
  ])('%s', async (_, change, message) => {
    const text = await complaint(() => expectedTensors({ ...config, ...change }));
    expect(text).toContain(message);
    expect(text).not.toContain('\n');
  });
});
