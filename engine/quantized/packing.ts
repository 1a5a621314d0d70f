/** Whole numbers of a few bits each, 24 at most, side by side in bytes, lowest bits first; every row begins with a byte of its own. */

/** Bytes of a row of `columns` codes. */
export const packedBytes = (columns: number, bits: number): number => Math.ceil((columns * bits) / 8);

/** @param codes [rows, columns], each below 2^bits @returns [rows, packedBytes] */
export function packCodes(codes: Uint8Array | Uint32Array, columns: number, bits: number): Uint8Array {
  const rows = codes.length / columns;
  const bytes = packedBytes(columns, bits);
  const packed = new Uint8Array(rows * bytes);
  for (let row = 0; row < rows; row++) {
    let [held, filled, at] = [0, 0, row * bytes];
    for (let column = 0; column < columns; column++) {
      held |= codes[row * columns + column]! << filled;
      filled += bits;
      for (; filled >= 8; filled -= 8, held >>>= 8) packed[at++] = held & 255;
    }
    if (filled > 0) packed[at] = held;
  }
  return packed;
}

/** The inverse of `packCodes`, for codes of 1 to 8 bits. */
export const unpackCodes = (packed: Uint8Array, columns: number, bits: number): Uint8Array =>
  unpackInto(new Uint8Array((packed.length / packedBytes(columns, bits)) * columns), packed, columns, bits);

/** The inverse of `packCodes` of one row, whose numbers may be of more bits, or of none. */
export const unpackRow = (packed: Uint8Array, columns: number, bits: number): Uint32Array =>
  unpackInto(new Uint32Array(columns), packed, columns, bits);

function unpackInto<T extends Uint8Array | Uint32Array>(
  codes: T,
  packed: Uint8Array,
  columns: number,
  bits: number,
): T {
  const bytes = packedBytes(columns, bits);
  const mask = 2 ** bits - 1;
  for (let row = 0; row < codes.length / columns; row++) {
    let [held, filled, at] = [0, 0, row * bytes];
    for (let column = 0; column < columns; column++) {
      for (; filled < bits; filled += 8) held |= packed[at++]! << filled;
      codes[row * columns + column] = held & mask;
      held >>>= bits;
      filled -= bits;
    }
  }
  return codes;
}
