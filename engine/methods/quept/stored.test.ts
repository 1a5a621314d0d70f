import { describe, expect, it } from 'vitest';
import { normals } from '../../execution/testing.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { asStored, firstDirections, storedForms, usedRank, withDirections } from './stored.js';

const [OUT, IN, RANK] = [7, 5, 3];
/** Directions of very different sizes, one of them zero, and logits beyond those that change anything. */
const learned: NamedTensors = new Map(
  (
    [
      ['q.lora_A', [RANK, IN], (x: number, i: number) => x * 10 ** (-3 * Math.floor(i / IN))],
      ['q.lora_B', [OUT, RANK], (x: number, i: number) => (i % RANK === 1 ? 0 : x)],
      ['q.clip_upper.4', [OUT, 1], (x: number, i: number) => (i === 0 ? 1e6 : 4 * x)],
      ['q.input_scale', [IN], (x: number) => Math.abs(x)],
    ] as const
  ).map(([name, shape, change]) => [name, { shape, data: normals(shape, name).data.map(change) }]),
);

describe('adapters in int8', () => {
  const kept = asStored('int8', learned);

  it('are within half a code of what was learned, each direction on its own scale', () => {
    const [a, from] = [kept.get('q.lora_A')!.data, learned.get('q.lora_A')!.data];
    for (let d = 0; d < RANK; d++) {
      const row = from.slice(d * IN, (d + 1) * IN);
      const half = Math.max(...row.map(Math.abs)) / 127 / 2;
      for (const [i, x] of row.entries())
        expect(Math.abs(a[d * IN + i]! - x)).toBeLessThanOrEqual(half * 1.001);
    }
    expect([...kept.get('q.lora_B')!.data].filter((_, i) => i % RANK === 1)).toEqual(Array(OUT).fill(0));
  });

  it('stay the same when they are stored again', () => {
    expect(asStored('int8', kept)).toEqual(kept);
    for (let seed = 0; seed < 200; seed++) {
      const shape = [1, 40];
      const data = normals(shape, `again ${seed}`).data.map((x) => x * 10 ** ((seed % 20) - 10));
      const once = asStored('int8', new Map([['q.lora_A', { shape, data }]]));
      expect(asStored('int8', once)).toEqual(once);
    }
  });

  it('take a byte, clip logits two, and what is not learned for adapters four', () => {
    const forms = [...learned].flatMap(([name, { shape }]) => storedForms('int8', name, shape));
    expect(forms.map(([name, { dtype, shape }]) => [name, dtype ?? 'F32', shape])).toEqual([
      ['q.lora_A', 'I8', [RANK, IN]],
      ['q.lora_A_scale', 'F32', [RANK]],
      ['q.lora_B', 'I8', [OUT, RANK]],
      ['q.lora_B_scale', 'F32', [RANK]],
      ['q.clip_upper.4', 'F16', [OUT, 1]],
      ['q.input_scale', 'F32', [IN]],
    ]);
  });
});

describe('directions that no bit-width uses', () => {
  it('are those of bit-widths that kept their start, unless lower ones use them', () => {
    const group = (rank: number, gain: number) => ({ bits: [8], rank, gain });
    expect(usedRank([group(1, 0), group(2, 1), group(3, 0)])).toBe(2);
    expect(usedRank([group(1, 0), group(3, 0)])).toBe(0);
  });

  it('are left out', () => {
    const cut = firstDirections(learned, 2);
    const [a, b] = [cut.get('q.lora_A')!, cut.get('q.lora_B')!];
    expect(a).toEqual({ shape: [2, IN], data: learned.get('q.lora_A')!.data.slice(0, 2 * IN) });
    const whole = learned.get('q.lora_B')!.data;
    expect(b.shape).toEqual([OUT, 2]);
    expect([...b.data]).toEqual([...whole].filter((_, i) => i % RANK < 2));
    const shapes = withDirections(new Map([...learned].map(([name, { shape }]) => [name, shape])), 2);
    expect([...cut].map(([name, { shape }]) => [name, shape])).toEqual([...shapes]);
    expect([...firstDirections(learned, 0).keys()]).toEqual(['q.clip_upper.4', 'q.input_scale']);
  });
});
