/** Integers packed into words of 32 bits, as checkpoints with `quantization_config` have them. */

/** Each row [rows, columns] as a stream of bits, the lowest of a word first: [rows, ⌈columns · bits / 32⌉]. */
export function packRows(values: Uint8Array, rows: number, bits: number): Int32Array {
  const columns = values.length / rows;
  const words = Math.ceil((columns * bits) / 32);
  const out = new Int32Array(rows * words);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const value = values[row * columns + column]!;
      const at = column * bits;
      const word = row * words + (at >> 5);
      out[word]! |= value << (at & 31);
      // Bits that do not fit go on in the next word.
      if ((at & 31) + bits > 32) out[word + 1]! |= value >>> (32 - (at & 31));
    }
  return out;
}

/** [rows, columns] → [columns, rows]. */
export function transposed<T extends Uint8Array | Int32Array | Float32Array>(values: T, rows: number): T {
  const columns = values.length / rows;
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!) as T;
}

/** Where AWQ's kernels want the outputs of a word of eight, from its lowest four bits. */
const AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7];

/** Rows of 4-bit values whose number is a multiple of 8, in AWQ's order: [rows, columns / 8]. */
export const packAwq = (values: Uint8Array, rows: number): Int32Array =>
  packRows(
    values.map((_, i) => values[i - (i % 8) + AWQ_ORDER[i % 8]!]!),
    rows,
    4,
  );
