/** The random signs of the stream's rotation: drawn from a seed, written as text. */
import { createRandom } from '../../data/random.js';
import { UserError } from '../../errors.js';

/** [size], ±1. */
export function drawSigns(size: number, seed: number): Float32Array {
  const random = createRandom(seed, 'rotation');
  return Float32Array.from({ length: size }, () => 1 - 2 * random.integer(2));
}

/** One bit a sign, set for −1, as hex digits: the first sign is the highest bit of the first digit. Ends in zeros. */
export function signsToText(signs: Float32Array): string {
  const digits = Array<number>(Math.ceil(signs.length / 4)).fill(0);
  signs.forEach((sign, i) => {
    if (sign < 0) digits[i >> 2]! |= 8 >> (i % 4);
  });
  return digits.map((digit) => digit.toString(16)).join('');
}

/** The inverse of `signsToText`. Throws UserError where the text is not of this size. */
export function signsFromText(text: string, size: number): Float32Array {
  if (text.length !== Math.ceil(size / 4))
    throw new UserError(
      `The adapter set turns a stream of up to ${4 * text.length} channels; the model's has ${size}.`,
    );
  return Float32Array.from({ length: size }, (_, i) =>
    parseInt(text[i >> 2]!, 16) & (8 >> (i % 4)) ? -1 : 1,
  );
}
