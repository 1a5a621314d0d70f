import { describe, expect, it } from 'vitest';
import { listPart, type LinearEntry } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import type { Tensor } from '../../runtime/session.js';
import { adapterLayout } from './adapters.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { randomAdapters } from './testing.js';
import { blockWeights, layerCodes, type BlockPrecision } from './weights.js';
import type { NamedTensors } from '../../execution/tensors.js';

const programs = usePrograms();
const { runtime } = programs;
const [OUT, COLUMNS] = [9, 20];
const BITS = [2, 3, 4, 5, 6, 7, 8];

const part: Part = {
  prefix: '',
  kind: 'one layer',
  inputShape: (n) => [n, COLUMNS],
  outputShape: (n) => [n, OUT],
  forward: (b, x) => b.linear('layer', x, OUT),
};
const listing = listPart(part);
const layer: LinearEntry = listing.linears[0]!;

const weight = normals([OUT, COLUMNS], 'weight');
// Rows of one sign, of one value, and of none: their zero points lie outside of the grid.
weight.data.subarray(0, COLUMNS).forEach((w, i, row) => (row[i] = 1 + Math.abs(w)));
weight.data.subarray(COLUMNS, 2 * COLUMNS).forEach((w, i, row) => (row[i] = -1 - Math.abs(w)));
// So far that a float32 no longer tells its neighbours apart.
weight.data.fill(300.3, 2 * COLUMNS, 3 * COLUMNS);
weight.data.fill(0, 3 * COLUMNS, 4 * COLUMNS);

/** Every bit-width in a group of its own, from 8 to 2. */
function setting(groupSize: number, gain: number, rankOf: (g: number) => number, halves = false) {
  const groups = [...BITS].reverse().map((bits, g) => ({ bits: [bits], rank: rankOf(g), gain }));
  const layout = adapterLayout(
    listing,
    groups,
    false,
    true,
    groups.map(() => groupSize),
  );
  const precision: BlockPrecision = { groups, groupSizeOf: () => groupSize, hasHalves: () => halves };
  return { precision, adapters: randomAdapters(layout) };
}

/** The bits of floats, so that zeros of either sign are told apart. */
const bitsOf = (data: Float32Array) => [...new Uint32Array(data.slice().buffer)];

async function onDevice(
  precision: BlockPrecision,
  adapters: NamedTensors,
  use: (quantize: (bits: number) => Promise<Float32Array>) => Promise<void>,
  left = 0,
) {
  const placed = new Map<string, Tensor>([
    ['layer', await runtime.place(runtime.tensor(weight.data, weight.shape))],
  ]);
  const memory = { left };
  const weights = blockWeights(programs, precision, adapters, placed, memory);
  await use(async (bits) => {
    const quantized = await weights.quantize(layer, bits);
    const data = (await runtime.read(quantized)).slice();
    quantized.dispose();
    return data;
  });
  const used = left - memory.left;
  weights.dispose();
  expect(memory.left).toBe(left);
  placed.get('layer')!.dispose();
  return used;
}

const codesOf = ({ precision, adapters }: ReturnType<typeof setting>, bits: number): Promise<GridWeight> =>
  layerCodes(programs, precision, adapters, layer, weight.data, bits);

describe.each([
  ['whole rows', -1],
  ['groups that divide the columns', 5],
  ['groups that do not', 8],
  ['groups wider than a row', 32],
])('the codes of a layer, scales per %s', (_, groupSize) => {
  it.each<[string, number, (g: number) => number, boolean?]>([
    ['with adapters', 1, (g) => g + 1],
    ['with adapters and half zero points', 1, (g) => g + 1, true],
    ['with adapters at half gain', 0.5, (g) => g + 1],
    ['with adapters that are not used', 0, (g) => g + 1],
    ['without adapters in the upper groups', 1, (g) => Math.max(0, g - 3)],
  ])('%s stand for what the device runs, to the bit', async (_what, gain, rankOf, halves = false) => {
    const own = setting(groupSize, gain, rankOf, halves);
    for (const left of [0, 1e6])
      await onDevice(
        own.precision,
        own.adapters,
        async (quantize) => {
          for (const bits of BITS) {
            const codes = await codesOf(own, bits);
            expect(bitsOf(toFloats(codes)), `${bits} bits`).toEqual(bitsOf(await quantize(bits)));
          }
        },
        left,
      );
  });

  it('are on the grid that they say', async () => {
    const own = setting(groupSize, 1, (g) => g + 1);
    const groups = groupSize === -1 ? 1 : Math.ceil(COLUMNS / groupSize);
    for (const bits of BITS) {
      const { codes, scale, zero, ...rest } = await codesOf(own, bits);
      expect(rest).toEqual({ kind: 'grid', shape: [OUT, COLUMNS], bits, groupSize });
      expect([codes.length, scale.length, zero.length]).toEqual([OUT * COLUMNS, OUT * groups, OUT * groups]);
      expect(Math.max(...codes)).toBe(2 ** bits - 1);
      expect(Math.min(...codes)).toBe(0);
      expect(scale.every((s) => s > 0)).toBe(true);
      expect(zero.every(Number.isInteger)).toBe(true);
    }
  });

  it('have zero points that are multiples of a half where they may, and so a grid nearer to the ends of the range', async () => {
    const own = setting(groupSize, 1, (g) => g + 1, true);
    for (const bits of BITS) {
      const { codes, zero } = await codesOf(own, bits);
      expect(Math.max(...codes)).toBe(2 ** bits - 1);
      expect(Math.min(...codes)).toBe(0);
      expect(zero.every((z) => Number.isInteger(2 * z))).toBe(true);
      expect(zero.some((z) => !Number.isInteger(z))).toBe(true);
    }
  });
});

describe('what is learned of a layer', () => {
  it('changes its codes only where the gain lets it', async () => {
    const own = setting(-1, 1, (g) => g + 1);
    const without = setting(-1, 0, (g) => g + 1);
    const clips = new Map([...own.adapters].filter(([name]) => name.includes('clip')));
    for (const bits of BITS) {
      expect(await codesOf(without, bits)).toEqual(await codesOf({ ...own, adapters: clips }, bits));
      expect((await codesOf(own, bits)).codes).not.toEqual((await codesOf(without, bits)).codes);
    }
  });
});

describe('kept memory', () => {
  const bytes = OUT * COLUMNS * 4;

  it('is taken once for each bit group that has adapters, as far as there is any', async () => {
    const { precision, adapters } = setting(-1, 1, (g) => (g < 3 ? 0 : g));
    const all = async (quantize: (bits: number) => Promise<Float32Array>) => {
      for (const bits of [...BITS, ...BITS]) await quantize(bits);
    };
    expect(await onDevice(precision, adapters, all, 1e6)).toBe(4 * bytes);
    expect(await onDevice(precision, adapters, all, 2 * bytes + 1)).toBe(2 * bytes);
    expect(await onDevice(precision, adapters, all, bytes - 1)).toBe(0);
  });
});
