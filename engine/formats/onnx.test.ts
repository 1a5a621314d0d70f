import { mkdir, readdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
// eslint-disable-next-line @typescript-eslint/no-restricted-imports -- the reader these bytes are for
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import {
  decodeOnnxModel,
  encodeOnnxModel,
  onnxByteLength,
  onnxTensor,
  readOnnxModel,
  readOnnxTensor,
  writeOnnxModel,
} from './onnx.js';
import type { OnnxAttribute, OnnxModel, OnnxTensor } from './onnx.js';
import { complaint, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();

/** y = clip(x · w + b, no least, 5) */
const model: OnnxModel = {
  irVersion: 9,
  opsets: [
    { domain: '', version: 20 },
    { domain: 'com.microsoft', version: 1 },
  ],
  producerName: 'test',
  graph: {
    name: 'affine',
    nodes: [
      {
        opType: 'Gemm',
        name: 'gemm',
        inputs: ['x', 'w', 'b'],
        outputs: ['h'],
        attributes: { transB: { type: 'int', value: 1 }, alpha: { type: 'float', value: 0.5 } },
      },
      { opType: 'Clip', name: 'clip', inputs: ['h', '', 'most'], outputs: ['y'], attributes: {} },
    ],
    inputs: [{ name: 'x', dataType: 'float32', shape: ['n', 2] }],
    outputs: [{ name: 'y', dataType: 'float32', shape: ['n', 3] }],
    initializers: [
      onnxTensor('w', 'float32', [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6)),
      onnxTensor('b', 'float32', [3], Float32Array.of(0.5, 0, -0.5)),
      onnxTensor('most', 'float32', [], Float32Array.of(5)),
    ],
  },
  metadata: { made: 'by hand' },
};

const withAttributes = (attributes: Record<string, OnnxAttribute>): OnnxModel => ({
  ...model,
  graph: { ...model.graph, nodes: [{ ...model.graph.nodes[0]!, attributes }] },
});

const withTensors = (...initializers: OnnxTensor[]): OnnxModel => ({
  ...model,
  graph: { ...model.graph, initializers },
});

async function run(session: ort.InferenceSession): Promise<number[]> {
  const { y } = await session.run({ x: new ort.Tensor('float32', [1, 1, 2, 0], [2, 2]) });
  return [...(y!.data as Float32Array)];
}

describe('encoding', () => {
  it('gives a model that ONNX Runtime runs', async () => {
    const session = await ort.InferenceSession.create(encodeOnnxModel(model));
    expect(await run(session)).toEqual([2, 3.5, 5, 1.5, 3, 4.5]);
  });

  it('gives the same bytes every time, and the same model back', () => {
    const bytes = encodeOnnxModel(model);
    expect(encodeOnnxModel(structuredClone(model))).toEqual(bytes);
    expect(decodeOnnxModel(bytes)).toEqual(model);
    expect(encodeOnnxModel(decodeOnnxModel(Buffer.from(bytes)))).toEqual(bytes);
  });

  it('keeps every kind of attribute, and the ends of int64', () => {
    const attributes: Record<string, OnnxAttribute> = {
      int: { type: 'int', value: -5 },
      zero: { type: 'int', value: 0 },
      ends: { type: 'ints', value: [2 ** 63, -(2 ** 63), 2 ** 53 - 1, -(2 ** 53) + 1] },
      none: { type: 'ints', value: [] },
      float: { type: 'float', value: -0.25 },
      floats: { type: 'floats', value: [1.5, Infinity] },
      string: { type: 'string', value: 'grün' },
      empty: { type: 'string', value: '' },
      strings: { type: 'strings', value: ['', 'b'] },
      tensor: { type: 'tensor', value: onnxTensor('', 'int64', [1], BigInt64Array.of(3n)) },
    };
    const bytes = encodeOnnxModel(withAttributes(attributes));
    expect(decodeOnnxModel(bytes).graph.nodes[0]!.attributes).toEqual(attributes);
    expect(Buffer.from(bytes).includes(Buffer.from('7fffffffffffffff', 'hex'))).toBe(false);
    expect(Buffer.from(bytes).includes(Buffer.from('40ffffffffffffffff7f', 'hex'))).toBe(true);
  });

  it('writes zeros that were set, as proto2 asks', () => {
    const bytes = Buffer.from(encodeOnnxModel(withAttributes({ axis: { type: 'int', value: 0 } })));
    expect(bytes.includes(Buffer.from('0a046178697318' + '00' + 'a00102', 'hex'))).toBe(true);
  });

  it('keeps value information: unknown rank, unknown size, domain', () => {
    const valueInfos = [
      { name: 'any', dataType: 'float16' as const },
      { name: 'some', dataType: 'int4' as const, shape: ['', 'n', 0] },
    ];
    const node = { ...model.graph.nodes[0]!, domain: 'com.microsoft' };
    const full = { ...model, graph: { ...model.graph, nodes: [node], valueInfos } };
    expect(decodeOnnxModel(encodeOnnxModel(full))).toEqual(full);
  });

  it('refuses data that does not match its shape, and integers it cannot hold', () => {
    expect(() => encodeOnnxModel(withTensors(onnxTensor('t', 'int8', [3], new Int8Array(4))))).toThrow(
      '4 bytes',
    );
    expect(() => encodeOnnxModel(withAttributes({ a: { type: 'int', value: 0.5 } }))).toThrow(
      'not an integer',
    );
  });

  it('counts 4-bit elements in half bytes', () => {
    expect(onnxByteLength('int4', [3, 3])).toBe(5);
    expect(onnxByteLength('float32', [2 ** 40, 2 ** 40])).toBeUndefined();
  });
});

describe('decoding', () => {
  const varint = (value: number): number[] =>
    value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
  const field = (id: number, ...bytes: number[]) => [
    ...varint(id * 8 + 2),
    ...varint(bytes.length),
    ...bytes,
  ];
  const number = (id: number, value: number) => [...varint(id * 8), ...varint(value)];
  const text = (id: number, value: string) => field(id, ...Buffer.from(value));
  const opset = field(8, ...number(2, 20));
  const graph = (...bytes: number[]) => Uint8Array.from([...number(1, 9), ...field(7, ...bytes), ...opset]);
  const tensor = (...bytes: number[]) => graph(...field(5, ...text(8, 't'), ...bytes));
  const node = (...attribute: number[]) => graph(...field(1, ...text(4, 'If'), ...field(5, ...attribute)));

  it.each<[string, number[], OnnxTensor]>([
    [
      'float_data',
      [...number(1, 1), ...number(2, 1), ...field(4, 0, 0, 0x80, 0x3f)],
      onnxTensor('t', 'float32', [1], Float32Array.of(1)),
    ],
    [
      'unpacked int64_data',
      [...number(1, 2), ...number(2, 7), ...number(7, 5), ...number(7, 6)],
      onnxTensor('t', 'int64', [2], BigInt64Array.of(5n, 6n)),
    ],
    [
      'int32_data of int8',
      [...number(1, 1), ...number(2, 3), ...field(5, ...[255, 255, 255, 255, 255, 255, 255, 255, 255, 1])],
      onnxTensor('t', 'int8', [1], Int8Array.of(-1)),
    ],
    [
      'int32_data of float16',
      [...number(1, 1), ...number(2, 10), ...field(5, ...varint(0x3c00))],
      onnxTensor('t', 'float16', [1], Uint16Array.of(0x3c00)),
    ],
    [
      'nothing, for no elements',
      [...number(1, 0), ...number(2, 1)],
      onnxTensor('t', 'float32', [0], new Float32Array()),
    ],
  ])('accepts %s', (_, bytes, expected) => {
    expect(decodeOnnxModel(tensor(...bytes)).graph.initializers).toEqual([expected]);
  });

  const f32 = number(2, 1);
  it.each<[string, Uint8Array, RegExp]>([
    ['no bytes', new Uint8Array(), /no graph or no operator set/],
    ['other bytes', Buffer.from('{"not": "protobuf"}'), /not an ONNX model/],
    ['a cut file', encodeOnnxModel(model).subarray(0, 150), /cut off/],
    ['a cut before the operator sets', graph().subarray(0, 4), /no graph or no operator set/],
    [
      'a short tensor',
      tensor(...number(1, 3), ...f32, ...field(9, 0, 0)),
      /"t" has 2 bytes, but float32 \[3\] needs 12/,
    ],
    ['a missing tensor', tensor(...number(1, 3), ...f32), /has 0 bytes/],
    [
      'a negative size',
      tensor(...[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], ...f32),
      /invalid shape \[-1\]/,
    ],
    ['a huge shape', tensor(...number(1, 2 ** 30), ...number(1, 2 ** 30), ...f32), /invalid shape/],
    ['an unknown data type', tensor(...number(1, 1), ...number(2, 99)), /data type 99/],
    ['text tensors', tensor(...number(1, 1), ...number(2, 8)), /data type 8/],
    [
      'a subgraph',
      node(...text(1, 'then'), ...number(20, 5), ...field(6)),
      /"then" of node "" \("If"\) is of a kind/,
    ],
    ['an attribute of no type', node(...text(1, 'a')), /not supported/],
    ['functions', Uint8Array.from([...graph(), ...varint(25 * 8 + 2), 0]), /model-local functions/],
    ['sparse tensors', graph(...field(15)), /sparse/],
    [
      'a tensor twice',
      graph(...field(5, ...number(1, 0), ...f32), ...field(5, ...number(1, 0), ...f32)),
      /appears twice/,
    ],
    [
      'an input that is no tensor',
      graph(...field(11, ...text(1, 'x'), ...field(2, ...field(4)))),
      /value "x" is not a tensor/,
    ],
  ])('refuses %s', async (_, bytes, message) => {
    const text = await complaint(() => decodeOnnxModel(bytes, 'm.onnx'));
    expect(text).toMatch(/^m\.onnx: /);
    expect(text).toMatch(message);
  });

  it('ends in a model or a complaint for every cut and every changed byte', () => {
    const whole = encodeOnnxModel(model);
    const tried = [...whole.keys()].flatMap((i) => [
      whole.subarray(0, i),
      ...[0x00, 0x7f, 0x80, 0xff].map((byte) => whole.slice().fill(byte, i, i + 1)),
    ]);
    let refused = 0;
    for (const bytes of tried) {
      try {
        decodeOnnxModel(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(whole.length);
  });
});

describe('files', () => {
  const big = onnxTensor('big', 'float32', [1000, 2], new Float32Array(2000).fill(1.5));

  it('keeps small models in one file', async () => {
    await writeOnnxModel(at('m.onnx'), model);
    expect(await readdir(at())).toEqual(['m.onnx']);
    expect(await readOnnxModel(at('m.onnx'))).toEqual(model);
  });

  it('puts large tensors beside the model, aligned, where ONNX Runtime finds them', async () => {
    await writeOnnxModel(at('m.onnx'), model, { externalDataThreshold: 12 });
    expect((await readdir(at())).sort()).toEqual(['m.onnx', 'm.onnx.data']);
    const stored = await readOnnxModel(at('m.onnx'));
    expect(stored.graph.initializers.slice(0, 2)).toMatchObject([
      { name: 'w', external: { location: 'm.onnx.data', offset: 0, length: 24 } },
      { name: 'b', external: { location: 'm.onnx.data', offset: 4096, length: 12 } },
    ]);
    const b = model.graph.initializers[1] as { data: Uint8Array };
    expect(await readOnnxTensor(at('m.onnx'), stored.graph.initializers[1]!)).toEqual(b.data);
    expect(await readOnnxModel(at('m.onnx'), { load: true })).toEqual(model);
    expect(await run(await ort.InferenceSession.create(at('m.onnx')))).toEqual([2, 3.5, 5, 1.5, 3, 4.5]);
    expect((await readFile(at('m.onnx.data'))).length).toBe(4096 + 12);
    await expect(writeOnnxModel(at('n.onnx'), stored)).rejects.toThrow('must be loaded');
  });

  it('leaves the old pair alone when the new one cannot be written', async () => {
    await writeOnnxModel(at('m.onnx'), withTensors(big), { externalDataThreshold: 1 });
    const before = await Promise.all(['m.onnx', 'm.onnx.data'].map((name) => readFile(at(name))));
    const bad = withTensors(big, onnxTensor('bad', 'float32', [1], new Uint8Array(3)));
    await expect(writeOnnxModel(at('m.onnx'), bad, { externalDataThreshold: 1 })).rejects.toThrow('3 bytes');
    expect(await Promise.all(['m.onnx', 'm.onnx.data'].map((name) => readFile(at(name))))).toEqual(before);
    expect((await readdir(at())).length).toBe(2);
  });

  it.each<[string, string, number, RegExp]>([
    ['a parent folder', '../secret', 0, /names "\.\.\/secret", which is not a path inside/],
    ['an absolute path', '/etc/passwd', 0, /not a path inside/],
    ['a link that leaves', 'link', 0, /a link that leaves/],
    ['a missing file', 'none', 0, /which is missing/],
    ['an offset beyond the file', 'data', 93, /tensor "t" ends at byte 101 of data, which has 100/],
    ['a folder', 'sub', 0, /it is not a file/],
  ])('refuses external data in %s', async (_, location, offset, message) => {
    await mkdir(at('m', 'sub'), { recursive: true });
    await writeFile(at('secret'), Buffer.alloc(100));
    await writeFile(at('m', 'data'), Buffer.alloc(100));
    await symlink(at('secret'), at('m', 'link'));
    const external = { location, offset, length: 8 };
    const tensor: OnnxTensor = { name: 't', dataType: 'float32', shape: [2], external };
    await writeFile(at('m', 'm.onnx'), encodeOnnxModel(withTensors(tensor)));
    expect(await complaint(() => readOnnxModel(at('m', 'm.onnx')))).toMatch(message);
    const inAttribute = withAttributes({ value: { type: 'tensor', value: tensor } });
    await writeFile(at('m', 'm.onnx'), encodeOnnxModel(inAttribute));
    expect(await complaint(() => readOnnxModel(at('m', 'm.onnx')))).toMatch(message);
  });

  it('refuses a file that is missing or cut', async () => {
    expect(await complaint(() => readOnnxModel(at('none.onnx')))).toContain('no such file');
    await writeOnnxModel(at('m.onnx'), withTensors(big));
    await truncate(at('m.onnx'), 4000);
    expect(await complaint(() => readOnnxModel(at('m.onnx')))).toMatch(/^m\.onnx: .*cut off/);
  });
});
