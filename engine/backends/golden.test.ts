/** Against vectors of an independent PyTorch statement (`test/golden/README.md`). */
import { describe, expect, it } from 'vitest';
import { maxDifference, readGolden, type Golden } from '../../test/support.js';
import { rowsOf, usePrograms } from '../execution/testing.js';
import { bitsPerWeight, bitsFor, formOf, statedBits } from '../quantized/form.js';
import { toFloats, type GridWeight } from '../quantized/weight.js';
import { binarize } from './billm.js';
import { factorHessian } from './factor.js';
import { roundCorrecting } from './gptq.js';
import { bothInOrder, byFallingDiagonal, columnsInOrder } from './order.js';
import { meanCost, roundSparse } from './spqr.js';
import { weightedError } from './testing.js';

const programs = usePrograms();
const { signal } = new AbortController();
const hooks = { signal, note: (line: string) => expect.fail(line) };

/** A case's tensors, and its factor in the golden order. */
async function openCase(golden: Golden, name: string, damping: number, isSorted: boolean) {
  const at = (key: string) => golden.floats(`${name}.${key}`).data;
  const weight = { data: at('W'), shape: golden.floats(`${name}.W`).shape };
  const [out, n] = weight.shape as readonly [number, number];
  const hessian = at('H');
  const order = isSorted ? byFallingDiagonal(hessian, n) : undefined;
  const placed = order ? bothInOrder(hessian, order) : hessian;
  const factor = await factorHessian(programs, placed, n, name, hooks, damping);
  const isDead = (column: number) => hessian[column * n + column] === 0;
  return { at, weight, out, n, hessian, order, factor, isDead };
}

/** [rows, columns] in float32 as whole numbers. */
const whole = (data: ArrayLike<number>) => Array.from(data, Math.round);

describe('GPTQ', async () => {
  const golden = await readGolden('gptq.safetensors');
  it.each(['row4', 'row2', 'group3', 'group2.dead', 'sorted2'])('%s', async (name) => {
    const [bits, group, damping, sorted] = golden.floats(`${name}.settings`).data;
    const { at, weight, out, n, hessian, order, factor, isDead } = await openCase(
      golden,
      name,
      damping!,
      sorted === 1,
    );
    expect(order ? [...order] : [...Array(n).keys()]).toEqual(whole(at('perm')));
    const own = order ? { ...weight, data: columnsInOrder(weight.data, order) } : weight;
    const dead = (place: number) => isDead(order?.[place] ?? place);
    const found = await roundCorrecting(
      programs,
      own,
      factor,
      dead,
      { bits: bits!, groupSize: group! },
      signal,
    );
    const codes = new Uint8Array(out * n);
    for (let i = 0; i < out * n; i++) {
      const row = Math.floor(i / n);
      codes[row * n + (order?.[i % n] ?? i % n)] = found.codes[i]!;
    }
    expect(whole(codes)).toEqual(whole(at('codes')));
    const quantized = toFloats({ ...found, codes, ...(order && { order }) });
    expect(maxDifference(quantized, at('quantized'))).toBeLessThan(1e-5);
    expect(maxDifference(found.scale, at('scale'))).toBeLessThan(1e-5);
    expect(whole(found.zero)).toEqual(whole(at('zero')));
    const objective = weightedError(weight, quantized, rowsOf({ data: hessian, shape: [n, n] }));
    expect(objective / at('objective')[0]! - 1).toBeCloseTo(0, 4);
  });
});

describe('SpQR', async () => {
  const golden = await readGolden('spqr.safetensors');
  it.each(['plain', 'levels', 'outliers', 'simple', 'dead'])('%s', async (name) => {
    const [bits, group, scaleBits, zeroBits, rows, threshold, damping, sorted, apart] = golden.floats(
      `${name}.settings`,
    ).data as unknown as number[];
    const found = await openCase(golden, name, damping!, sorted === 1);
    const { at, weight, out, n, order } = found;
    expect(order ? [...order] : [...Array(n).keys()]).toEqual(whole(at('perm')));
    const hasLevel = scaleBits !== 0;
    const spqr = {
      bits: bits!,
      groupSize: group!,
      ...(hasLevel && { level: { rows: rows!, scaleBits: scaleBits!, zeroBits: zeroBits! } }),
      threshold: threshold!,
      likely: apart === 1 ? 'apart' : 'within',
      precision: 'float32',
    } as const;
    const own = await roundSparse(programs, weight, found, spqr, signal);

    const place = (data: ArrayLike<number>) =>
      Array.from({ length: out * n }, (_, i) => {
        const column = i % n;
        return data[i - column + (order?.[column] ?? column)]!;
      });
    const isOutlier = new Uint8Array(out * n);
    own.outliers?.rows.forEach((row, i) => (isOutlier[row * n + own.outliers!.columns[i]!] = 1));
    expect(place(isOutlier)).toEqual(whole(at('outliers')));
    expect(place(own.codes)).toEqual(whole(at('codes')));
    for (const what of ['scale', 'zero'] as const) {
      expect(maxDifference(own[what], at(what)), what).toBeLessThan(1e-5);
      if (!own.level) continue;
      const second = own.level[what];
      expect(whole(second.codes), what).toEqual(whole(at(`${what}_codes`)));
      expect(maxDifference(second.step, at(`${what}2_scale`)), what).toBeLessThan(1e-5);
      expect(maxDifference(second.start, at(`${what}2_zero`)), what).toBeLessThan(1e-4);
    }
    expect(maxDifference(toFloats(own), at('quantized'))).toBeLessThan(1e-5);

    if (threshold! < Infinity) {
      const live = weight.data.map((x, i) => (found.isDead(i % n) ? 0 : x));
      const placed = order ? columnsInOrder(live, order) : live;
      expect((threshold! * meanCost(placed, found.factor, out, n)) / at('tau')[0]! - 1).toBeCloseTo(0, 4);
    }
    expectBits(own, at('bits'));
  });
});

describe('BiLLM', async () => {
  const golden = await readGolden('billm.safetensors');
  it.each(['even', 'short', 'dead'])('%s', async (name) => {
    const found = await openCase(golden, name, 0.01, false);
    const { at, weight, out, n } = found;
    const block = at('block')[0]!;
    const own = await binarize(programs, weight, found, { block, precision: 'float32' }, signal);
    const isSalient = new Set(own.second?.columns);
    const groups = Array.from(own.classOf, (group, i) => (isSalient.has(i % n) ? 2 : group));
    expect(groups).toEqual(whole(at('group')));
    const salient = whole(at('salient')).map(
      (_, index) => [...isSalient].filter((column) => Math.floor(column / block) === index).length,
    );
    expect(salient).toEqual(whole(at('salient')));
    expect(maxDifference(toFloats(own), at('quantized'))).toBeLessThan(1e-5);

    const [signs, map, stored] = at('bits') as unknown as [number, number, number];
    const form = formOf(own);
    expect(statedBits(form)).toBeCloseTo(signs, 5);
    expect(Math.abs(bitsPerWeight(form) - stored)).toBeLessThan(32 / (out * n));
    expect(map).toBeLessThan(stored);
  });
});

/** Exact bits, but for places and orders in 16 bits where they need fewer, and bytes that a tensor does not fill; and the authors'. */
function expectBits(weight: GridWeight, [exact, stated]: ArrayLike<number> & Iterable<number>): void {
  const form = formOf(weight);
  const [out, n] = weight.shape;
  const places = (weight.outliers?.values.length ?? 0) * (16 - bitsFor(out) - bitsFor(n));
  const order = weight.order ? n * (16 - bitsFor(n)) : 0;
  expect(Math.abs(bitsPerWeight(form) + (places + order) / (out * n) - exact!)).toBeLessThan(32 / (out * n));
  if (form.kind === 'grid' && form.level) expect(statedBits(form)).toBeCloseTo(stated!, 4);
}
