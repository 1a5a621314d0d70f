import { expect, it } from 'vitest';
import { turned, unpackAwq, unpackRows } from '../../formats/packed-words.js';
import { packAwq, packRows, transposed } from './words.js';

/** [out, in] = [8, 8]. */
const codes = Uint8Array.from({ length: 64 }, (_, i) => (3 * Math.floor(i / 8) + 5 * (i % 8) + 1) % 16);
const zeros = Uint8Array.from({ length: 8 }, (_, n) => 6 + (n % 3));
const stream = (bits: number) => Uint8Array.from({ length: 32 }, (_, i) => (5 * i + 3) % 2 ** bits);

it('packs rows as the libraries do', () => {
  const rows = [
    1336216417, 1926774420, -1525980729, -666987270, 190957357, 1049950800, 1640443267, -1795534666,
  ];
  expect([...packRows(codes, 8, 4)]).toEqual(rows);
  expect([...packRows(zeros, 1, 4)]).toEqual([1988585590]);
  expect([...packRows(Uint8Array.of(17, 250, 128, 3), 1, 8)]).toEqual([58784273]);
});

it.each([
  [3, [1137079619, 1967375989, -965393466]],
  [5, [2037986563, -44692688, 1997763145, 464803953, -160893676]],
  [6, [390648323, 1546361367, 949043179, 663344659, 1346099995, 2039811880]],
  [7, [1917010947, 726435041, 603409752, 1817419046, -949584809, 1094745069, 1013227761]],
] as const)('lets values of %i bits lie across words', (bits, words) => {
  expect([...packRows(stream(bits), 1, bits)]).toEqual(words);
});

it("has outputs in AWQ's order", () => {
  const rows = [
    1621376369, -1241939258, 172939035, 1603480672, -1528270411, -113392118, 1317149535, -1814601564,
  ];
  expect([...packAwq(transposed(codes, 8), 8)]).toEqual(rows);
  expect([...packAwq(zeros, 1)]).toEqual([2020042630]);
});

it.each([1, 2, 3, 4, 5, 6, 7, 8])('are read back at %i bits, rows that end within a word too', (bits) => {
  const values = Uint8Array.from({ length: 3 * 37 }, (_, i) => (7 * i + 3) % 2 ** bits);
  expect(unpackRows(packRows(values, 3, bits), 3, 37, bits)).toEqual(values);
});

it("are read back in AWQ's order, and turned", () => {
  expect(unpackAwq(packAwq(codes, 8), 8, 8)).toEqual(codes);
  expect(turned(transposed(codes, 2), 32)).toEqual(codes);
});
