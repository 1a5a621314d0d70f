/** Integers out of words of 32 bits, as checkpoints with `quantization_config` have them. */

/** Each row of words [rows, ⌈columns · bits / 32⌉] as a stream of bits, the lowest of a word first: [rows, columns]. */
export function unpackRows(words: Int32Array, rows: number, columns: number, bits: number): Uint8Array {
  const width = Math.ceil((columns * bits) / 32);
  const mask = 2 ** bits - 1;
  const out = new Uint8Array(rows * columns);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const at = column * bits;
      const [word, shift] = [row * width + (at >> 5), at & 31];
      let value = words[word]! >>> shift;
      // Bits that did not fit lie in the next word.
      if (shift + bits > 32) value |= words[word + 1]! << (32 - shift);
      out[row * columns + column] = value & mask;
    }
  return out;
}

/** Where outputs 0 to 7 lie among the eight of a word of AWQ, from its lowest four bits. */
const AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7];

/** Rows of AWQ's words of eight 4-bit values: [rows, columns]. */
export function unpackAwq(words: Int32Array, rows: number, columns: number): Uint8Array {
  const inOrder = unpackRows(words, rows, columns, 4);
  return inOrder.map((_, i) => inOrder[i - (i % 8) + AWQ_PLACES[i % 8]!]!);
}

/** [rows, columns] → [columns, rows]. */
export function turned<T extends Uint8Array | Int32Array | Float32Array>(values: T, rows: number): T {
  const columns = values.length / rows;
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!) as T;
}
