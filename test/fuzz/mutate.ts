/** Valid samples made a little, or very, wrong: values of JSON by their structure, and bytes. */
import type { Random } from '../../engine/data/random.js';

type Tree = unknown[] | Record<string, unknown>;

export const pick = <T>(random: Random, items: readonly T[]): T => items[random.integer(items.length)]!;

const nested = (depth: number, open: string, close: string): string =>
  open.repeat(depth) + close.repeat(depth);

/** Texts that a program may not expect. */
const TEXTS: readonly string[] = [
  ...['', ' ', 'x', '0', '-1', 'null', '\u0000', '\u001b]0;x\u0007', '\u202e', '\ud800', '..', '../../etc/passwd', '/etc/passwd', 'C:\\x', 'a/b'],
  ...['__proto__', 'constructor', 'toString', 'length', '[x](command:y)', '*', '**a**a**a**b', '(a+)+$', '%s%n', 'é'.repeat(300), 'x'.repeat(100_000)],
]; // prettier-ignore

const VALUES: readonly unknown[] = [
  ...[null, true, false, 0, -0, 1, -1, 2, 3, 7, 8, 9, 16, 255, 256, 65_536, 0.5, 1.5, -0.1, 1e-320, 1e308, -1e308],
  ...[2 ** 24, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63, [], {}, [[]], [{}], [null], [1, 2, 3], { a: 1 }],
]; // prettier-ignore

/** What JSON has no value for, put into its text. */
const RAW: readonly string[] = [
  ...['NaN', 'Infinity', '-Infinity', '1e999', '-1e999', '01', '1.', '+1', '0x10', "'x'", 'undefined', '1,', '"\\ud800"', '"\\x"'],
  ...['/*x*/1', '[1,]', '{"a":1,"a":2}', '{"__proto__":{"x":1}}', nested(99, '[', ']'), nested(5000, '[', ']'), '9'.repeat(500)],
]; // prettier-ignore

const HOLE = '\ufdd0';

/** The text of `value` with one to four changes to its structure, some that JSON cannot hold. */
export function mutateJson(random: Random, value: unknown): string {
  const root = { root: structuredClone(value) };
  const raw: string[] = [];
  for (let i = 1 + random.integer(4); i > 0; i--) change(random, root, raw);
  const text = JSON.stringify(root.root, undefined, random.integer(4) === 0 ? 1 : undefined) ?? '';
  return text.replaceAll(`"${HOLE}"`, () => raw.pop() ?? 'null');
}

function change(random: Random, root: Tree, raw: string[]): void {
  const places = placesOf(root);
  if (places.length === 0) return;
  // The keys next to the root are few, and decide the most.
  const some = random.integer(2) === 0 ? places.slice(0, 40) : places;
  const [parent, key] = pick(random, some);
  const put = (value: unknown) => void ((parent as Record<string | number, unknown>)[key] = value);
  const old = (parent as Record<string | number, unknown>)[key];
  switch (random.integer(9)) {
    case 0:
    case 1:
      return put(structuredClone(pick(random, VALUES)));
    case 2:
      return put(pick(random, TEXTS));
    case 3:
      raw.push(pick(random, RAW));
      return put(HOLE);
    case 4:
      if (Array.isArray(parent)) parent.splice(Number(key), 1);
      else Reflect.deleteProperty(parent, key);
      return;
    case 5:
      return put(structuredClone(valueAt(pick(random, places))));
    case 6:
      return put(typeof old === 'number' ? nearby(random, old) : typeof old === 'string' ? cut(random, old) : old);
    case 7:
      if (Array.isArray(old)) put([...(old as unknown[]), ...structuredClone(old as unknown[])]);
      else if (isTree(old)) (old as Record<string, unknown>)[pick(random, TEXTS)] = structuredClone(pick(random, VALUES));
      return;
    default:
      if (Array.isArray(parent)) return put(repeated(random, old));
      (parent)[pick(random, TEXTS)] = old;
      Reflect.deleteProperty(parent, key);
  }
} // prettier-ignore

/** Many of a value, up to a megabyte of text. */
function repeated(random: Random, value: unknown): unknown[] {
  const size = (JSON.stringify(value) ?? '').length + 1;
  const length = 1 + random.integer(Math.min(20_000, 1 + Math.floor(1e6 / size)));
  return Array.from({ length }, () => structuredClone(value));
}

type Place = readonly [Tree, string | number];

const valueAt = ([parent, key]: Place): unknown => (parent as Record<string | number, unknown>)[key];
const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null;

/** Where values stand, the outer ones first; of large trees not all. */
function placesOf(root: Tree): Place[] {
  const places: Place[] = [];
  const trees: Tree[] = [root];
  for (let tree = trees.shift(); tree && places.length < 3000; tree = trees.shift())
    for (const key of Object.keys(tree).slice(0, 300)) {
      places.push([tree, Array.isArray(tree) ? Number(key) : key]);
      const value = valueAt(places.at(-1)!);
      if (isTree(value)) trees.push(value);
    }
  return places;
}

const nearby = (random: Random, value: number): number =>
  pick(random, [
    value + 1,
    value - 1,
    -value,
    value * 2,
    value / 2,
    value * 1000,
    value + 0.5,
    2 ** 32 + value,
  ]);

function cut(random: Random, text: string): string {
  const at = random.integer(text.length + 1);
  return pick(random, [text.slice(0, at), text.slice(at), text + text, text.slice(0, at) + pick(random, TEXTS) + text.slice(at)]); // prettier-ignore
}

const BYTES = [0, 1, 0x22, 0x2c, 0x7b, 0x7d, 0x5b, 0x5d, 0x7f, 0x80, 0xff];
const NUMBERS = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x100, 0x10_0000];

/** Bytes with one to six changes: of bits, numbers, and parts that are gone, doubled or of another sample. */
export function mutateBytes(random: Random, bytes: Uint8Array, others: readonly Uint8Array[] = []): Buffer {
  let changed = Buffer.from(bytes);
  for (let i = 1 + random.integer(6); i > 0; i--) changed = changeBytes(random, changed, others);
  return changed;
}

function changeBytes(random: Random, bytes: Buffer, others: readonly Uint8Array[]): Buffer<ArrayBuffer> {
  const at = random.integer(bytes.length + 1);
  const end = Math.min(bytes.length, at + 1 + random.integer(64));
  const join = (...parts: Uint8Array[]) => Buffer.concat(parts);
  if (bytes.length < 9) return join(bytes, Buffer.from([pick(random, BYTES)]));
  const spot = Math.min(at, bytes.length - 8);
  switch (random.integer(9)) {
    case 0:
      bytes[spot]! ^= 1 << random.integer(8);
      return join(bytes);
    case 1:
      bytes[spot] = pick(random, BYTES);
      return join(bytes);
    case 2:
      bytes.writeUInt32LE(pick(random, NUMBERS), spot);
      return join(bytes);
    case 3:
      bytes.writeUInt32BE(pick(random, NUMBERS), spot);
      return join(bytes);
    case 4:
      return join(bytes.subarray(0, at));
    case 5:
      return join(bytes.subarray(0, at), bytes.subarray(end));
    case 6:
      return join(bytes.subarray(0, end), bytes.subarray(at));
    case 7: {
      const other = others.length > 0 ? pick(random, others) : bytes;
      return join(bytes.subarray(0, at), other.subarray(random.integer(other.length + 1)));
    }
    default:
      return join(bytes.subarray(0, at), Buffer.alloc(1 + random.integer(200), pick(random, BYTES)), bytes.subarray(at));
  }
} // prettier-ignore

/** The text of a JSON value, wrong in its structure or in its bytes. */
export function mutateText(random: Random, value: unknown): Buffer {
  if (random.integer(5) === 0) return mutateBytes(random, Buffer.from(JSON.stringify(value)));
  const text = Buffer.from(mutateJson(random, value));
  return random.integer(8) === 0 ? mutateBytes(random, text) : text;
}
