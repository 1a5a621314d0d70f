/** Just enough of WebAssembly's binary format to write a loop over vectors of numbers by hand. */

/** Bytes of instructions, nested as they are put together. */
export type Code = number | readonly Code[];

export const I32 = 0x7f;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;

const simd = (...opcode: readonly number[]): Code => [0xfd, ...opcode];
/** Alignment is a hint. */
const at = (offset: number): Code => [0, unsigned(offset)];
const two =
  (instruction: Code) =>
  (a: Code, b: Code): Code => [a, b, instruction];
const one =
  (instruction: Code) =>
  (a: Code): Code => [a, instruction];

export const get = (local: number): Code => [0x20, local];
export const set = (local: number, value: Code): Code => [value, 0x21, local];
export const int = (value: number): Code => [0x41, signed(value)];
export const add = two(0x6a);
export const subtract = two(0x6b);
export const times = two(0x6c);
/** Of a number that is not negative. */
export const quarter = (value: Code): Code => [value, int(2), 0x76];
export const loadInt = (address: Code, offset = 0): Code => [address, 0x28, at(offset)];
export const storeInt = (address: Code, value: Code, offset = 0): Code => [address, value, 0x36, at(offset)];
export const loadDouble = (address: Code): Code => [address, 0x2b, at(0)];

/** Runs the body once, and again as long as the condition holds then. */
export const repeatWhile = (condition: Code, body: Code): Code => [
  ...[0x03, 0x40],
  body,
  condition,
  ...[0x0d, 0, 0x0b],
];
export const when = (condition: Code, body: Code): Code => [condition, 0x04, 0x40, body, 0x0b];
export const less = two(0x48);
export const atLeast = two(0x4e);

export const load = (address: Code, offset = 0): Code => [address, simd(0), at(offset)];
export const store = (address: Code, value: Code, offset = 0): Code => [
  address,
  value,
  simd(0x0b),
  at(offset),
];
/** Four bytes as float32 numbers. */
export const loadBytes = (address: Code, offset = 0): Code => [
  address,
  ...[simd(0x5c), at(offset), simd(0x89, 0x01), simd(0xa9, 0x01), simd(0xfb, 0x01)],
];
/** Four float32 numbers from 0 to 255 as bytes: the low ones of four integers. */
export const storeBytes = (address: Code, value: Code, offset = 0): Code => [
  ...[address, value, simd(0xf9, 0x01)],
  ...[simd(0x0c), LOW_BYTES, simd(0x0e)],
  ...[simd(0x5a), at(offset), 0],
];
const LOW_BYTES: Code = [0, 4, 8, 12, ...Array.from({ length: 12 }, () => 0xff)];
export const and = two(simd(0x4e));
/** Of the first what is not in the second. */
export const andNot = two(simd(0x4f));

/** Four float32 numbers. `least` and `most` are of numbers that are not NaN. */
export const f32x4 = {
  splat: one(simd(0x13)),
  loadSplat: (address: Code, offset = 0): Code => [address, simd(0x09), at(offset)],
  nearest: one(simd(0x6a)),
  add: two(simd(0xe4, 0x01)),
  sub: two(simd(0xe5, 0x01)),
  mul: two(simd(0xe6, 0x01)),
  div: two(simd(0xe7, 0x01)),
  least: two(simd(0xea, 0x01)),
  most: two(simd(0xeb, 0x01)),
};

/** Two float64 numbers. */
export const f64x2 = {
  splat: one(simd(0x14)),
  /** Two float32 numbers in memory. */
  loadFloats: (address: Code): Code => [address, simd(0x5d), at(0), simd(0x5f)],
  nearest: one(simd(0x94, 0x01)),
  add: two(simd(0xf0, 0x01)),
  sub: two(simd(0xf1, 0x01)),
  mul: two(simd(0xf2, 0x01)),
  div: two(simd(0xf3, 0x01)),
  least: two(simd(0xf6, 0x01)),
  most: two(simd(0xf7, 0x01)),
  /** The sum of both. */
  sum: (local: number): Code => [get(local), simd(0x21), 0, get(local), simd(0x21), 1, 0xa0],
};

/** A function; its locals are numbered behind its parameters. */
export interface WasmFunction {
  readonly name: string;
  readonly parameters: readonly number[];
  readonly result?: number;
  readonly locals: readonly number[];
  readonly body: Code;
}

/** The bytes of a module that imports its memory as `host.memory` and exports the functions. */
export function wasmModule(functions: readonly WasmFunction[]): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ parameters, result }) => [
    0x60,
    list(parameters),
    list(result === undefined ? [] : [result]),
  ]);
  const bodies = functions.map(({ locals, body }) => {
    const code = flat([list(locals.map((type) => [1, type])), body, 0x0b]);
    return [unsigned(code.length), code];
  });
  return Uint8Array.from(
    flat([
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      section(1, list(types)),
      section(2, list([[text('host'), text('memory'), 0x02, 0x00, 1]])),
      section(3, list(functions.map((_, i) => i))),
      section(7, list(functions.map(({ name }, i) => [text(name), 0x00, i]))),
      section(10, list(bodies)),
    ]),
  );
}

function section(id: number, content: Code): Code {
  const bytes = flat(content);
  return [id, unsigned(bytes.length), bytes];
}
const list = (items: readonly Code[]): Code => [unsigned(items.length), ...items];
const text = (name: string): Code => list([...Buffer.from(name)]);
const flat = (code: Code): number[] => (typeof code === 'number' ? [code] : code.flatMap(flat));

/** LEB128 */
function unsigned(value: number): Code {
  const low = value & 0x7f;
  return value < 0x80 ? [low] : [low | 0x80, unsigned(value >>> 7)];
}
function signed(value: number): Code {
  const low = value & 0x7f;
  const rest = value >> 7;
  const isLast = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
  return isLast ? [low] : [low | 0x80, signed(rest)];
}
