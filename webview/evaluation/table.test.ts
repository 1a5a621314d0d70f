import { describe, expect, it } from 'vitest';
import { INITIAL, nextSorting, sortRows, toCsv, toJson } from './table.js';
import { full, resultOf, rounding, row } from './testing.js';

const rows = [row('b', 4, 0.8), full, rounding(8, 0.87), row('a', 4, 0.9, { kl: 0.1 })];
const order = (column: string, descending: boolean) =>
  sortRows(rows, { column, descending }).map((r) => `${r.label} ${r.bits}`);

describe('sortRows', () => {
  it('starts with full precision, then from high to low bits; equal rows keep their order', () => {
    expect(sortRows(rows, INITIAL).map((r) => r.label)).toEqual(['full', 'rounding', 'b', 'a']);
  });

  it('turns round', () => {
    expect(order('top1', false)).toEqual(['b 4', 'rounding 8', 'full fp', 'a 4']);
    expect(order('top1', true)).toEqual(['a 4', 'full fp', 'rounding 8', 'b 4']);
    expect(order('label', false)).toEqual(['a 4', 'b 4', 'full fp', 'rounding 8']);
  });

  it('puts rows without a value last either way', () => {
    expect(order('kl', true)).toEqual(['a 4', 'full fp', 'b 4', 'rounding 8']);
    expect(order('kl', false)).toEqual(['full fp', 'a 4', 'b 4', 'rounding 8']);
  });

  it('leaves the rows themselves as they are', () => {
    const before = [...rows];
    order('top1', false);
    expect(rows).toEqual(before);
  });
});

it('sorts a new column as it reads best, and turns the same one round', () => {
  expect(nextSorting(INITIAL, 'top1', true)).toEqual({ column: 'top1', descending: true });
  expect(nextSorting(INITIAL, 'label', false)).toEqual({ column: 'label', descending: false });
  expect(nextSorting(INITIAL, 'bits', true)).toEqual({ column: 'bits', descending: false });
});

describe('exports', () => {
  it('writes CSV with all metrics that occur, and quotes what needs it', () => {
    const csv = toCsv(
      [full, row('a "b", c', 4, 0.5, { method: 'oac', averageBits: 4.16 }), row('=1+1', 2, 0.25)],
      'image-classification',
    );
    expect(csv).toBe(
      'label,kind,method,bits,averageBits,bytes,samples,top1,kl\r\n' +
        'full,full,,fp,,4800000,1000,0.88,0\r\n' +
        '"a ""b"", c",adapters,oac,4,4.16,600000,1000,0.5,\r\n' +
        "'=1+1,adapters,,2,,300000,1000,0.25,\r\n",
    );
  });

  it('writes errors into CSV where there are some', () => {
    const csv = toCsv([full, row('a', 4, 0.5, { scoreError: 0.01 })], 'image-classification');
    expect(csv.split('\r\n').slice(0, 3)).toEqual([
      'label,kind,method,bits,averageBits,bytes,samples,top1,kl,scoreError',
      'full,full,,fp,,4800000,1000,0.88,0,',
      'a,adapters,,4,,600000,1000,0.5,,0.01',
    ]);
  });

  it('writes JSON that says what was measured on what', () => {
    expect(JSON.parse(toJson(resultOf(rows), 'vit'))).toEqual({
      model: 'vit',
      task: 'image-classification',
      evaluationSet: 'pictures',
      date: '1970-01-01T00:00:00.000Z',
      device: 'cpu',
      seconds: 2,
      skipped: 1,
      rows,
    });
  });
});
