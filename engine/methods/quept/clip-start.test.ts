import { describe, expect, it } from 'vitest';
import { PAPER_LOGIT, searchClip } from './clip-start.js';
import { NO_CLIP } from './execution.js';
import { normals, quantizedRow, rowsOf, usePrograms } from './testing.js';

const [ROWS, COLUMNS] = [16, 64];
const EVEN = new Float32Array(COLUMNS).fill(1);
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
  importance: ArrayLike<number> = EVEN,
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
  const even = new Float32Array(columns).fill(1);
  const { upper, lower } = await searchClip(programs, { shape, data }, 2, even);
  for (const cut of [upper[0]!, lower[1]!]) expect(cut).toBeLessThan(logitOf(0.4));
  const single = await searchClip(programs, { shape: [1, columns], data: data.slice(columns) }, 2, even);
  expect([single.upper[0], single.lower[0]]).toEqual([upper[1], lower[1]]);
});

it('follows the importance of columns', async () => {
  const importance = Float32Array.from(EVEN, (_, i) => (i % 8 === 0 ? 100 : 0.01));
  const [plain, weighted] = [
    await searchClip(programs, heavyTailed, 3, EVEN),
    await searchClip(programs, heavyTailed, 3, importance),
  ];
  const error = ({ upper, lower }: typeof plain) =>
    total(rowsOf(heavyTailed).map((row, r) => errorOf(row, 3, upper[r]!, lower[r]!, importance)));
  expect(error(weighted)).toBeLessThan(0.9 * error(plain));
});

it('stays finite for rows that are constant, of one sign, or zero', async () => {
  const data = Float32Array.from(
    { length: 4 * COLUMNS },
    (_, i) => [0, 0.5, -0.5, -Math.abs(weights.data[i]!)][Math.floor(i / COLUMNS)]!,
  );
  const { upper, lower } = await searchClip(programs, { shape: [4, COLUMNS], data }, 4, EVEN);
  for (const logit of [...upper, ...lower]) expect(Number.isFinite(logit)).toBe(true);
});
