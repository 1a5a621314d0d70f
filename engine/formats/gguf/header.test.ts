import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readGgufHeader } from './header.js';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'gguf-'))));
afterAll(() => rm(folder, { recursive: true }));

const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: number | bigint) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const string = (value: string) => Buffer.concat([u64(value.length), Buffer.from(value)]);
const texts = (...values: string[]) =>
  Buffer.concat([u32(9), u32(8), u64(values.length), ...values.map(string)]);
const number = Buffer.concat([u32(4), u32(7)]);

/** A file of such keys and one tensor [4, 2], followed by its 32 bytes. */
function file(
  keys: readonly (readonly [string, Buffer])[],
  offset: number | bigint = 0,
  version = 3,
): Buffer {
  const tensor = Buffer.concat([string('x.weight'), u32(2), u64(4), u64(2), u32(0), u64(offset)]);
  const pairs = keys.map(([key, value]) => Buffer.concat([string(key), value]));
  return Buffer.concat([
    ...[Buffer.from('GGUF'), u32(version), u64(1), u64(keys.length), ...pairs],
    ...[tensor, Buffer.alloc(32)],
  ]);
}
const read = async (bytes: Buffer) => {
  const path = join(folder, 'x.gguf');
  await writeFile(path, bytes);
  return readGgufHeader(path);
};

const KEYS = [
  ['general.architecture', Buffer.concat([u32(8), string('llama')])],
  ['llama.block_count', number],
  ['tokenizer.ggml.tokens', texts('a', 'bc', 'd')],
] as const;

it('tells values by their keys, and where tensors lie', async () => {
  const header = await read(file(KEYS));
  expect(header.architecture).toBe('llama');
  expect(header.count('tokenizer.ggml.tokens')).toBe(3);
  expect(header.texts('tokenizer.ggml.tokens')).toEqual(['a', 'bc', 'd']);
  expect(header.number('llama.block_count')).toBe(7);
  expect(header.text('llama.block_count')).toBeUndefined();
  expect(header.numbers('tokenizer.ggml.tokens')).toBeUndefined();
  const [tensor] = header.tensors.values();
  expect(tensor).toMatchObject({ name: 'x.weight', shape: [2, 4], type: 0 });
  expect(tensor!.place % 32).toBe(0);
});

it('refuses what is cut off anywhere', async () => {
  const whole = file(KEYS);
  for (let length = 5; length < whole.length - 32; length += 3)
    await expect(read(whole.subarray(0, length))).rejects.toThrow(
      /x\.gguf: (its header is cut off|the tensor "x.weight" lies behind the end)/,
    );
});

it('refuses what is something else, or lies', async () => {
  await expect(read(Buffer.from('ELF and more'))).rejects.toThrow('x.gguf: not a GGUF file.');
  await expect(read(file(KEYS, 0, 2))).rejects.toThrow('GGUF of version 2; version 3 is read.');
  await expect(read(file(KEYS, 1e6))).rejects.toThrow('the tensor "x.weight" lies behind the end');
  await expect(read(file([['x', Buffer.concat([u32(9), u32(8), u64(2n ** 60n)])]]))).rejects.toThrow(
    'texts of "x"; at most 1048576 are read',
  );
  await expect(read(file([['x', Buffer.concat([u32(9), u32(4), u64(2n ** 63n)])]]))).rejects.toThrow(
    'cut off',
  );
  await expect(read(file([['x', u32(99)]]))).rejects.toThrow('values of an unknown type (99)');
});
