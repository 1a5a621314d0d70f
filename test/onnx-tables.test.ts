/** ONNX folders whose table of embeddings and head are quantized too, run in ONNX Runtime alone. */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { usePrograms } from '../engine/execution/testing.js';
import { onnx, onnxTables } from '../engine/exporters/onnx/onnx.js';
import { readOnnxTensor, type OnnxModel } from '../engine/formats/onnx.js';
import { bytesAt } from '../engine/formats/sizes.js';
import { openSafetensors, writeSafetensors } from '../engine/formats/safetensors.js';
import { makeRoundingSet, withExportContext, writeTokenizer } from './exports.js';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from './fixtures.js';
import { expectSame, logitsOfSet, logitsOfTexts, openExact } from './onnx-run.js';
import { maxDifference } from './support.js';

const programs = usePrograms();
let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

/** So many that a table lies outside the model. */
const [VOCABULARY, FEATURES, BITS] = [300, 64, 4];
const LLAMA = { ...TINY_LLAMA, hidden_size: FEATURES, intermediate_size: 80, vocab_size: VOCABULARY };
const [TABLE, HEAD] = ['model.embed_tokens.weight', 'lm_head.weight'];

/** The values of a table as its file has it. */
async function tableIn(path: string, { graph }: OnnxModel, name: string, bits: number, rows = '') {
  const bytesOf = (kind: string) => {
    const tensor = graph.initializers.find((each) => each.name === `${name}.${kind}${rows}`)!;
    return readOnnxTensor(path, tensor);
  };
  const [integers, zeros] = [await bytesOf('integers'), await bytesOf('zeros')];
  const scales = new Float32Array(Uint8Array.from(await bytesOf('scales')).buffer);
  const groups = scales.length / VOCABULARY;
  const at = (bytes: Uint8Array, i: number) => (bytes[Math.floor((i * bits) / 8)]! >> ((i * bits) % 8)) & (2 ** bits - 1); // prettier-ignore
  const zeroBytes = zeros.length / VOCABULARY;
  return Float32Array.from({ length: VOCABULARY * FEATURES }, (_, i) => {
    const [row, group] = [Math.floor(i / FEATURES), Math.floor(((i % FEATURES) * groups) / FEATURES)];
    const zero = at(zeros.subarray(row * zeroBytes), group);
    return scales[row * groups + group]! * (at(integers, i) - zero);
  });
}

/** The model with other tables. */
async function withTables(model: string, out: string, tables: ReadonlyMap<string, Float32Array>) {
  await cp(at(model), at(out), { recursive: true });
  const source = await openSafetensors(at(model));
  const tensors = [...source.tensors.values()].map(({ name, shape }) => ({
    ...{ name, shape, dtype: 'F32' as const },
    data: async () => tables.get(name) ?? (await source.read(name)),
  }));
  await writeSafetensors(at(out, 'model.safetensors'), tensors);
  await source.close();
}

describe.each([
  ['untied', {}],
  ['tied', { tie_word_embeddings: true }],
])('a model whose head is %s', (name, change) => {
  beforeAll(async () => {
    await writeRandomModel(at(name), { ...LLAMA, ...change });
    await writeTokenizer(at(name));
    await makeRoundingSet(programs, at(name), at(`${name}-set`));
  });

  it.each(onnxTables.map((exporter) => [exporter.name, exporter] as const))(
    'as %s looks up and reads what its file holds',
    async (format, exporter) => {
      const bits = Number(format.slice(-1));
      const out = at(`${name}-${bits}`);
      await withExportContext(programs, at(name), at(`${name}-set`), BITS, async (context) => {
        expect(exporter.refuse(context)).toBeUndefined();
        expect(exporter.warn!(context)).toContain(`rounded to ${bits} bits`);
        const { bytes } = await exporter.size(context);
        await exporter.write(context, out);
        expect(await bytesAt(out)).toBe(bytes);
        expect(bytes).toBeLessThan((await onnx.size(context)).bytes);
      });
      const { written, path, session } = await openExact(out);
      const table = await tableIn(path, written, TABLE, bits, '.rows');
      const head = name === 'tied' ? table : await tableIn(path, written, HEAD, bits);
      const source = await openSafetensors(at(name));
      const own = await source.read(TABLE);
      await source.close();
      const error = maxDifference(table, own);
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan((Math.max(...own) - Math.min(...own)) / (2 ** bits - 1));
      const rounded = `${name}-rounded-${bits}`;
      await withTables(
        name,
        rounded,
        new Map([
          [TABLE, table],
          [HEAD, head],
        ]),
      );
      const [batch, length] = [2, 9];
      const ids = Array.from({ length: batch * length }, (_, i) => (i * 47 + 3) % VOCABULARY);
      const expected = await logitsOfSet(
        programs,
        at(rounded),
        at(`${name}-set`),
        BITS,
        BigInt64Array.from(ids, BigInt),
        [batch, length],
      );
      expectSame(await logitsOfTexts(session, ids, [batch, length]), expected);
      await session.release();
    },
  );
});

it('a tied table is stored once', async () => {
  const { written } = await openExact(at('tied-8'));
  const placeOf = (name: string) => {
    const tensor = written.graph.initializers.find((each) => each.name === name)!;
    return 'external' in tensor ? tensor.external : undefined;
  };
  expect(placeOf(`${TABLE}.integers`)).toBeDefined();
  expect(placeOf(`${TABLE}.integers`)).toEqual(placeOf(`${TABLE}.integers.rows`));
  const sizes = await Promise.all(['untied-8', 'tied-8'].map((name) => bytesAt(at(name, 'onnx'))));
  expect(sizes[0]! - sizes[1]!).toBeGreaterThan(0.9 * VOCABULARY * FEATURES);
});

describe('is refused', () => {
  const refusals = async (model: string, config: Readonly<Record<string, unknown>>) => {
    await writeRandomModel(at(model), config);
    await makeRoundingSet(programs, at(model), at(`${model}-set`));
    return withExportContext(programs, at(model), at(`${model}-set`), BITS, (context) =>
      Promise.resolve(onnxTables.map((exporter) => exporter.refuse(context))),
    );
  };

  it('for pictures', async () => {
    for (const reason of await refusals('vit', TINY_VIT)) expect(reason).toMatch(/no table of embeddings/);
  });

  it('for rows that groups do not divide', async () => {
    for (const reason of await refusals('narrow', { ...LLAMA, hidden_size: 72, head_dim: 16 }))
      expect(reason).toMatch(/rows of 72, which is no multiple of 16/);
  });
});
