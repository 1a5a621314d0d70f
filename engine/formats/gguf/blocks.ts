/**
 * The tensor types of GGUF that weights on grids are written in, block by block (ggml's `ggml-common.h` has the layouts). Codes go
 * over as they are; what a type cannot hold exactly are scales, zero points, and codes beyond its range.
 */
import { halfBits } from '../floats.js';
import { fitScales } from './fit.js';

/** Consecutive columns of a row: value = scale · (code − zero), with a scale and a zero point for each `run` columns of the type. */
export interface Grids {
  readonly codes: Uint8Array;
  readonly scale: Float32Array;
  readonly zero: Float32Array;
}

export interface BlockType {
  readonly name: string;
  /** ggml's number of it, and the `general.file_type` of files that are mostly of it. */
  readonly id: number;
  readonly fileType: number;
  /** Elements and bytes of a block. */
  readonly elements: number;
  readonly bytes: number;
  /** Columns that must share a scale and a zero point. */
  readonly run: number;
  /** Writes one block to the start of `out`, which holds zeros. */
  encode(this: void, grids: Grids, out: Uint8Array): void;
  /** The values of one block. */
  decode(this: void, bytes: Uint8Array, out: Float32Array): void;
}

/** The values of blocks that follow each other. @param out as many elements as the blocks have */
export function decodeBlocks(
  { elements, bytes: size, decode }: Pick<BlockType, 'elements' | 'bytes' | 'decode'>,
  bytes: Uint8Array,
  out: Float32Array,
): void {
  for (let block = 0; block * size < bytes.length; block++)
    decode(
      bytes.subarray(block * size, (block + 1) * size),
      out.subarray(block * elements, (block + 1) * elements),
    );
}

const putHalf = (out: Uint8Array, at: number, value: number) => {
  const bits = halfBits(value);
  out[at] = bits & 0xff;
  out[at + 1] = bits >>> 8;
};
const halves = new Uint16Array(1);
const words = new Uint8Array(halves.buffer);

/** The float16 at a place. */
function getHalf(bytes: Uint8Array, at: number): number {
  words[0] = bytes[at]!;
  words[1] = bytes[at + 1]!;
  const bits = halves[0]!;
  const fraction = bits & 0x3ff;
  const exponent = (bits >>> 10) & 0x1f;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

const clamp = (x: number, low: number, high: number) => Math.max(low, Math.min(high, x));
const signed = (byte: number) => (byte << 24) >> 24;

/** Blocks of 32 with one scale: 4 bits around 8. Half zero points are written in half steps. */
export const q4_0: BlockType = {
  name: 'Q4_0',
  id: 2,
  fileType: 2,
  elements: 32,
  bytes: 18,
  run: 32,
  encode: ({ codes, scale, zero }, out) => {
    const parts = Number.isInteger(zero[0]!) ? 1 : 2;
    const stored = Uint8Array.from(codes, (c) => clamp(Math.round(parts * (c - zero[0]!)) + 8, 0, 15));
    putHalf(out, 0, scale[0]! / parts);
    putNibbles(out, 2, stored);
  },
  decode: (bytes, out) => {
    const d = getHalf(bytes, 0);
    for (let i = 0; i < 32; i++) out[i] = d * (nibble(bytes, 2, i) - 8);
  },
};

/** Blocks of 32 with one scale and an offset. */
export const q4_1: BlockType = {
  name: 'Q4_1',
  id: 3,
  fileType: 3,
  elements: 32,
  bytes: 20,
  run: 32,
  encode: ({ codes, scale, zero }, out) => {
    putHalf(out, 0, scale[0]!);
    putHalf(out, 2, -scale[0]! * zero[0]!);
    putNibbles(out, 4, codes);
  },
  decode: (bytes, out) => {
    const [d, m] = [getHalf(bytes, 0), getHalf(bytes, 2)];
    for (let i = 0; i < 32; i++) out[i] = d * nibble(bytes, 4, i) + m;
  },
};

/** Blocks of 32 with one scale: 5 bits around 16. */
export const q5_0: Omit<BlockType, 'encode'> = {
  name: 'Q5_0',
  id: 6,
  fileType: 8,
  elements: 32,
  bytes: 22,
  run: 32,
  decode: (bytes, out) => {
    const d = getHalf(bytes, 0);
    for (let i = 0; i < 32; i++) {
      const high = (bytes[2 + (i >> 3)]! >> (i & 7)) & 1;
      out[i] = d * ((nibble(bytes, 6, i) | (high << 4)) - 16);
    }
  },
};

export const q5_1: BlockType = {
  name: 'Q5_1',
  id: 7,
  fileType: 9,
  elements: 32,
  bytes: 24,
  run: 32,
  encode: ({ codes, scale, zero }, out) => {
    putHalf(out, 0, scale[0]!);
    putHalf(out, 2, -scale[0]! * zero[0]!);
    codes.forEach((c, i) => (out[4 + (i >> 3)]! |= (c >> 4) << (i & 7)));
    putNibbles(
      out,
      8,
      codes.map((c) => c & 15),
    );
  },
  decode: (bytes, out) => {
    const [d, m] = [getHalf(bytes, 0), getHalf(bytes, 2)];
    for (let i = 0; i < 32; i++) {
      const high = (bytes[4 + (i >> 3)]! >> (i & 7)) & 1;
      out[i] = d * (nibble(bytes, 8, i) | (high << 4)) + m;
    }
  },
};

/**
 * Blocks of 32 with one scale: 8 bits, −127 to 127. Half zero points are written in half steps; where codes leave the range, they
 * are cut off, or the block's values are rounded again, whichever loses less.
 */
export const q8_0: BlockType = {
  name: 'Q8_0',
  id: 8,
  fileType: 7,
  elements: 32,
  bytes: 34,
  run: 32,
  encode: ({ codes, scale, zero }, out) => {
    const steps = Float32Array.from(codes, (c) => c - zero[0]!);
    const step = Number.isInteger(zero[0]!) ? 1 : 0.5;
    const wider = largestOf(steps) / MOST_BYTE;
    putBytes(
      steps,
      wider > step && byteError(steps, wider) < byteError(steps, step) ? wider : step,
      scale[0]!,
      out,
    );
  },
  decode: (bytes, out) => {
    const d = getHalf(bytes, 0);
    for (let i = 0; i < 32; i++) out[i] = d * signed(bytes[2 + i]!);
  },
};

const MOST_BYTE = 127;

/** A block of `q8_0` of values that lie on no one grid, rounded to nearest. */
export const encodeBytes = (values: Float32Array, out: Uint8Array): void =>
  putBytes(values, largestOf(values) / MOST_BYTE, 1, out);

const largestOf = (values: Float32Array) => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
const toByte = (value: number, step: number) => clamp(Math.round(value / step), -MOST_BYTE, MOST_BYTE);
const byteError = (values: Float32Array, step: number) =>
  values.reduce((sum, x) => sum + (x - step * toByte(x, step)) ** 2, 0);

/** Values times `scale`, in steps of `step` times `scale`. */
function putBytes(values: Float32Array, step: number, scale: number, out: Uint8Array): void {
  putHalf(out, 0, step * scale);
  if (step > 0) values.forEach((value, i) => (out[2 + i] = toByte(value, step)));
}

/** Element j is the low half of byte j, element j + 16 its high half. */
function putNibbles(out: Uint8Array, at: number, values: Uint8Array): void {
  for (let j = 0; j < 16; j++) out[at + j] = values[j]! | (values[j + 16]! << 4);
}

const nibble = (bytes: Uint8Array, at: number, i: number) => (bytes[at + (i & 15)]! >> (i < 16 ? 0 : 4)) & 15;

/** Super-blocks of 256, each 16 with a scale and an offset of 4 bits. */
export const q2_K: BlockType = {
  name: 'Q2_K',
  id: 10,
  fileType: 10,
  elements: 256,
  bytes: 84,
  run: 16,
  encode: ({ codes, scale, zero }, out) => {
    const steps = fitScales(scale, 15);
    const offsets = fitScales(offsetsOf(scale, zero), 15);
    for (let j = 0; j < 16; j++) out[j] = steps.counts[j]! | (offsets.counts[j]! << 4);
    for (let i = 0; i < 256; i++) out[16 + pairByte(i)]! |= codes[i]! << pairShift(i);
    putHalf(out, 80, steps.unit);
    putHalf(out, 82, offsets.unit);
  },
  decode: (bytes, out) => {
    const [d, dmin] = [getHalf(bytes, 80), getHalf(bytes, 82)];
    for (let i = 0; i < 256; i++) {
      const both = bytes[i >> 4]!;
      const q = (bytes[16 + pairByte(i)]! >> pairShift(i)) & 3;
      out[i] = d * (both & 15) * q - dmin * (both >> 4);
    }
  },
};

/** Where the low two bits of an element of 256 lie: in byte 32n + l at bit 2t, for element 128n + 32t + l. */
const pairByte = (i: number) => ((i >> 7) << 5) | (i & 31);
const pairShift = (i: number) => ((i >> 5) & 3) * 2;

const offsetsOf = (scale: Float32Array, zero: Float32Array) => scale.map((s, j) => s * zero[j]!);

/** Super-blocks of 256, each 16 with a scale of 6 bits and a sign: steps −4 to 3, or −3 to 4 with a negative scale. */
export const q3_K: BlockType = {
  name: 'Q3_K',
  id: 11,
  fileType: 11,
  elements: 256,
  bytes: 110,
  run: 16,
  encode: ({ codes, scale, zero }, out) => {
    const steps = Float32Array.from(codes, (c, i) => c - zero[i >> 4]!);
    const factors = Float32Array.from(scale, (_, j) =>
      bestFactor(steps.subarray(16 * j, 16 * j + 16), -4, 3),
    );
    const { unit, counts } = fitScales(
      scale.map((s, j) => s * factors[j]!),
      31,
    );
    for (let i = 0; i < 256; i++) {
      const q = clamp(Math.round(steps[i]! / factors[i >> 4]!), -4, 3) + 4;
      out[i & 31]! |= (q >> 2) << (4 * (i >> 7) + ((i >> 5) & 3));
      out[32 + pairByte(i)]! |= (q & 3) << pairShift(i);
    }
    for (let j = 0; j < 16; j++) {
      const count = counts[j]! + 32;
      out[96 + (j & 7)]! |= (count & 15) << (j < 8 ? 0 : 4);
      out[104 + (j & 3)]! |= (count >> 4) << (2 * (j >> 2));
    }
    putHalf(out, 108, unit);
  },
  decode: (bytes, out) => {
    const d = getHalf(bytes, 108);
    for (let i = 0; i < 256; i++) {
      const j = i >> 4;
      const low = (bytes[96 + (j & 7)]! >> (j < 8 ? 0 : 4)) & 15;
      const count = (low | (((bytes[104 + (j & 3)]! >> (2 * (j >> 2))) & 3) << 4)) - 32;
      const high = (bytes[i & 31]! >> (4 * (i >> 7) + ((i >> 5) & 3))) & 1;
      const q = ((bytes[32 + pairByte(i)]! >> pairShift(i)) & 3) | (high << 2);
      out[i] = d * count * (q - 4);
    }
  },
};

/** Steps of a sub-block may become this many times as large, where its codes leave the range. */
const WIDENED = Array.from({ length: 13 }, (_, i) => 1 + i / 12);

/** The factor on a scale, negative or not, by which values −1 · steps, rounded and within low..high, lose least; 1 first. */
function bestFactor(steps: Float32Array, low: number, high: number): number {
  let [best, least] = [1, Infinity];
  for (const widened of WIDENED)
    for (const factor of [widened, -widened]) {
      let error = 0;
      for (const v of steps) error += (v - factor * clamp(Math.round(v / factor), low, high)) ** 2;
      if (error < least) [best, least] = [factor, error];
      if (least === 0) return best;
    }
  return best;
}

/** Super-blocks of 256, each 32 with a scale and an offset of 6 bits; with `high` a fifth bit of every element. */
function offsetBlocks(name: string, id: number, fileType: number, high: boolean): BlockType {
  const codesAt = high ? 48 : 16;
  return {
    name,
    id,
    fileType,
    elements: 256,
    bytes: codesAt + 128,
    run: 32,
    encode: ({ codes, scale, zero }, out) => {
      const steps = fitScales(scale, 63);
      const offsets = fitScales(offsetsOf(scale, zero), 63);
      putHalf(out, 0, steps.unit);
      putHalf(out, 2, offsets.unit);
      for (let j = 0; j < 8; j++) putSix(out, j, steps.counts[j]!, offsets.counts[j]!);
      for (let i = 0; i < 256; i++) {
        out[codesAt + 32 * (i >> 6) + (i & 31)]! |= (codes[i]! & 15) << (i & 32 ? 4 : 0);
        if (high) out[16 + (i & 31)]! |= (codes[i]! >> 4) << (i >> 5);
      }
    },
    decode: (bytes, out) => {
      const [d, dmin] = [getHalf(bytes, 0), getHalf(bytes, 2)];
      for (let i = 0; i < 256; i++) {
        const [count, offset] = getSix(bytes, i >> 5);
        const low = (bytes[codesAt + 32 * (i >> 6) + (i & 31)]! >> (i & 32 ? 4 : 0)) & 15;
        const fifth = high ? (bytes[16 + (i & 31)]! >> (i >> 5)) & 1 : 0;
        out[i] = d * count * (low | (fifth << 4)) - dmin * offset;
      }
    },
  };
}
export const q4_K = offsetBlocks('Q4_K', 12, 14, false);
export const q5_K = offsetBlocks('Q5_K', 13, 16, true);

/** Scales and offsets of 6 bits of eight sub-blocks lie in bytes 4 to 15: the first four in bytes of their own, the others among them. */
function putSix(out: Uint8Array, j: number, count: number, offset: number): void {
  if (j < 4) {
    out[4 + j]! |= count;
    out[8 + j]! |= offset;
    return;
  }
  out[8 + j]! |= (count & 15) | ((offset & 15) << 4);
  out[j]! |= (count >> 4) << 6;
  out[4 + j]! |= (offset >> 4) << 6;
}

function getSix(bytes: Uint8Array, j: number): readonly [count: number, offset: number] {
  if (j < 4) return [bytes[4 + j]! & 63, bytes[8 + j]! & 63];
  const both = bytes[8 + j]!;
  return [(both & 15) | ((bytes[j]! >> 6) << 4), (both >> 4) | ((bytes[4 + j]! >> 6) << 4)];
}

/** Super-blocks of 256, each 16 with a scale of 8 bits and a sign: steps −32 to 31. */
export const q6_K: BlockType = {
  name: 'Q6_K',
  id: 14,
  fileType: 18,
  elements: 256,
  bytes: 210,
  run: 16,
  encode: ({ codes, scale, zero }, out) => {
    // Twice the count is left for sub-blocks whose codes leave the range; small counts would widen them in coarse steps.
    const { unit, counts } = fitScales(scale, 63, 16);
    for (let j = 0; j < 16; j++) {
      const steps = Float32Array.from(codes.subarray(16 * j, 16 * j + 16), (c) => c - zero[j]!);
      const count = counts[j]!;
      const own = [
        countWithin(steps, count),
        -countWithin(
          steps.map((v) => -v),
          count,
        ),
      ].reduce((a, b) => (Math.abs(b) < Math.abs(a) ? b : a));
      out[192 + j] = own;
      steps.forEach((v, l) => {
        const q = (own === 0 ? 0 : clamp(Math.round((v * count) / own), -32, 31)) + 32;
        const i = 16 * j + l;
        out[lowByte(i)]! |= (q & 15) << (i & 64 ? 4 : 0);
        out[128 + pairByte(i)]! |= (q >> 4) << pairShift(i);
      });
    }
    putHalf(out, 208, unit);
  },
  decode: (bytes, out) => {
    const d = getHalf(bytes, 208);
    for (let i = 0; i < 256; i++) {
      const low = (bytes[lowByte(i)]! >> (i & 64 ? 4 : 0)) & 15;
      const q = low | (((bytes[128 + pairByte(i)]! >> pairShift(i)) & 3) << 4);
      out[i] = d * signed(bytes[192 + (i >> 4)]!) * (q - 32);
    }
  },
};

/** The count, at least `count`, by which steps · count stay within −32 to 31 of it. */
function countWithin(steps: Float32Array, count: number): number {
  let [low, high] = [0, 0];
  for (const v of steps) [low, high] = [Math.min(low, v), Math.max(high, v)];
  return clamp(Math.ceil(count * Math.max(1, high / 31, -low / 32)), count, 127);
}

const lowByte = (i: number) => 64 * (i >> 7) + (i & 63);
