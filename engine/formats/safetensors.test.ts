import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import { parseSafetensorsHeader } from './safetensors-header.js';
import { openSafetensors, writeSafetensors } from './safetensors.js';
import type { SafetensorsEntry } from './safetensors.js';
import { complaint, safetensorsBytes, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();

const matrix: SafetensorsEntry = {
  name: 'm',
  dtype: 'F32',
  shape: [3, 2],
  data: Float32Array.of(1, -2, 3.5, 4, 5, -0),
};
const flags: SafetensorsEntry = { name: 'a', dtype: 'BOOL', shape: [3], data: Uint8Array.of(1, 0, 1) };
const ids: SafetensorsEntry = { name: 'z', dtype: 'I64', shape: [2], data: BigInt64Array.of(-1n, 2n ** 60n) };

describe('a single file', () => {
  it('gives back what was written', async () => {
    await writeSafetensors(at('x.safetensors'), [matrix, flags, ids], { b: '2', a: 'ä "q"' });
    const source = await openSafetensors(at('x.safetensors'));
    expect([...source.metadata]).toEqual([
      ['a', 'ä "q"'],
      ['b', '2'],
    ]);
    expect(source.byteLength).toBe(24 + 3 + 16);
    expect(source.tensors.get('m')).toMatchObject({ dtype: 'F32', shape: [3, 2], byteLength: 24 });
    expect(await source.read('m')).toEqual(matrix.data);
    expect(await source.readRows('m', 1, 3)).toEqual(Float32Array.of(3.5, 4, 5, -0));
    expect(await source.readRows('m', 2, 2)).toEqual(new Float32Array());
    expect(await source.readInt('z')).toEqual(ids.data);
    expect(await source.readInt('a')).toEqual(BigInt64Array.of(1n, 0n, 1n));
    expect(await source.readBytes('a', 1, 2)).toEqual(Uint8Array.of(0));
    await source.close();
  });

  it('holds scalars, empty tensors, and nothing at all', async () => {
    const scalar: SafetensorsEntry = { name: 's', dtype: 'F32', shape: [], data: Float32Array.of(7) };
    const empty: SafetensorsEntry = { name: 'e', dtype: 'F32', shape: [0, 4], data: new Float32Array() };
    await writeSafetensors(at('x'), [scalar, empty]);
    const source = await openSafetensors(at('x'));
    expect(await source.read('s')).toEqual(Float32Array.of(7));
    expect(await source.read('e')).toEqual(new Float32Array());
    expect(await source.readRows('e', 0, 0)).toEqual(new Float32Array());
    await source.close();
    await writeSafetensors(at('y'), []);
    const nothing = await openSafetensors(at('y'));
    expect(nothing.tensors.size).toBe(0);
    await nothing.close();
  });

  it('decodes and encodes float16, bfloat16 and float64, rows included', async () => {
    const values = Float32Array.of(1, -0.5, 2 ** -24, Infinity, 65504, NaN);
    await writeSafetensors(at('x'), [
      { name: 'h', dtype: 'F16', shape: [3, 2], data: values },
      { name: 'b', dtype: 'BF16', shape: [2], data: Uint16Array.of(0x3f80, 0xff80) },
      { name: 'd', dtype: 'F64', shape: [2], data: Float64Array.of(0.1, -1) },
    ]);
    const source = await openSafetensors(at('x'));
    expect(await source.read('h')).toEqual(values);
    expect(await source.readRows('h', 1, 2)).toEqual(Float32Array.of(2 ** -24, Infinity));
    expect(await source.read('b')).toEqual(Float32Array.of(1, -Infinity));
    expect(await source.read('d')).toEqual(Float32Array.of(0.1, -1));
    await source.close();
  });

  it('decodes tensors larger than its buffer', async () => {
    const data = new Uint16Array(5_000_001);
    data[2_097_151] = 0x3c00;
    data[2_097_152] = 0x4000;
    data[5_000_000] = 0x4200;
    await writeSafetensors(at('x'), [{ name: 'h', dtype: 'F16', shape: [data.length], data }]);
    const source = await openSafetensors(at('x'));
    const values = await source.read('h');
    expect([values[2_097_151], values[2_097_152], values[5_000_000], values[0]]).toEqual([1, 2, 3, 0]);
    await source.close();
  });

  it('gives the bytes of tensors of dtypes that nothing is known of, and no numbers', async () => {
    const tensor = { dtype: 'F4', shape: [2, 2], data_offsets: [0, 2] };
    await writeFile(at('x.safetensors'), safetensorsBytes({ a: tensor }, Uint8Array.of(0x12, 0x34)));
    const source = await openSafetensors(at('x.safetensors'));
    expect(source.tensors.get('a')).toMatchObject({ dtype: 'F4', shape: [2, 2], byteLength: 2 });
    expect(await source.readBytes('a')).toEqual(Uint8Array.of(0x12, 0x34));
    expect(await complaint(() => source.read('a'))).toContain('holds F4, not floating-point numbers');
    await source.close();
  });

  it('names the tensor and the file when asked for what it has not', async () => {
    await writeSafetensors(at('x.safetensors'), [matrix, ids]);
    const source = await openSafetensors(at('x.safetensors'));
    expect(await complaint(() => source.read('w'))).toBe('x.safetensors: there is no tensor "w".');
    expect(await complaint(() => source.read('z'))).toBe(
      'x.safetensors: tensor "z" holds I64, not floating-point numbers.',
    );
    expect(await complaint(() => source.readInt('m'))).toContain('tensor "m" holds F32, not integers');
    await expect(source.readRows('m', 0, 4)).rejects.toThrow(RangeError);
    await truncate(at('x.safetensors'), 100);
    expect(await complaint(() => source.read('m'))).toContain('did it change while open?');
    await source.close();
  });
});

describe('writeSafetensors', () => {
  it('gives the same aligned bytes in whatever order it is given them, and their hash', async () => {
    const first = await writeSafetensors(at('x'), [matrix, flags, ids], { b: '', a: '' });
    await writeSafetensors(at('y'), [ids, flags, matrix], { a: '', b: '' });
    const bytes = await readFile(at('x'));
    expect(await readFile(at('y'))).toEqual(bytes);
    expect(first).toEqual({
      byteLength: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
    expect(bytes.readBigUInt64LE() % 8n).toBe(0n);
    expect(
      [
        ...bytes
          .subarray(8)
          .toString()
          .matchAll(/"(\w)":\{"dtype/g),
      ].map((match) => match[1]),
    ).toEqual(['z', 'm', 'a']);
  });

  it('makes tensors one at a time, and keeps the old file when one cannot be made', async () => {
    const order: string[] = [];
    const lazy = (name: string): SafetensorsEntry => ({
      ...matrix,
      name,
      data: () => {
        order.push(name);
        return name === 'bad' ? Promise.reject(new Error('lost')) : Promise.resolve(new Float32Array(6));
      },
    });
    await writeSafetensors(at('x'), [lazy('b'), lazy('a')]);
    expect(order).toEqual(['a', 'b']);
    const before = await readFile(at('x'));
    await expect(writeSafetensors(at('x'), [lazy('a'), lazy('bad')])).rejects.toThrow('lost');
    expect(await readFile(at('x'))).toEqual(before);
    expect(await readdir(at())).toEqual(['x']);
  });

  it('refuses data that does not fit its declaration', async () => {
    await expect(writeSafetensors(at('x'), [{ ...matrix, shape: [2, 2] }])).rejects.toThrow('24 bytes');
    await expect(writeSafetensors(at('x'), [{ ...matrix, dtype: 'I32' }])).rejects.toThrow(
      'does not hold I32',
    );
    await expect(writeSafetensors(at('x'), [matrix, matrix])).rejects.toThrow('taken');
    expect(await readdir(at())).toEqual([]);
  });
});

describe('a hostile file', () => {
  const f32 = (shape: unknown, begin: unknown, end: unknown, dtype: unknown = 'F32') => ({
    dtype,
    shape,
    data_offsets: [begin, end],
  });
  const good = f32([2], 0, 8);
  const one = (tensor: unknown, bytes = 8) => safetensorsBytes({ a: tensor }, bytes);

  it.each<[string, Uint8Array, RegExp]>([
    ['empty', Buffer.alloc(0), /only 0 bytes/],
    ['7 bytes', Buffer.alloc(7), /only 7 bytes/],
    ['header beyond the end', safetensorsBytes({ a: good }, 8, 99n), /cut off \(header of 99/],
    ['absurd header length', safetensorsBytes({ a: good }, 8, 2n ** 64n - 1n), /cut off/],
    ['header not JSON', safetensorsBytes('hello!!!', 8), /its header is not JSON/],
    ['header a list', safetensorsBytes('[]', 8), /its header is not JSON/],
    ['empty header', safetensorsBytes('', 8), /its header is not JSON/],
    ['header cut', safetensorsBytes('{"a":', 8), /ends too early/],
    ['a name twice', safetensorsBytes(`{"a":${JSON.stringify(good)},"a":1}`, 8), /"a" appears twice/],
    ['__proto__', safetensorsBytes(`{"__proto__":${JSON.stringify(good)}}`, 8), /"__proto__" is not allowed/],
    ['invalid UTF-8', safetensorsBytes('{"\xff":1}', 0).fill(0xff, 10, 11), /not valid UTF-8/],
    ['tensor not an object', one([1]), /"a" must be an object/],
    ['metadata not text', safetensorsBytes({ __metadata__: { k: 1 } }, 0), /"k" must be a text/],
    ['a dtype that is no name', one(f32([2], 0, 8, 'F 8')), /invalid dtype "F 8"/],
    ['missing dtype', one({ shape: [2], data_offsets: [0, 8] }), /dtype nothing/],
    ['negative shape', one(f32([-2], 0, 8)), /invalid shape \[-2\]/],
    ['fractional shape', one(f32([0.5], 0, 2)), /invalid shape \[0.5\]/],
    ['shape of text', one(f32(['2'], 0, 8)), /invalid shape \["2"\]/],
    ['shape beyond 2^53', one(f32([2 ** 40, 2 ** 40], 0, 8)), /too large/],
    ['overflow hidden by a zero', one(f32([2 ** 40, 2 ** 40, 0], 0, 0), 0), /too large/],
    ['wrong byte length', one(f32([3], 0, 8)), /has 8 bytes, but "F32" \[3\] needs 12/],
    ['offsets out of range', one(f32([4], 0, 16)), /bytes 0 to 16, but the file holds 0 to 8/],
    ['begin after end', one(f32([2], 8, 0)), /bytes 8 to 0/],
    ['negative offset', one(f32([2], -8, 0)), /invalid data_offsets/],
    ['three offsets', one({ dtype: 'F32', shape: [2], data_offsets: [0, 4, 8] }), /invalid data_offsets/],
    ['overlap', safetensorsBytes({ a: good, b: f32([2], 4, 12) }, 12), /"b" overlaps/],
    ['the same bytes twice', safetensorsBytes({ a: good, b: good }, 8), /overlaps/],
    ['hole', safetensorsBytes({ a: good, b: f32([1], 12, 16) }, 16), /4 bytes before tensor "b"/],
    ['trailing bytes', one(good, 10), /the last 2 bytes of the file belong to no tensor/],
  ])('is refused: %s', async (_, bytes, message) => {
    await writeFile(at('x.safetensors'), bytes);
    const text = await complaint(() => openSafetensors(at('x.safetensors')));
    expect(text).toMatch(/^x\.safetensors: /);
    expect(text).toMatch(message);
  });

  it('ends in tensors or a complaint for every cut and every changed byte of a header', async () => {
    await writeSafetensors(at('x'), [matrix, flags, ids], { a: 'b' });
    const header = (await readFile(at('x'))).subarray(8, -43);
    parseSafetensorsHeader(header, 43, 'x');
    const tried = [...header.keys()].flatMap((i) => [
      header.subarray(0, i),
      ...['\0', '"', '{', '9', '-', '\xff'].map((byte) => Buffer.from(header).fill(byte, i, i + 1, 'latin1')),
    ]);
    for (const bytes of tried) {
      try {
        parseSafetensorsHeader(bytes, 43, 'x');
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
      }
    }
  });

  it('is refused with a header above 16 MiB, however long the file', async () => {
    await writeFile(at('x'), safetensorsBytes('{', 0, 16_777_217n));
    await truncate(at('x'), 200_000_000);
    expect(await complaint(() => openSafetensors(at('x')))).toContain('above the limit of 16777216');
  });
});

describe('shards', () => {
  const index = 'model.safetensors.index.json';
  const other: SafetensorsEntry = { ...matrix, name: 'o' };

  async function shards(weightMap: unknown): Promise<void> {
    await mkdir(at('model'), { recursive: true });
    await writeSafetensors(at('model', '1.safetensors'), [matrix]);
    await writeSafetensors(at('model', '2.safetensors'), [other, ids]);
    await writeFile(at('model', index), JSON.stringify({ metadata: {}, weight_map: weightMap }));
  }

  it('are one source, opened by index or by folder, whatever the index says of single tensors', async () => {
    await shards({ m: '1.safetensors', o: '1.safetensors', nowhere: '2.safetensors' });
    for (const path of [at('model'), at('model', index)]) {
      const source = await openSafetensors(path);
      expect([...source.tensors.keys()]).toEqual(['m', 'z', 'o']);
      expect(source.byteLength).toBe(64);
      expect(await source.read('o')).toEqual(matrix.data);
      expect(await complaint(() => source.read('nowhere'))).toBe(`${index}: there is no tensor "nowhere".`);
      await source.close();
    }
  });

  it('give way to model.safetensors, and a folder with neither is refused', async () => {
    await shards({ m: '1.safetensors' });
    await writeSafetensors(at('model', 'model.safetensors'), [ids]);
    const source = await openSafetensors(at('model'));
    expect([...source.tensors.keys()]).toEqual(['z']);
    await source.close();
    expect(await complaint(() => openSafetensors(at()))).toContain('holds neither model.safetensors nor');
    expect(await complaint(() => openSafetensors(at('none')))).toContain('no such file or folder');
  });

  it.each<[string, unknown, RegExp]>([
    ['no weight_map', undefined, /"weight_map" must be an object, but is missing/],
    ['a number for a shard', { m: 1 }, /"m" must be a text, found 1/],
    [
      'a parent folder',
      { m: '../1.safetensors' },
      /names "\.\.\/1\.safetensors", which is not a path inside/,
    ],
    ['a hidden parent', { m: 'a/../../1.safetensors' }, /not a path inside/],
    ['a Windows parent', { m: '..\\1.safetensors' }, /not a path inside/],
    ['an absolute path', { m: '/etc/passwd' }, /names "\/etc\/passwd", which is not a path inside/],
    ['a drive', { m: 'C:\\1.safetensors' }, /not a path inside/],
    ['a missing shard', { m: '3.safetensors' }, /names "3\.safetensors", which is missing/],
  ])('are refused: %s', async (_, weightMap, message) => {
    await shards(weightMap);
    expect(await complaint(() => openSafetensors(at('model')))).toMatch(message);
  });

  it('are refused when two hold the same tensor', async () => {
    await shards({ m: '1.safetensors', o: '2.safetensors' });
    await writeSafetensors(at('model', '2.safetensors'), [other, matrix]);
    expect(await complaint(() => openSafetensors(at('model')))).toBe(
      `${index}: tensor "m" is in two shards, 1.safetensors and 2.safetensors.`,
    );
  });

  it('may be links within the folder, or into the blobs of a Hugging Face cache, and nowhere else', async () => {
    await shards({ m: 'link.safetensors' });
    const open = async (target: string, folder = 'model') => {
      await rm(at(folder, 'link.safetensors'), { force: true });
      await symlink(target, at(folder, 'link.safetensors'));
      const source = await openSafetensors(at(folder));
      await source.close();
    };
    await open('1.safetensors');
    await writeSafetensors(at('outside.safetensors'), [matrix]);
    expect(await complaint(() => open('../outside.safetensors'))).toContain('a link that leaves its folder');
    await mkdir(at('hub', 'blobs'), { recursive: true });
    await mkdir(at('hub', 'snapshots', 'main'), { recursive: true });
    await writeSafetensors(at('hub', 'blobs', 'abc'), [matrix]);
    await writeFile(
      at('hub', 'snapshots', 'main', index),
      JSON.stringify({ weight_map: { m: 'link.safetensors' } }),
    );
    await open('../../blobs/abc', 'hub/snapshots/main');
    expect(await complaint(() => open(at('outside.safetensors'), 'hub/snapshots/main'))).toContain('a link');
  });
});
