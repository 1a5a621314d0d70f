/** What a GGUF file says before its tensors: keys and values, and where tensors lie. Its bytes are anybody's. */
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { UserError } from '../../errors.js';
import { show, sizeOfFile } from '../paths.js';

export interface GgufTensor {
  readonly name: string;
  /** Rows first. */
  readonly shape: readonly number[];
  /** ggml's number of it. */
  readonly type: number;
  /** Of its first byte in the file. */
  readonly place: number;
}

/** Values are read as they are asked for; undefined where there is none of the key, or it is of another type. */
export interface GgufHeader {
  /** As `general.architecture` says it; empty where nothing does. */
  readonly architecture: string;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Bytes of the file. */
  readonly size: number;
  text(this: void, key: string): string | undefined;
  number(this: void, key: string): number | undefined;
  flag(this: void, key: string): boolean | undefined;
  texts(this: void, key: string): readonly string[] | undefined;
  numbers(this: void, key: string): Float64Array | undefined;
  /** Items of a list, 0 where there is none. */
  count(this: void, key: string): number;
}

/** Tokenizers of a quarter million tokens take a tenth of it. */
const MAX_HEADER_BYTES = 128 << 20;
/** Far above any model's. */
const MAX_KEYS = 1 << 16;
const MAX_TENSORS = 1 << 17;
const MAX_TEXTS = 1 << 20;
const MAX_AXES = 4;
const VERSION = 3;
const ALIGNMENT = 32;
const MAX_ALIGNMENT = 1 << 16;

const BOOL = 7;
const STRING = 8;
const ARRAY = 9;
type Read = (bytes: Buffer, at: number) => number;
/** Numbers by their type: how many bytes one takes, and how it is read. */
const NUMBERS: Readonly<Record<number, readonly [bytes: number, read: Read]>> = {
  0: [1, (bytes, at) => bytes.readUInt8(at)],
  1: [1, (bytes, at) => bytes.readInt8(at)],
  2: [2, (bytes, at) => bytes.readUInt16LE(at)],
  3: [2, (bytes, at) => bytes.readInt16LE(at)],
  4: [4, (bytes, at) => bytes.readUInt32LE(at)],
  5: [4, (bytes, at) => bytes.readInt32LE(at)],
  6: [4, (bytes, at) => bytes.readFloatLE(at)],
  [BOOL]: [1, (bytes, at) => bytes.readUInt8(at)],
  10: [8, (bytes, at) => Number(bytes.readBigUInt64LE(at))],
  11: [8, (bytes, at) => Number(bytes.readBigInt64LE(at))],
  12: [8, (bytes, at) => bytes.readDoubleLE(at)],
};

/** Throws UserError for what is not GGUF of version 3, or is cut off. */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  const size = await sizeOfFile(path);
  const where = basename(path);
  const handle = await open(path, 'r');
  try {
    const bytes = Buffer.alloc(Math.min(size, MAX_HEADER_BYTES));
    let done = 0;
    while (done < bytes.length) {
      const { bytesRead } = await handle.read(bytes, done, bytes.length - done, done);
      if (bytesRead === 0) throw new UserError(`${where}: ends too early; did it change?`);
      done += bytesRead;
    }
    return parsed(bytes, size, where);
  } catch (error) {
    if (error instanceof RangeError)
      throw new UserError(`${where}: its header is cut off or makes no sense.`);
    throw error;
  } finally {
    await handle.close();
  }
}

/** Where a value lies. */
interface Value {
  readonly type: number;
  /** Items of a list; undefined of a single value. */
  readonly count?: number;
  readonly place: number;
}

/** @throws RangeError where it goes on behind the end of the bytes */
function parsed(bytes: Buffer, size: number, where: string): GgufHeader {
  let place = 0;
  /** Steps over so many bytes, which are there. */
  const skip = (count: number): number => {
    if (count > bytes.length - place) throw new RangeError('It ends too early.');
    return (place += count) - count;
  };
  const u32 = () => bytes.readUInt32LE(skip(4));
  const u64 = () => Number(bytes.readBigUInt64LE(skip(8)));
  const stringAt = (at: number) => {
    const length = Number(bytes.readBigUInt64LE(at));
    return bytes.toString('utf8', at + 8, at + 8 + length);
  };
  const string = () => {
    const start = place;
    skip(u64());
    return stringAt(start);
  };
  const skipItems = (type: number, count: number) => {
    if (type === STRING) for (let i = 0; i < count; i++) skip(u64());
    else if (NUMBERS[type] !== undefined) skip(NUMBERS[type][0] * count);
    else throw new UserError(`${where}: holds values of an unknown type (${type}).`);
  };
  const atMost = (count: number, most: number, what: string) => {
    if (count > most) throw new UserError(`${where}: has ${count} ${what}; at most ${most} are read.`);
    return count;
  };
  if (bytes.toString('latin1', 0, 4) !== 'GGUF') throw new UserError(`${where}: not a GGUF file.`);
  skip(4);
  const version = u32();
  if (version !== VERSION)
    throw new UserError(`${where}: GGUF of version ${version}; version ${VERSION} is read.`);
  const tensorCount = atMost(u64(), MAX_TENSORS, 'tensors');
  const keys = atMost(u64(), MAX_KEYS, 'keys');
  const values = new Map<string, Value>();
  for (let i = 0; i < keys; i++) {
    const [key, type] = [string(), u32()];
    if (type === ARRAY) {
      const [inner, count] = [u32(), u64()];
      if (inner === STRING) atMost(count, MAX_TEXTS, `texts of ${show(key)}`);
      values.set(key, { type: inner, count, place });
      skipItems(inner, count);
    } else {
      values.set(key, { type, place });
      skipItems(type, 1);
    }
  }
  const found = (key: string, isList: boolean) => {
    const value = values.get(key);
    return value !== undefined && (value.count !== undefined) === isList ? value : undefined;
  };
  const text = (key: string) => {
    const value = found(key, false);
    return value?.type === STRING ? stringAt(value.place) : undefined;
  };
  const numberOf = (key: string, isFlag: boolean) => {
    const value = found(key, false);
    return value && NUMBERS[value.type] && (value.type === BOOL) === isFlag
      ? NUMBERS[value.type]![1](bytes, value.place)
      : undefined;
  };
  const number = (key: string) => numberOf(key, false);
  const tensors = readTensors(number('general.alignment') ?? ALIGNMENT);

  return {
    architecture: text('general.architecture') ?? '',
    tensors,
    size,
    text,
    number,
    flag: (key) => {
      const value = numberOf(key, true);
      return value === undefined ? undefined : value !== 0;
    },
    texts: (key) => {
      const value = found(key, true);
      if (value?.type !== STRING) return undefined;
      const list: string[] = [];
      for (let i = 0, at = value.place; i < value.count!; i++) {
        list.push(stringAt(at));
        at += 8 + Number(bytes.readBigUInt64LE(at));
      }
      return list;
    },
    numbers: (key) => {
      const value = found(key, true);
      if (!value || !NUMBERS[value.type]) return undefined;
      const [each, read] = NUMBERS[value.type]!;
      return Float64Array.from({ length: value.count! }, (_, i) => read(bytes, value.place + i * each));
    },
    count: (key) => found(key, true)?.count ?? 0,
  };

  function readTensors(alignment: number): ReadonlyMap<string, GgufTensor> {
    if (!Number.isInteger(alignment) || alignment < 1 || alignment > MAX_ALIGNMENT)
      throw new UserError(`${where}: tensors are aligned to ${alignment} bytes, which makes no sense.`);
    const list: GgufTensor[] = [];
    for (let i = 0; i < tensorCount; i++) {
      const name = string();
      const axes = atMost(u32(), MAX_AXES, `axes of the tensor ${show(name)}`);
      const shape = Array.from({ length: axes }, u64).reverse();
      list.push({ name, shape, type: u32(), place: u64() });
    }
    const start = Math.ceil(place / alignment) * alignment;
    const placed = new Map<string, GgufTensor>();
    for (const tensor of list) {
      const { name } = tensor;
      if (placed.has(name)) throw new UserError(`${where}: has two tensors ${show(name)}.`);
      if (start + tensor.place > size)
        throw new UserError(`${where}: the tensor ${show(name)} lies behind the end of the file.`);
      placed.set(name, { ...tensor, place: start + tensor.place });
    }
    return placed;
  }
}
