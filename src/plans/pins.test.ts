import { describe, expect, it } from 'vitest';
import { createPins, type Memory } from './pins.js';

function memory(): Memory {
  const state = new Map<string, unknown>();
  return {
    get: (key) => state.get(key) as never,
    update: (key, value) => Promise.resolve(void state.set(key, structuredClone(value))),
  };
}

describe('pins', () => {
  it('are those of a plan, and outlive what asked for them', async () => {
    const kept = memory();
    await createPins(kept).set('a', ['b.0.q', 'b.1.k']);
    await createPins(kept).set('b', ['b.0.k']);
    expect(createPins(kept).of('a')).toEqual(['b.0.q', 'b.1.k']);
    await createPins(kept).set('a', []);
    expect(createPins(kept).of('a')).toEqual([]);
    expect(createPins(kept).of('b')).toEqual(['b.0.k']);
  });

  it('of very many plans are those of the latest', async () => {
    const pins = createPins(memory());
    for (let i = 0; i < 150; i++) await pins.set(`${i}`, ['q']);
    expect([0, 49, 50, 149].map((i) => pins.of(`${i}`).length)).toEqual([0, 0, 1, 1]);
  });
});
