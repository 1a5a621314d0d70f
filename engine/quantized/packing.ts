/** Codes of a few bits each, side by side in bytes, lowest bits first; every row begins with a byte of its own. */

/** Bytes of a row of `columns` codes. */
export const packedWidth = (columns: number, bits: number): number => Math.ceil((columns * bits) / 8);

/** @param codes [rows, columns], each below 2^bits @returns [rows, packedWidth] */
export function packCodes(codes: Uint8Array, columns: number, bits: number): Uint8Array {
  const rows = codes.length / columns;
  const width = packedWidth(columns, bits);
  const packed = new Uint8Array(rows * width);
  for (let row = 0; row < rows; row++) {
    let [held, filled, at] = [0, 0, row * width];
    for (let column = 0; column < columns; column++) {
      held |= codes[row * columns + column]! << filled;
      filled += bits;
      for (; filled >= 8; filled -= 8, held >>= 8) packed[at++] = held & 255;
    }
    if (filled > 0) packed[at] = held;
  }
  return packed;
}

/** The inverse of `packCodes`. */
export function unpackCodes(packed: Uint8Array, columns: number, bits: number): Uint8Array {
  const width = packedWidth(columns, bits);
  const rows = packed.length / width;
  const codes = new Uint8Array(rows * columns);
  const mask = 2 ** bits - 1;
  for (let row = 0; row < rows; row++) {
    let [held, filled, at] = [0, 0, row * width];
    for (let column = 0; column < columns; column++) {
      for (; filled < bits; filled += 8) held |= packed[at++]! << filled;
      codes[row * columns + column] = held & mask;
      held >>= bits;
      filled -= bits;
    }
  }
  return codes;
}
