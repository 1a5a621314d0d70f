import { describe, expect, it } from 'vitest';
import { PAPER_LOGIT, searchClip } from './clip-start.js';
import { NO_CLIP } from './weights.js';
import type { Moments } from '../../execution/moments.js';
import { normals, quantizedRow, rowsOf, usePrograms } from '../../execution/testing.js';

const [ROWS, COLUMNS] = [16, 64];
/** Moments of an input whose columns do not correlate, with these mean squares. */
function uncorrelated(squares: Float32Array, panel = squares.length): Moments {
  const panels = Math.ceil(squares.length / panel);
  const data = new Float32Array(panels * panel * panel);
  squares.forEach((square, c) => {
    data[Math.floor(c / panel) * panel * panel + (c % panel) * (panel + 1)] = square;
  });
  return { data, panel, columns: squares.length };
}
const ONES = new Float32Array(COLUMNS).fill(1);
const EVEN = uncorrelated(ONES);
const programs = usePrograms();

const weights = normals([ROWS, COLUMNS], 'weights');
const heavyTailed = { ...weights, data: weights.data.map((x) => x ** 3) };
const positive = { ...weights, data: weights.data.map(Math.abs) };

/** Weighted squared error of a row at a bit-width and clip logits, in float64. */
const errorOf = (
  row: readonly number[],
  bits: number,
  upper: number,
  lower: number,
  importance: ArrayLike<number> = ONES,
) =>
  quantizedRow(row, bits, upper, lower).reduce((sum, q, i) => sum + importance[i]! * (q - row[i]!) ** 2, 0);
const total = (errors: readonly number[]) => errors.reduce((a, b) => a + b);
const logitOf = (share: number) => Math.log(share / (1 - share));

describe.each([
  ['normal', weights],
  ['heavy-tailed', heavyTailed],
  ['positive', positive],
  ['small', { ...weights, data: weights.data.map((x) => x / 50) }],
])('searched clip logits of %s weights', (_, tensor) => {
  it.each([2, 3, 4, 5, 6, 7, 8])(
    'lose less at %i bits than the whole range and than the paper’s start',
    async (bits) => {
      const { upper, lower } = await searchClip(programs, tensor, bits, EVEN);
      const rows = rowsOf(tensor);
      const found = rows.map((row, r) => errorOf(row, bits, upper[r]!, lower[r]!));
      const at = (logit: number) => rows.map((row) => errorOf(row, bits, logit, logit));
      // The search starts at the logit nearest to the whole range, and no step of it loses.
      at(8).forEach((start, r) => expect(found[r]!).toBeLessThanOrEqual(start * (1 + 1e-4)));
      expect(total(found)).toBeLessThan(total(at(NO_CLIP)));
      expect(total(found)).toBeLessThan(total(at(PAPER_LOGIT)));
    },
  );
});

it('comes close to the best of all pairs', async () => {
  const shares = Array.from({ length: 15 }, (_, i) => logitOf(0.3 + i * 0.05 - (i === 14 ? 1e-4 : 0)));
  for (const bits of [2, 4]) {
    const { upper, lower } = await searchClip(programs, weights, bits, EVEN);
    const rows = rowsOf(weights);
    const best = rows.map((row) =>
      Math.min(...shares.flatMap((u) => shares.map((l) => errorOf(row, bits, u, l)))),
    );
    expect(total(rows.map((row, r) => errorOf(row, bits, upper[r]!, lower[r]!)))).toBeLessThan(
      1.1 * total(best),
    );
  }
});

it('searches every row on its own, and cuts outliers off on their side', async () => {
  const columns = 384;
  const { data, shape } = normals([2, columns], 'outliers');
  // One far outlier above in the first row, below in the second: at 2 bits it is best cut off.
  data[5] = 8;
  data[columns + 5] = -8;
  const even = uncorrelated(new Float32Array(columns).fill(1));
  const { upper, lower } = await searchClip(programs, { shape, data }, 2, even);
  for (const cut of [upper[0]!, lower[1]!]) expect(cut).toBeLessThan(logitOf(0.4));
  const single = await searchClip(programs, { shape: [1, columns], data: data.slice(columns) }, 2, even);
  expect([single.upper[0], single.lower[0]]).toEqual([upper[1], lower[1]]);
});

it('follows the importance of columns', async () => {
  const importance = Float32Array.from(ONES, (_, i) => (i % 8 === 0 ? 100 : 0.01));
  const [plain, weighted] = [
    await searchClip(programs, heavyTailed, 3, EVEN),
    await searchClip(programs, heavyTailed, 3, uncorrelated(importance)),
  ];
  const error = ({ upper, lower }: typeof plain) =>
    total(rowsOf(heavyTailed).map((row, r) => errorOf(row, 3, upper[r]!, lower[r]!, importance)));
  expect(error(weighted)).toBeLessThan(0.9 * error(plain));
});

it('counts errors that cancel in the output as none', async () => {
  // All columns carry the same number: only the sum of a row's errors reaches the output.
  const moments = { data: new Float32Array(COLUMNS ** 2).fill(1), panel: COLUMNS, columns: COLUMNS };
  const outputError = ({ upper, lower }: { upper: Float32Array; lower: Float32Array }) =>
    total(
      rowsOf(weights).map((row, r) => {
        const quantized = quantizedRow(row, 2, upper[r]!, lower[r]!);
        return total(quantized.map((q, i) => q - row[i]!)) ** 2;
      }),
    );
  const [seeing, blind] = [
    await searchClip(programs, weights, 2, moments),
    await searchClip(programs, weights, 2, EVEN),
  ];
  expect(outputError(seeing)).toBeLessThan(0.5 * outputError(blind));
});

it('searches every group of columns by its own block of moments', async () => {
  const squares = Float32Array.from(ONES, (_, i) => 1 + (i % 7));
  const { upper, lower } = await searchClip(programs, weights, 3, uncorrelated(squares, 32), 32);
  const half = (from: number) => ({
    shape: [ROWS, 32],
    data: Float32Array.from(rowsOf(weights).flatMap((row) => row.slice(from, from + 32))),
  });
  for (const [g, from] of [0, 32].entries()) {
    const alone = await searchClip(programs, half(from), 3, uncorrelated(squares.slice(from, from + 32)));
    const own = (logits: Float32Array) => logits.filter((_, i) => i % 2 === g);
    expect([own(upper), own(lower)]).toEqual([alone.upper, alone.lower]);
  }
});

it('stays finite for rows that are constant, of one sign, or zero', async () => {
  const data = Float32Array.from(
    { length: 4 * COLUMNS },
    (_, i) => [0, 0.5, -0.5, -Math.abs(weights.data[i]!)][Math.floor(i / COLUMNS)]!,
  );
  const { upper, lower } = await searchClip(programs, { shape: [4, COLUMNS], data }, 4, EVEN);
  for (const logit of [...upper, ...lower]) expect(Number.isFinite(logit)).toBe(true);
});
