/** Elastic files: made of sets of every method that they can hold, and run in place of model and set. */
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listAdapters } from '../engine/catalog/adapters.js';
import { fingerprintCache } from '../engine/catalog/fingerprints.js';
import { layerNames } from '../engine/execution/model.js';
import { openElasticModel } from '../engine/execution/quantized-model.js';
import { usePrograms } from '../engine/execution/testing.js';
import { elasticExporter } from '../engine/exporters/elastic/elastic.js';
import type { Rounding } from '../engine/exporters/elastic/plan.js';
import { openSafetensors, writeSafetensors } from '../engine/formats/safetensors.js';
import { complaint } from '../engine/formats/testing.js';
import { runEvaluate } from '../engine/jobs/runs/evaluate.js';
import { runExport } from '../engine/jobs/runs/export.js';
import { listExports } from '../engine/jobs/runs/list-exports.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import { openElasticSession } from '../engine/sessions/elastic-session.js';
import { makeSmallSet, SAMPLES, samplesOf } from './exports.js';
import { outlineOf, temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from './fixtures.js';
import { maxDifference } from './support.js';

const programs = usePrograms();
const MODELS = { vit: TINY_VIT, llama: { ...TINY_LLAMA, tie_word_embeddings: true } };
type ModelName = keyof typeof MODELS;
const BITS = [8, 6, 5, 4, 3, 2];
const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };

let folder: string;
let cleanUp: () => Promise<void>;
const at = (...path: string[]) => join(folder, ...path);

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  for (const name of Object.keys(MODELS)) await writeRandomModel(at(name), MODELS[name as ModelName]);
});
afterAll(() => cleanUp());

interface Case {
  readonly model: ModelName;
  readonly method: string;
  readonly mode: 'weight-only' | 'weight-activation';
  readonly options?: Readonly<Record<string, unknown>>;
  readonly bits?: readonly number[];
}

/** @returns the folder of the set */
async function makeSet({ model, ...asked }: Case, name: string): Promise<string> {
  await makeSmallSet(programs, at(model), at(name), { bits: BITS, ...asked });
  return at(name);
}

const exported = (model: string, adapters: string, out: string, rounding: Rounding = 'where smaller') =>
  runExport(
    { model: at(model), adapters, format: 'elastic', out: at(out), device: 'cpu', threads: 1 },
    quiet,
    [elasticExporter(rounding)],
  );

let queptSet: Promise<string> | undefined;
const quept = () => (queptSet ??= makeSet(QUEPT, 'quept'));

/** Logits at each bit-width. */
async function logitsOf(model: string, adapters: string, widths: readonly number[]): Promise<Float32Array[]> {
  const checkpoint = await openCheckpoint(model);
  const set = await openAdapterSet(adapters);
  const x = programs.runtime.tensor(samplesOf(checkpoint).data, checkpoint.model.stem.inputShape(SAMPLES));
  const elastic = await openElasticModel(programs, openSource(programs, checkpoint, set));
  const found: Float32Array[] = [];
  for (const bits of widths) {
    await elastic.use(() => bits);
    found.push((await elastic.run(x, SAMPLES)).slice());
  }
  elastic.dispose();
  await set.close();
  await checkpoint.close();
  return found;
}

const QUEPT: Case = {
  model: 'llama',
  method: 'quept',
  mode: 'weight-only',
  options: { epochs: 1, batch: 2, rank: 2 },
  bits: [8, 4, 2],
};
const CASES: readonly Case[] = [
  { model: 'llama', method: 'direct', mode: 'weight-only', options: { groupSize: 8 } },
  { model: 'llama', method: 'gptq', mode: 'weight-only' },
  { model: 'llama', method: 'rounding', mode: 'weight-only' },
  QUEPT,
  { model: 'vit', method: 'direct', mode: 'weight-activation' },
  { ...QUEPT, model: 'vit', mode: 'weight-activation' },
  { model: 'llama', method: 'rounding', mode: 'weight-activation', bits: [8, 4] },
  { model: 'vit', method: 'rounding', mode: 'weight-only', bits: [4, 2] },
];

describe('an elastic file', () => {
  it.each(CASES.map((one) => [`${one.method} for ${one.model}, ${one.mode}`, one] as const))(
    'of %s has what the set has at every bit-width, for its own model and by itself',
    async (_, one) => {
      const name = `${one.model}-${one.method}-${one.mode}-${(one.bits ?? BITS).join('')}`;
      const set = one === QUEPT ? await quept() : await makeSet(one, name);
      const said: number[] = [];
      const exporter = elasticExporter('where smaller');
      const watched = {
        ...exporter,
        size: async (...args: Parameters<typeof exporter.size>) => {
          const size = await exporter.size(...args);
          said.push(size.bytes);
          return size;
        },
      };
      const out = at(`${name}.elastic`);
      const request = {
        model: at(one.model),
        adapters: set,
        format: 'elastic',
        out,
        device: 'cpu',
        threads: 1,
      } as const;
      const { bytes } = await runExport(request, quiet, [watched]);
      expect(said).toEqual([bytes]);
      const own = ['adapter_config.json', 'adapter_model.safetensors'];
      const others = (await readdir(at(one.model))).filter((file) => file !== 'model.safetensors');
      expect((await readdir(out)).sort()).toEqual([...own, ...others].sort());
      const widths = one.bits ?? BITS;
      const expected = await logitsOf(at(one.model), set, widths);
      for (const model of [at(one.model), out]) {
        const found = await logitsOf(model, out, widths);
        found.forEach((logits, i) => expect(maxDifference(logits, expected[i]!)).toBeLessThan(1e-4));
      }
    },
  );

  it('rounds its base to the codes of all bit-widths but for a few, where directions are stored', async () => {
    const set = await makeSet(QUEPT, 'rounded-set');
    const { fits = [] } = await exported('llama', set, 'rounded', 'always');
    const source = await openSafetensors(at('rounded', 'adapter_model.safetensors'));
    expect([...source.tensors.keys()].filter((name) => /\.(codes|near|up)\.\d$/.test(name))).toEqual([]);
    await source.close();
    expect(fits.length).toBeGreaterThan(0);
    const asked = { model: at('llama'), adapters: set, bits: 4 };
    const [format] = await listExports(asked, [elasticExporter('always')]);
    const firstLayer = layerNames(outlineOf('llama', MODELS.llama))[0]!;
    for (const { bits, container, distance } of format!.held!) {
      expect(container).toBe(bits === 8 ? 'codes' : 'the base, rounded');
      expect(distance).toBe(fits.find(({ tensor }) => tensor === `${firstLayer} at ${bits} bits`)?.distance);
    }
    const [exact] = await listExports(asked, [elasticExporter('never')]);
    expect(exact!.held).toEqual([2, 4, 8].map((bits) => ({ container: 'codes', bits, layers: 14 })));
    for (const { tensor, distance } of fits)
      if (/at [234] bits$/.test(tensor)) expect(distance).toBeLessThan(0.2);
    const [own, other] = [
      await logitsOf(at('llama'), set, [2]),
      await logitsOf(at('rounded'), at('rounded'), [2]),
    ];
    expect(maxDifference(other[0]!, own[0]!)).toBeLessThan(0.01);
  });

  it('is listed as a model with its own set, which it is opened and evaluated with', async () => {
    const set = await makeSet({ model: 'vit', method: 'rounding', mode: 'weight-only' }, 'listed-set');
    await exported('vit', set, 'listed');
    const [found] = await listAdapters(
      [at('listed')],
      [at('vit'), at('listed')],
      fingerprintCache(),
      quiet.signal,
    );
    expect(found).toMatchObject({ model: at('listed'), matches: true, facts: { offered: BITS } });
    const [alone] = await listAdapters([at('listed')], [at('vit')], fingerprintCache(), quiet.signal);
    expect(alone).toMatchObject({ model: at('vit'), matches: true });
    const session = await openElasticSession(programs, at('listed'), at('listed'));
    const layers = layerNames(outlineOf('vit', MODELS.vit));
    expect(await session.use(layers.map(() => 2))).toBe(layers.length);
    await session.close();
    const asked = { model: at('listed'), data: at('none'), bits: [7] };
    expect(await complaint(() => runEvaluate(asked, quiet))).toContain(
      'has no 7-bit setting; it has 8, 6, 5, 4, 3, 2',
    );
  });
});

describe('an elastic file is refused', () => {
  it('of sets that it has no place for', async () => {
    const apart = await makeSet({ model: 'llama', method: 'adpq', mode: 'weight-only', bits: [4] }, 'apart');
    const refusal = await complaint(() => exported('llama', apart, 'never'));
    expect(refusal).toMatch(
      /^The adapter set keeps 4-bit weights otherwise .*elastic file has no place for\.$/,
    );
    await exported('llama', await quept(), 'once');
    expect(await complaint(() => exported('once', at('once'), 'never'))).toContain('elastic file already');
  });

  it('where its layout is newer, or a base lacks a part', async () => {
    const set = await makeSet({ model: 'llama', method: 'rounding', mode: 'weight-only' }, 'hostile-set');
    await exported('llama', set, 'hostile');
    const path = at('hostile', 'adapter_model.safetensors');
    const change = async (drop: (name: string) => boolean, version: string, to: string) => {
      await cp(at('hostile'), at(to), { recursive: true });
      const source = await openSafetensors(path);
      const entries = [...source.tensors.values()].flatMap(({ name, dtype, shape }) =>
        drop(name) ? [] : [{ name, dtype: dtype as 'U8', shape, data: () => source.readBytes(name) }],
      );
      await writeSafetensors(at(to, 'adapter_model.safetensors'), entries, { elastic_precision: version });
      await source.close();
    };
    await change(() => false, '2', 'newer');
    expect(await complaint(() => openCheckpoint(at('newer')))).toContain('an elastic file of version "2"');
    await change((name) => name.endsWith('q_proj.base.zero'), '1', 'partial');
    expect(await complaint(() => openCheckpoint(at('partial')))).toContain('base.zero');
    expect(await complaint(() => openAdapterSet(at('partial')))).toContain('is not the file');
  });

  it('where its config claims what is not there', async () => {
    const set = await makeSet({ model: 'llama', method: 'rounding', mode: 'weight-only' }, 'claims-set');
    await exported('llama', set, 'claims');
    const path = at('claims', 'adapter_config.json');
    const text = await readFile(path, 'utf8');
    const config = JSON.parse(text) as {
      method: { codes: Record<string, string> };
      layers: Record<string, unknown>;
    };
    const withCodes = (codes: object) =>
      writeFile(path, JSON.stringify({ ...config, method: { ...config.method, codes } }));
    for (const [codes, words] of [
      [{ '8': 'base' }, 'says nothing of 6 bits'],
      [{ ...config.method.codes, '4': 'base' }, 'must not be "base" at 4 bits'],
      [{ ...config.method.codes, '4': 'rounded' }, '"directions" says nothing of 4 bits'],
    ] as const) {
      await withCodes(codes);
      expect(await complaint(() => openAdapterSet(at('claims')))).toContain(words);
    }
    const [first, ...others] = layerNames(outlineOf('llama', MODELS.llama));
    const layers = Object.fromEntries(others.map((name) => [name, config.layers[name]]));
    await writeFile(path, JSON.stringify({ ...config, layers }));
    expect(await complaint(() => openAdapterSet(at('claims')))).toContain(first!);
  });
});
