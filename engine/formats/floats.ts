const word = new Uint32Array(1);
const wordAsFloat = new Float32Array(word.buffer);
let halfTable: Uint32Array | undefined;

/** float16 bit patterns as float32 values, exact; NaN payloads are kept. Fills `out` from its start. */
export function halfToFloat32(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array {
  const table = (halfTable ??= Uint32Array.from({ length: 0x10000 }, (_, half) => widenHalf(half)));
  const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < bits.length; i++) words[i] = table[bits[i]!]!;
  return out;
}

/** bfloat16 bit patterns as float32 values, exact; NaN payloads are kept. Fills `out` from its start. */
export function bfloat16ToFloat32(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array {
  const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return out;
}

/** float32 values as float16 bit patterns, rounded half to even; too large a value becomes infinite. */
export function float32ToHalf(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(words, narrowToHalf);
}

/** float32 values as bfloat16 bit patterns, rounded half to even. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(words, (bits) =>
    (bits & 0x7fffffff) > 0x7f800000 ? (bits >>> 16) | 0x40 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16,
  );
}

/** float32 bits of the float16 with bits `half`. */
function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (fraction << 13)) >>> 0;
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0;
  wordAsFloat[0] = fraction * 2 ** -24;
  return (sign | word[0]!) >>> 0;
}

/** float16 bits of the float32 with bits `bits`. */
function narrowToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude <= 0x33000000) return sign;
  if (magnitude >= 0x38800000)
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  const shift = 126 - (magnitude >>> 23);
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const quotient = significand >>> shift;
  const rest = significand & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (quotient + (rest > half || (rest === half && (quotient & 1) === 1) ? 1 : 0));
}

/** float16 bits of the nearest float16 to `value`, rounded half to even from float32. */
export function halfBits(value: number): number {
  wordAsFloat[0] = value;
  return narrowToHalf(word[0]!);
}

/** The value of the nearest float16. */
export function roundToHalf(value: number): number {
  word[0] = widenHalf(halfBits(value));
  return wordAsFloat[0]!;
}
