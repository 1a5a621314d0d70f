import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { packCodes, packedBytes, unpackCodes, unpackRow } from './packing.js';

const ROWS = 3;

/** Packed by way of text: each row its bits from the lowest of the first code on, filled up with zeros to whole bytes. */
function packedByHand(codes: Uint8Array, columns: number, bits: number): Uint8Array {
  const bytes: number[] = [];
  for (let row = 0; row < codes.length / columns; row++) {
    const lowestFirst = [...codes.subarray(row * columns, (row + 1) * columns)]
      .map((code) => [...code.toString(2).padStart(bits, '0')].reverse().join(''))
      .join('');
    const filled = lowestFirst.padEnd(8 * Math.ceil(lowestFirst.length / 8), '0');
    for (const [byte] of filled.matchAll(/.{8}/g)) bytes.push(parseInt([...byte].reverse().join(''), 2));
  }
  return Uint8Array.from(bytes);
}

describe.each([1, 2, 3, 4, 5, 6, 7, 8])('codes of %i bits', (bits) => {
  // Rows that end within a byte, and on its border.
  it.each([1, 5, 8, 13, 24])('in rows of %i', (columns) => {
    const random = createRandom(1, 'codes', bits, columns);
    const codes = Uint8Array.from({ length: ROWS * columns }, () => random.integer(2 ** bits));
    const packed = packCodes(codes, columns, bits);
    expect(packed).toEqual(packedByHand(codes, columns, bits));
    expect(packed.length).toBe(ROWS * packedBytes(columns, bits));
    expect(unpackCodes(packed, columns, bits)).toEqual(codes);
  });

  it('of the largest value touch no neighbour', () => {
    const codes = Uint8Array.from({ length: 3 * 7 }, (_, i) => (i % 2 ? 2 ** bits - 1 : 0));
    expect(unpackCodes(packCodes(codes, 7, bits), 7, bits)).toEqual(codes);
  });
});

it('lies in bytes from the lowest bit', () => {
  expect(packCodes(Uint8Array.of(1, 2, 3, 0, 1), 5, 2)).toEqual(Uint8Array.of(0b00_11_10_01, 0b01));
  expect(packCodes(Uint8Array.of(5, 2, 7), 3, 3)).toEqual(Uint8Array.of(0b11_010_101, 0b1));
});

it.each([0, 9, 13, 16, 24])('holds a row of numbers of %i bits', (bits) => {
  const random = createRandom(1, 'numbers', bits);
  const numbers = Uint32Array.from({ length: 37 }, () => random.integer(2 ** bits));
  numbers[3] = 2 ** bits - 1;
  const packed = packCodes(numbers, numbers.length, bits);
  expect(packed.length).toBe(packedBytes(numbers.length, bits));
  expect(unpackRow(packed, numbers.length, bits)).toEqual(numbers);
});
