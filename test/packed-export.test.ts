/** Checkpoints of packed integers, unpacked by what their formats say alone. */
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { usePrograms } from '../engine/execution/testing.js';
import { layerNames } from '../engine/execution/model.js';
import type { ExportContext } from '../engine/exporters/exporter.js';
import { compressedTensors } from '../engine/exporters/packed/containers.js';
import {
  awqCheckpoint,
  compressedTensorsCheckpoint,
  gptqCheckpoint,
  packedCheckpoint,
} from '../engine/exporters/packed/packed.js';
import { openSafetensors, type TensorSource } from '../engine/formats/safetensors.js';
import { tied } from '../engine/plans/fused.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import { toFloats, type GridWeight } from '../engine/quantized/weight.js';
import { makeRoundingSet, withExportContext } from './exports.js';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from './fixtures.js';

const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('llama'), { ...TINY_LLAMA, hidden_size: 64, intermediate_size: 96 });
  await makeRoundingSet(programs, at('llama'), at('set'));
});
afterAll(() => cleanUp());

const withContext = <T>(bits: number, use: (context: ExportContext) => Promise<T>) =>
  withExportContext(programs, at('llama'), at('set'), bits, (context) => use(context));

/** The bits at a place of a stream of words. */
const field = (words: Int32Array, start: number, bits: number) =>
  Array.from({ length: bits }, (_, i) => ((words[(start + i) >> 5]! >>> ((start + i) & 31)) & 1) << i).reduce(
    (a, b) => a | b,
    0,
  );

function reader(source: TensorSource, layer: string) {
  const int32 = async (suffix: string) => {
    const bytes = await source.readBytes(`${layer}.${suffix}`);
    return new Int32Array(Uint8Array.from(bytes).buffer);
  };
  const column = (words: Int32Array, width: number, n: number) => words.filter((_, i) => i % width === n);
  const shape = (suffix: string) => source.tensors.get(`${layer}.${suffix}`)!.shape as [number, number];
  return { int32, column, shape, floats: (suffix: string) => source.read(`${layer}.${suffix}`) };
}

/** Value of an element of a layer that has one scale for each row. */
type Unpack = (row: number, column: number) => number;

const unpackers: Readonly<
  Record<string, (source: TensorSource, layer: string, bits: number) => Promise<Unpack>>
> = {
  'compressed-tensors': async (source, layer, bits) => {
    const { int32, shape, floats } = reader(source, layer);
    const isSymmetric = !source.tensors.has(`${layer}.weight_zero_point`);
    const zeros = isSymmetric ? undefined : await int32('weight_zero_point');
    const [packed, scale] = [await int32('weight_packed'), await floats('weight_scale')];
    const [, words] = shape('weight_packed');
    return (row, column) =>
      scale[row]! *
      (field(packed.subarray(row * words, (row + 1) * words), column * bits, bits) -
        (zeros ? field(zeros, row * bits, bits) : 2 ** (bits - 1)));
  },
  gptq: async (source, layer, bits) => {
    const { int32, column: columnOf, shape, floats } = reader(source, layer);
    const [weights, zeros, scale, groups] = [
      await int32('qweight'),
      await int32('qzeros'),
      await floats('scales'),
      await int32('g_idx'),
    ];
    const [, out] = shape('qweight');
    expect(new Set(groups)).toEqual(new Set([0]));
    const streams = Array.from({ length: out }, (_, n) => columnOf(weights, out, n));
    return (row, column) =>
      scale[row]! * (field(streams[row]!, column * bits, bits) - field(zeros, row * bits, bits));
  },
  awq: async (source, layer) => {
    const { int32, shape, floats } = reader(source, layer);
    const [weights, zeros, scale] = [await int32('qweight'), await int32('qzeros'), await floats('scales')];
    const [, words] = shape('qweight');
    const place = (row: number) => Math.floor(row / 8) * 32 + 4 * [0, 4, 1, 5, 2, 6, 3, 7][row % 8]!;
    return (row, column) =>
      scale[row]! *
      (field(weights.subarray(column * words, (column + 1) * words), place(row), 4) -
        field(zeros, place(row), 4));
  },
};

describe.each([
  [compressedTensorsCheckpoint, [2, 3, 4, 5, 6, 7, 8], (bits: number) => (bits <= 4 ? 4 : 8)],
  [gptqCheckpoint, [2, 3, 4, 5, 8], (bits: number) => (bits <= 4 ? bits : 8)],
  [awqCheckpoint, [3, 4], () => 4],
] as const)('$name', (exporter, widths, containerBits) => {
  it.each(widths)('at %i bits holds what the set says', async (bits) => {
    const out = `${exporter.name}-${bits}`;
    await withContext(bits, async (context) => {
      expect(exporter.refuse(context)).toBeUndefined();
      const { bytes, isExact } = await exporter.size(context);
      await exporter.write(context, at(out));
      const files = await Promise.all((await readdir(at(out))).map((name) => readFile(at(out, name))));
      expect({ bytes, isExact }).toEqual({
        bytes: files.reduce((sum, { length }) => sum + length, 0),
        isExact: true,
      });
      const stored = await openSafetensors(at(out));
      const layer = 'model.layers.1.mlp.down_proj';
      const unpack = await unpackers[exporter.name]!(stored, layer, containerBits(bits));
      const expected = toFloats(await context.source.weight(layer, bits));
      const most = expected.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      expected.forEach((value, i) => {
        expect(Math.abs(unpack(Math.floor(i / 96), i % 96) - value)).toBeLessThan(most / 1000);
      });
      expect(stored.tensors.has(`${layer}.weight`)).toBe(false);
      const read = await openCheckpoint(at(out), { packed: true });
      const own = await read.source.read(`${layer}.weight`);
      expect(own).toHaveLength(expected.length);
      own.forEach((value, i) => expect(value).toBeCloseTo(unpack(Math.floor(i / 96), i % 96), 6));
      await read.close();
      expect(stored.tensors.has('model.embed_tokens.weight')).toBe(true);
      await stored.close();
    });
    const config = JSON.parse(await readFile(at(out, 'config.json'), 'utf8')) as Record<string, object>;
    expect(config).toMatchObject({ hidden_size: 64, quantization_config: { quant_method: exporter.name } });
  });
});

it('lies in several files where one would be too large, with an index of them', async () => {
  const small = packedCheckpoint('small', compressedTensors, { title: 'Small', description: '' }, 20_000);
  const { bytes } = await withContext(4, async (context) => {
    await small.write(context, at('shards'));
    return small.size(context);
  });
  const names = await readdir(at('shards'));
  const shards = names.filter((name) => /^model-0000\d-of-0000\d\.safetensors$/.test(name));
  expect(shards.length).toBeGreaterThan(2);
  const files = await Promise.all(names.map((name) => readFile(at('shards', name))));
  expect(files.reduce((sum, { length }) => sum + length, 0)).toBe(bytes);
  const stored = await openSafetensors(at('shards'));
  expect(stored.tensors.has('model.layers.0.self_attn.q_proj.weight_packed')).toBe(true);
  await stored.close();
});

it('names layers by what holds them where bits differ', async () => {
  await withContext(4, async (context) => {
    const mixed = { ...context, bitsOf: (layer: string) => (layer.endsWith('down_proj') ? 8 : 4) };
    await compressedTensorsCheckpoint.write(mixed, at('mixed'));
    await gptqCheckpoint.write(mixed, at('mixed-gptq'));
  });
  const configOf = async (name: string) =>
    (
      JSON.parse(await readFile(at(name, 'config.json'), 'utf8')) as {
        quantization_config: Record<string, unknown>;
      }
    ).quantization_config;
  expect((await configOf('mixed')).config_groups).toMatchObject({
    group_1: {
      targets: ['model.layers.0.mlp.down_proj', 'model.layers.1.mlp.down_proj'],
      weights: { num_bits: 8, strategy: 'channel', group_size: null },
    },
  });
  expect((await configOf('mixed-gptq')).dynamic).toMatchObject({
    '+:^model\\.layers\\.0\\.mlp\\.down_proj$': { bits: 8, group_size: -1 },
  });
});

it('has groups of one size in formats that know no others, which readers need no list of layers for', async () => {
  // Groups of 128 columns, of which 96 and 64 are whole rows; of 192 and 160 the largest shared power of two is 32.
  await writeRandomModel(at('wide'), {
    ...TINY_LLAMA,
    ...{ hidden_size: 192, intermediate_size: 160, num_hidden_layers: 1 },
  });
  await makeRoundingSet(programs, at('wide'), at('wide-set'));
  await withExportContext(programs, at('wide'), at('wide-set'), 4, async (context) => {
    for (const exporter of [gptqCheckpoint, awqCheckpoint]) {
      const out = at(`wide-${exporter.name}`);
      expect(exporter.refuse(context)).toBeUndefined();
      await exporter.write(context, out);
      const text = await readFile(join(out, 'config.json'), 'utf8');
      const { quantization_config: config } = JSON.parse(text) as Record<string, object>;
      expect(config).toMatchObject({ group_size: 32 });
      expect(config).not.toHaveProperty('dynamic');
      const stored = await openSafetensors(out);
      const layer = 'model.layers.0.mlp.down_proj';
      expect(stored.tensors.get(`${layer}.scales`)!.shape).toEqual([5, 192]);
      const read = await openCheckpoint(out, { packed: true });
      const weight = await read.source.read(`${layer}.weight`);
      const expected = toFloats(await context.source.weight(layer, 4));
      weight.forEach((value, i) => expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-3));
      await read.close();
      const scales = await stored.read(`${layer}.scales`);
      const { scale } = (await context.source.weight(layer, 4)) as GridWeight;
      for (const [group, own] of [0, 0, 0, 0, 1].entries())
        expect(Math.abs(scales[group * 192 + 7]! - scale[7 * 2 + own]!)).toBeLessThan(1e-3 * scale[14]!);
      await stored.close();
    }
  });
});

it('is read by what its configuration says of each layer, and refused where that does not fit', async () => {
  const mixed = { bitsOf: (layer: string) => (layer.endsWith('down_proj') ? 8 : 4) };
  for (const exporter of [compressedTensorsCheckpoint, gptqCheckpoint]) {
    const out = at(`wrong-${exporter.name}`);
    await withContext(4, (context) => exporter.write({ ...context, ...mixed }, out));
    const path = join(out, 'config.json');
    const written = await readFile(path, 'utf8');
    await expect(openCheckpoint(out)).rejects.toThrow(/quantized already are not supported/);
    await (await openCheckpoint(out, { packed: true })).close();
    await writeFile(path, written.replaceAll('down_proj', 'up_proj'));
    await expect(openCheckpoint(out, { packed: true })).rejects.toThrow(
      /the layer "model.layers.0.mlp.(down|up)_proj"(: its (qzeros|g_idx)| is packed, and no group)/,
    );
    await writeFile(path, written.replace(/"(num_)?bits": 4/, '"$1bits": "x"'));
    await expect(openCheckpoint(out, { packed: true })).rejects.toThrow(/bits" must be an integer/);
  }
});

it('reads GPTQ of the first version, whose zero points are stored less one', async () => {
  await withContext(4, (context) => gptqCheckpoint.write(context, at('second')));
  await cp(at('second'), at('first'), { recursive: true });
  const path = at('first', 'model.safetensors');
  const file = await readFile(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, start).toString()) as Record<string, { data_offsets: number[] }>;
  for (const [name, { data_offsets: ends }] of Object.entries(header)) {
    if (!name.endsWith('.qzeros')) continue;
    for (let i = start + ends[0]!; i < start + ends[1]!; i++) {
      const byte = file[i]!;
      expect(Math.min(byte & 15, byte >> 4)).toBeGreaterThan(0);
      file[i] = byte - 0x11;
    }
  }
  await writeFile(path, file);
  const config = await readFile(at('first', 'config.json'), 'utf8');
  const values = async (folder: string) => {
    const read = await openCheckpoint(at(folder), { packed: true });
    const layers = layerNames(read).map((name) => read.source.read(`${name}.weight`));
    const found = await Promise.all(layers);
    await read.close();
    return found;
  };
  const expected = await values('second');
  for (const [format, same] of [
    ['"gptq"', true],
    ['"gptq_v2"', false],
  ] as const) {
    await writeFile(at('first', 'config.json'), config.replaceAll('"gptq_v2"', format));
    expect((await values('first')).some((weight, i) => weight.some((x, j) => x !== expected[i]![j]))).toBe(
      !same,
    );
  }
  const unnamed = config.replaceAll(/ *"(checkpoint_)?format": "gptq_v2",?\n/g, '');
  expect(unnamed).not.toContain('gptq_v2');
  await writeFile(at('first', 'config.json'), unnamed.replace(/,(\s*})/g, '$1'));
  expect(await values('first')).toEqual(expected);
});

it('says what vLLM cannot run as one layer, until it is tied', async () => {
  await withContext(4, (context) => {
    const bitsOf = (layer: string) => (layer.endsWith('k_proj') ? 8 : 4);
    const plan = { ...context, bitsOf };
    for (const exporter of [compressedTensorsCheckpoint, gptqCheckpoint]) {
      expect(exporter.warn!(context)).toBeUndefined();
      expect(exporter.warn!(plan)).toMatch(
        /"model.layers.0" has q_proj in 4 bits, k_proj in 8 bits.* Tie them/,
      );
      const bits = tied(new Map(layerNames(context.original).map((name) => [name, bitsOf(name)])));
      expect(exporter.warn!({ ...context, bitsOf: (layer) => bits.get(layer)! })).toBeUndefined();
    }
    return Promise.resolve();
  });
});

it('is refused where it cannot hold a set', async () => {
  await withContext(4, (context) => {
    expect(awqCheckpoint.refuse({ ...context, bitsOf: () => 5 })).toMatch(
      /has steps from 0 to 31, which AWQ cannot hold/,
    );
    const outliers = {
      ...context.source,
      form: (layer: string, bits: number) => ({ ...context.source.form(layer, bits), outliers: 3 }),
    };
    expect(gptqCheckpoint.refuse({ ...context, source: outliers })).toMatch(/has outliers/);
    return Promise.resolve();
  });
  await writeRandomModel(at('vit'), TINY_VIT);
  await makeRoundingSet(programs, at('vit'), at('vit-set'));
  await withExportContext(programs, at('vit'), at('vit-set'), 4, (context) => {
    expect(gptqCheckpoint.refuse(context)).toMatch(/language models/);
    expect(compressedTensorsCheckpoint.refuse(context)).toBeUndefined();
    const mixed = { ...context, bitsOf: (layer: string) => (layer.endsWith('query') ? 8 : 4) };
    expect(compressedTensorsCheckpoint.refuse(mixed)).toMatch(
      /several containers.*give all layers the same bits, or export it as onnx/,
    );
    return Promise.resolve();
  });
});

it('has layers outside of blocks, which readers do not pack, as a merged checkpoint has them', async () => {
  await cp(at('set'), at('head-set'), { recursive: true });
  const path = at('head-set', 'adapter_config.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as object;
  await writeFile(path, JSON.stringify({ ...config, head_bits: 2 }));
  await withExportContext(programs, at('llama'), at('head-set'), 4, async (context) => {
    expect(compressedTensorsCheckpoint.refuse(context)).toBeUndefined();
    await compressedTensorsCheckpoint.write(context, at('head'));
  });
  const stored = await openSafetensors(at('head'));
  const [, columns] = stored.tensors.get('lm_head.weight')!.shape as [number, number];
  const head = await stored.read('lm_head.weight');
  for (let row = 0; row * columns < head.length; row++)
    expect(new Set(head.slice(row * columns, (row + 1) * columns)).size).toBeLessThanOrEqual(4);
  expect(await readFile(at('head', 'config.json'), 'utf8')).toMatch(/"ignore": \[\s*"lm_head"/);
  await stored.close();
});
