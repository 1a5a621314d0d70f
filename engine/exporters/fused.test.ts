import { describe, expect, it } from 'vitest';
import { fusedLayers, tied } from '../plans/fused.js';
import { untied } from './fused.js';

const layers = ['q', 'k', 'v', 'o'].map((name) => `model.layers.0.self_attn.${name}_proj`);
const [q, k, v, o] = layers as [string, string, string, string];
const [gate, up, down] = ['gate', 'up', 'down'].map((name) => `model.layers.0.mlp.${name}_proj`) as [
  string,
  string,
  string,
];

describe('layers that vLLM runs as one', () => {
  it('are queries, keys and values, and gate and up, of one block', () => {
    const second = [q, gate].map((name) => name.replace('0', '1'));
    expect(fusedLayers([...layers, gate, up, down, ...second])).toEqual([
      [q, k, v],
      [gate, up],
      [second[0]],
      [second[1]],
    ]);
    expect(fusedLayers(['encoder.layer.0.attention.query'])).toEqual([]);
  });

  it('get the most bits that one of them has, and no other layer does', () => {
    const bits = [q, k, v, o, gate, up, down].map((name, i) => [name, [4, 3, 8, 2, 5, 6, 2][i]!] as const);
    expect([...tied(new Map(bits)).values()]).toEqual([8, 8, 8, 2, 6, 6, 2]);
  });

  it('are complained of where different containers hold them', () => {
    const held = (name: string) => [...layers, gate, up].map((layer) => [layer, name] as const);
    expect(untied(new Map(held('4 bits')))).toBeUndefined();
    expect(untied(new Map([...held('4 bits'), [o, '8 bits']]))).toBeUndefined();
    expect(untied(new Map([...held('4 bits'), [k, '8 bits'], [up, '8 bits']]))).toBe(
      'vLLM runs these layers as one and cannot at different bits: "model.layers.0" has q_proj in 4 bits, k_proj in 8 bits, v_proj in 4 bits, and 1 more such groups. Tie them for vLLM; other readers load them as they are.',
    );
  });
});
