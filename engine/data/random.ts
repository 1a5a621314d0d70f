/** A stream of pseudo-random numbers. The same seed and path give the same stream, on every platform. */
export interface Random {
  /** A number in [0, 1), a multiple of 2⁻⁵³. Takes two 32-bit words. */
  next(): number;
  /** An unbiased integer in 0..n-1, for n in 1..2³². */
  integer(n: number): number;
  /** A sample of the standard normal distribution (Box–Muller): equal everywhere up to the last bits. */
  normal(): number;
  /** Shuffles `items` in place (Fisher–Yates) and returns them. */
  shuffle<T>(items: T[]): T[];
}

/**
 * A generator for `seed` and `path`. Each path, such as `(seed, 'calibration', 'order', 3)`, has a stream of
 * its own, which no draw from another stream moves: what one part of the engine draws never changes what
 * another part gets. The number 1 and the text '1' are different steps.
 *
 * Built on integers alone: sfc32 (Chris Doty-Humphrey), its 96-bit state and counter seeded from four
 * multiplicative hashes of the path. Not for secrets.
 */
export function createRandom(seed: number, ...path: (number | string)[]): Random {
  const word = sfc32(hash([seed, ...path].map(encode).join('')));
  const next = () => ((word() >>> 5) * 0x4000000 + (word() >>> 6)) / 2 ** 53;
  const integer = (n: number) => {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32)
      throw new RangeError(`integer(n) takes 1 to 2^32, not ${n}.`);
    const limit = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const drawn = word();
      if (drawn < limit) return drawn % n;
    }
  };
  return {
    next,
    integer,
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    shuffle: (items) => {
      for (let i = items.length - 1; i > 0; i--) {
        const j = integer(i + 1);
        [items[i], items[j]] = [items[j]!, items[i]!];
      }
      return items;
    },
  };
}

function encode(step: number | string): string {
  if (typeof step === 'string') return `s${step.length}:${step}`;
  if (!Number.isFinite(step)) throw new RangeError(`A seed must be a finite number, not ${step}.`);
  return `n${String(step)};`;
}

/** Four 32-bit hashes of the UTF-16 units of `text`, mixed with each other (cyrb128). */
function hash(text: string): [number, number, number, number] {
  let [a, b, c, d] = [1779033703, 3144134277, 1013904242, 2773480762];
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    [a, b, c, d] = [
      b ^ Math.imul(a ^ unit, 597399067),
      c ^ Math.imul(b ^ unit, 2869860233),
      d ^ Math.imul(c ^ unit, 951274213),
      a ^ Math.imul(d ^ unit, 2716044179),
    ];
  }
  [a, b, c, d] = [
    Math.imul(c ^ (a >>> 18), 597399067),
    Math.imul(d ^ (b >>> 22), 2869860233),
    Math.imul(a ^ (c >>> 17), 951274213),
    Math.imul(b ^ (d >>> 19), 2716044179),
  ];
  return [a ^ b ^ c ^ d, a ^ b, a ^ c, a ^ d];
}

/** The 32-bit words (unsigned) of sfc32 from `state`, after twenty rounds that mix the state. */
function sfc32([a, b, c, counter]: [number, number, number, number]): () => number {
  const word = () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let round = 0; round < 20; round++) word();
  return word;
}
