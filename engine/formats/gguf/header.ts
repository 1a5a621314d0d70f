/** What is read of a GGUF file before llama.cpp is given it: that it is whole, what it is of, and how many tokens it knows. */
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { UserError } from '../../errors.js';
import { show, sizeOfFile } from '../paths.js';

export interface GgufHeader {
  /** As `general.architecture` says it. */
  readonly architecture: string;
  /** Of its tokenizer; 0 where it has none. */
  readonly tokens: number;
  readonly tensors: number;
}

/** Tokenizers of a quarter million tokens take a tenth of it. */
const MAX_HEADER_BYTES = 128 << 20;
const VERSION = 3;
const STRING = 8;
const ARRAY = 9;
/** Bytes of a value, by its type. */
const SIZES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
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
  const string = () => {
    const length = u64();
    const start = skip(length);
    return bytes.toString('utf8', start, start + length);
  };
  const skipItems = (type: number, count: number) => {
    if (type === STRING) for (let i = 0; i < count; i++) skip(u64());
    else if (SIZES[type] !== undefined) skip(SIZES[type] * count);
    else throw new UserError(`${where}: holds values of an unknown type (${type}).`);
  };
  if (bytes.toString('latin1', 0, 4) !== 'GGUF') throw new UserError(`${where}: not a GGUF file.`);
  skip(4);
  const version = u32();
  if (version !== VERSION)
    throw new UserError(`${where}: GGUF of version ${version}; version ${VERSION} is read.`);
  const [tensors, keys] = [u64(), u64()];
  let [architecture, tokens] = ['', 0];
  for (let i = 0; i < keys; i++) {
    const [key, type] = [string(), u32()];
    if (key === 'general.architecture' && type === STRING) {
      architecture = string();
      continue;
    }
    if (type !== ARRAY) {
      skipItems(type, 1);
      continue;
    }
    const [inner, count] = [u32(), u64()];
    if (key === 'tokenizer.ggml.tokens') tokens = count;
    skipItems(inner, count);
  }
  for (let i = 0; i < tensors; i++) {
    const name = string();
    skip(8 * u32() + 4);
    if (u64() >= size)
      throw new UserError(`${where}: the tensor ${show(name)} lies behind the end of the file.`);
  }
  return { architecture, tokens, tensors };
}
