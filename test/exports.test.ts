/** Adapter sets of every method exported, and what was written opened and run as any model is. */
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CancelledError, UserError } from '../engine/errors.js';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { layerNames, layerWeights, openPlainModel } from '../engine/execution/model.js';
import { openElasticModel, widthsOf } from '../engine/execution/quantized-model.js';
import { openSampleCache, samplesIn } from '../engine/execution/sample-store.js';
import type { ExportContext } from '../engine/exporters/exporter.js';
import { exporters } from '../engine/exporters/registry.js';
import { mergedCheckpoint } from '../engine/exporters/merged.js';
import { openSafetensors, writeSafetensors } from '../engine/formats/safetensors.js';
import { complaint } from '../engine/formats/testing.js';
import type { JobHooks } from '../engine/jobs/requests.js';
import { runExport } from '../engine/jobs/runs/export.js';
import { listExports } from '../engine/jobs/runs/list-exports.js';
import { calibrate } from '../engine/methods/calibrate.js';
import { normals, usePrograms } from '../engine/execution/testing.js';
import { methods } from '../engine/methods/registry.js';
import { resolveRequest } from '../engine/methods/request.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { inputSize } from '../engine/models/model.js';
import type { ExportRequest } from '../engine/protocol/protocol.js';
import { runCli } from './cli-run.js';
import { boundless, lines, writeTokenizer } from './exports.js';
import { outlineOf, temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from './fixtures.js';
import { maxDifference } from './support.js';

const programs = usePrograms();
const SAMPLES = 3;
const MODELS = { vit: TINY_VIT, llama: TINY_LLAMA };
type ModelName = keyof typeof MODELS;
const names = Object.keys(MODELS) as ModelName[];

/** The methods that quantize a model's weights alone. */
const methodsOf = (name: ModelName): string[] => {
  const outline = outlineOf(name, MODELS[name]);
  return methods
    .filter((method) => method.modes(outline).includes('weight-only'))
    .map((method) => method.name);
};

let folder: string;
let cleanUp: () => Promise<void>;
const at = (...path: string[]) => join(folder, ...path);
const quiet = (signal = new AbortController().signal): JobHooks<'export'> => ({
  signal,
  status: () => undefined,
  note: () => undefined,
});
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  for (const name of names) {
    await writeRandomModel(at(name), MODELS[name]);
    if (name === 'llama') await writeTokenizer(at(name));
    for (const method of methodsOf(name)) await makeSet(name, method, 'weight-only');
  }
  await makeSet('vit', 'rounding', 'weight-activation');
});
afterAll(() => cleanUp());

const setOf = (model: string, method: string, mode = 'weight-only') => at(`${model}-${method}-${mode}`);

async function makeSet(model: string, method: string, mode: 'weight-only' | 'weight-activation') {
  const checkpoint = await openCheckpoint(at(model));
  const options = method === 'quept' ? { epochs: 1, batch: 2, rank: 1 } : {};
  const resolved = resolveRequest(checkpoint, { model: at(model), method, mode, bits: [8, 4, 2], options });
  const set = { ...samplesOf(checkpoint), name: 'samples', fingerprint: '0'.repeat(64) };
  await calibrate(
    programs,
    {
      checkpoint,
      ...resolved,
      ...(resolved.settings.samples > 0 && { set }),
      out: setOf(model, method, mode),
      resume: false,
      cache: await openSampleCache(Infinity),
      distance: meanDivergence,
      engineVersion: '0',
    },
    quiet(),
  );
  await checkpoint.close();
}

function samplesOf({ model }: Checkpoint) {
  const size = SAMPLES * inputSize(model.stem);
  if (model.stem.inputType !== 'int64') {
    const { data } = normals([size], 'samples');
    return { data, inputs: samplesIn(data, SAMPLES) };
  }
  const data = BigInt64Array.from({ length: size }, (_, i) => BigInt((i * 7 + 3) % 11));
  return { data, inputs: samplesIn(data, SAMPLES) };
}

const requestFor = (model: string, method: string, out: string): ExportRequest => ({
  model: at(model),
  adapters: setOf(model, method),
  bits: 4,
  format: 'safetensors',
  out: at(out),
  device: 'cpu',
  threads: 1,
});

/** Logits of the exported folder and of the set at these bits. */
async function logitsOf(model: string, method: string, out: string, bits: readonly number[]) {
  const checkpoint = await openCheckpoint(at(model));
  const set = await openAdapterSet(setOf(model, method));
  const exported = await openCheckpoint(at(out));
  const x = programs.runtime.tensor(samplesOf(checkpoint).data, checkpoint.model.stem.inputShape(SAMPLES));
  const elastic = await openElasticModel(programs, openSource(programs, checkpoint, set));
  await elastic.use(widthsOf(layerNames(checkpoint), bits));
  const plain = await openPlainModel(programs, exported);
  const original = await openPlainModel(programs, checkpoint);
  const [expected, found, full] = [
    (await elastic.run(x, SAMPLES)).slice(),
    (await plain.run(x, SAMPLES)).slice(),
    (await original.run(x, SAMPLES)).slice(),
  ];
  for (const opened of [elastic, plain, original]) opened.dispose();
  await set.close();
  await exported.close();
  await checkpoint.close();
  return { expected, found, full };
}

/** Bits that differ from layer to layer. */
const mixed = (layers: readonly string[]) => layers.map((_, i) => [8, 2, 4][i % 3]!);

async function openClosed(model: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(at(model));
  await checkpoint.close();
  return checkpoint;
}

const layersOf = async (model: string) => layerNames(await openClosed(model));

describe.each(names)('a checkpoint of %s', (model) => {
  it.each(methodsOf(model))('by %s runs as the set does', async (method) => {
    const layers = await layersOf(model);
    for (const bits of [8, 2]) {
      const out = `${model}-${method}-${bits}`;
      const result = await runExport({ ...requestFor(model, method, out), bits }, quiet());
      expect(result).toMatchObject({ out: at(out), format: 'safetensors', bits, device: 'cpu' });
      const { expected, found, full } = await logitsOf(
        model,
        method,
        out,
        layers.map(() => bits),
      );
      expect(maxDifference(found, expected)).toBeLessThan(1e-5);
      expect(maxDifference(found, full)).toBeGreaterThan(1e-3);
    }
    const plan = at(`${model}-${method}.precision.json`);
    const bits = mixed(layers);
    const named = Object.fromEntries(layers.map((name, i) => [name, bits[i]]));
    await writeFile(plan, JSON.stringify({ default: 4, layers: named }));
    const { bits: _bits, ...request } = requestFor(model, method, `${model}-${method}-mixed`);
    const result = await runExport({ ...request, plan }, quiet());
    const weights = layerWeights(await openClosed(model));
    const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
    expect(result.bits).toBeCloseTo(sum(bits.map((b, i) => b * weights[i]!)) / sum(weights), 9);
    const { expected, found } = await logitsOf(model, method, `${model}-${method}-mixed`, bits);
    expect(maxDifference(found, expected)).toBeLessThan(1e-5);
  });
});

describe('a checkpoint', () => {
  /** The tiny LLaMA in another dtype, with a file of every sort beside it. */
  async function inDtype(name: string, dtype: 'F16' | 'BF16') {
    await mkdir(at(name));
    const source = await openSafetensors(at('llama'));
    const tensors = [...source.tensors.values()].map((info) => ({
      name: info.name,
      shape: info.shape,
      dtype,
      data: () => source.read(info.name),
    }));
    const unused = { name: 'rotary.inv_freq', dtype: 'I64' as const, shape: [2] };
    await writeSafetensors(at(name, 'model.safetensors'), [
      ...tensors,
      { ...unused, data: BigInt64Array.of(5n, -7n) },
    ]);
    await source.close();
    await writeFile(at(name, 'config.json'), `${PYTHON}, "torch_dtype": "bfloat16"}`);
    await writeFile(at(name, 'tokenizer.json'), '{"any": "thing"}');
    await writeFile(at(name, 'README.md'), 'not of the export');
    await makeSet(name, 'rounding', 'weight-only');
  }

  /** A configuration as Python writes it, but for its end. */
  const PYTHON = `{"router": NaN, "limits": [-Infinity, Infinity], "scale": 1e-05, "base": 1.0, ${JSON.stringify(TINY_LLAMA).slice(1, -1)}`;

  it.each(['F16', 'BF16'] as const)(
    'keeps %s, files and tensors that the model does not use',
    async (dtype) => {
      const name = `llama-${dtype}`;
      await inDtype(name, dtype);
      const [own, float32] = [`${name}-own`, `${name}-float32`];
      const { bytes } = await runExport(requestFor(name, 'rounding', own), quiet());
      await runExport({ ...requestFor(name, 'rounding', float32), format: 'safetensors-f32' }, quiet());
      for (const out of [own, float32]) {
        expect((await readdir(at(out))).sort()).toEqual([
          'config.json',
          'model.safetensors',
          'tokenizer.json',
        ]);
        const source = await openSafetensors(at(out));
        expect([...(await source.readInt('rotary.inv_freq'))]).toEqual([5n, -7n]);
        const types = new Set([...source.tensors.values()].map((info) => info.dtype));
        expect([...types].sort()).toEqual([out === own ? dtype : 'F32', 'I64'].sort());
        await source.close();
        expect(await readFile(at(out, 'tokenizer.json'), 'utf8')).toBe('{"any": "thing"}');
      }
      expect(await readFile(at(own, 'config.json'))).toEqual(await readFile(at(name, 'config.json')));
      const config = await readFile(at(float32, 'config.json'), 'utf8');
      expect(config).toBe(`${PYTHON}, "torch_dtype": "float32"}`);
      expect(bytes).toBeGreaterThan(0);
      const fours = (await layersOf(name)).map(() => 4);
      const exact = await logitsOf(name, 'rounding', float32, fours);
      expect(maxDifference(exact.found, exact.expected)).toBeLessThan(1e-5);
      const rounded = await logitsOf(name, 'rounding', own, fours);
      const error = maxDifference(rounded.found, rounded.expected);
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan(dtype === 'F16' ? 0.01 : 0.1);
    },
  );

  it('takes exactly as many bytes as it says', async () => {
    const sizes: number[] = [];
    // Those that pack 32 by 32 hold no layers as small; packed-export.test.ts has them.
    const formats = exporters.filter(({ name }) => name !== 'gptq' && name !== 'awq');
    const said = formats.map((exporter) => ({
      ...exporter,
      size: async (context: ExportContext) => {
        const size = await exporter.size(context);
        expect(size.isExact).toBe(true);
        sizes.push(size.bytes);
        return size;
      },
    }));
    const written: number[] = [];
    for (const { name: format } of said) {
      const request = { ...requestFor('llama', 'rounding', `sized-${format}`), format };
      written.push((await runExport(request, quiet(), said)).bytes);
    }
    expect(written).toEqual(sizes);
  });

  it('is refused for sets that it cannot say', async () => {
    const activations = {
      ...requestFor('vit', 'rounding', 'no'),
      adapters: setOf('vit', 'rounding', 'weight-activation'),
    };
    expect(await complaint(() => runExport(activations, quiet()))).toMatch(
      /^The adapter set quantizes activations, .*\.$/,
    );
    const original = await openCheckpoint(at('llama'));
    const set = await openAdapterSet(setOf('llama', 'rounding'));
    const source = openSource(programs, original, set);
    const context: ExportContext = {
      programs,
      original,
      source,
      config: set.config,
      bitsOf: () => 4,
      hooks: { signal: new AbortController().signal, status: () => undefined, fit: () => undefined },
    };
    expect(mergedCheckpoint.refuse(context)).toBeUndefined();
    const cached = mergedCheckpoint.refuse({ ...context, source: { ...source, cache: 4 } });
    expect(cached).toContain('keys and values');
    const config = { ...set.config, transforms: [{ name: 'rotation', signs: '0009', keys: false }] };
    const rotated = openSource(programs, original, { config, tensors: set.tensors });
    expect(mergedCheckpoint.refuse({ ...context, config, source: rotated })).toContain('(rotation)');
    await set.close();
    await original.close();
    expect(existsSync(at('no'))).toBe(false);
  });

  it('is refused where a table that two parts read is quantized in one of them', async () => {
    await writeRandomModel(at('tied'), { ...TINY_LLAMA, tie_word_embeddings: true });
    await makeSet('tied', 'rounding', 'weight-only');
    await runExport(requestFor('tied', 'rounding', 'tied-out'), quiet());
    const path = join(setOf('tied', 'rounding'), 'adapter_config.json');
    const config = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...config, head_bits: 8 }));
    expect(await complaint(() => runExport(requestFor('tied', 'rounding', 'no'), quiet()))).toContain(
      'is shared',
    );
  });

  it('has embedding and head at their fixed bits', async () => {
    const adapters = at('vit-fixed');
    await cp(setOf('vit', 'rounding'), adapters, { recursive: true });
    const path = join(adapters, 'adapter_config.json');
    const config = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...config, embedding_bits: 2, head_bits: 2 }));
    await runExport({ ...requestFor('vit', 'rounding', 'vit-fixed-out'), adapters }, quiet());
    const source = await openSafetensors(at('vit-fixed-out'));
    const head = await source.read('classifier.weight');
    for (let row = 0; row < 6; row++)
      expect(new Set(head.slice(row * 16, row * 16 + 16)).size).toBeLessThanOrEqual(4);
    await source.close();
  });
});

describe('an export', () => {
  const complaintOf = (change: Partial<ExportRequest>) =>
    complaint(() => runExport({ ...requestFor('vit', 'rounding', 'never'), ...change }, quiet()));
  const remains = async () =>
    (await readdir(folder)).filter((name) => name.startsWith('.') || name === 'never');

  it('replaces nothing, and stays out of the model and the adapter set', async () => {
    await mkdir(at('taken'));
    expect(await complaintOf({ out: at('taken') })).toContain('is there already');
    await symlink(at('nowhere'), at('dangling'));
    expect(await complaintOf({ out: at('dangling') })).toContain('is there already');
    expect(await complaintOf({ out: at('vit', 'inside') })).toContain('lies in the folder of the model');
    await symlink(at('vit'), at('alias'));
    expect(await complaintOf({ out: at('alias', 'inside') })).toContain('lies in the folder of the model');
    const set = join(setOf('vit', 'rounding'), 'inside');
    expect(await complaintOf({ out: set })).toContain('lies in the folder of the adapter set');
    await writeFile(at('file'), '');
    expect(await complaintOf({ out: at('file', 'inside') })).toMatch(/^Cannot write .*not a folder\.$/);
    expect(await readdir(at('taken'))).toEqual([]);
    expect(await remains()).toEqual([]);
  });

  it('makes the folders that are missing, and takes them away again where nothing is written', async () => {
    expect(await complaintOf({ out: at('no', 'parent'), bits: 3 })).toContain('has no 3-bit setting');
    expect(existsSync(at('no'))).toBe(false);
    await runExport({ ...requestFor('llama', 'gptq', 'x'), out: at('no', 'parent') }, quiet());
    expect(await readdir(at('no'))).toEqual(['parent']);
    await rm(at('no'), { recursive: true });
  });

  it('needs one choice of bits that the set has', async () => {
    expect(await complaintOf({ bits: 3 })).toContain('has no 3-bit setting; it has 8, 4, 2');
    expect(await complaintOf({ plan: at('plan') })).toContain('either one bit-width or a precision plan');
    expect(await complaintOf({ format: 'paper' })).toContain(
      'There is no export format "paper"; there are safetensors, safetensors-f32, ',
    );
    expect(await complaintOf({ adapters: setOf('llama', 'rounding') })).toContain('for another model');
    expect(await remains()).toEqual([]);
  });

  it('does not follow links out of the model', async () => {
    await cp(at('vit'), at('linked'), { recursive: true });
    await writeFile(at('secret'), 'secret');
    await symlink(at('secret'), at('linked', 'tokenizer.json'));
    expect(await complaintOf({ model: at('linked') })).toContain('a link that leaves its folder');
    expect(await remains()).toEqual([]);
  });

  it('that is cancelled leaves nothing', async () => {
    const stop = new AbortController();
    const phases: string[] = [];
    const cancelled = runExport(requestFor('vit', 'rounding', 'never'), {
      ...quiet(stop.signal),
      status: ({ phase }) => {
        phases.push(phase);
        if (phases.length === 5) stop.abort();
      },
    });
    await expect(cancelled).rejects.toBeInstanceOf(CancelledError);
    expect(phases).toHaveLength(5);
    expect(await remains()).toEqual([]);
  });

  it('removes what one that was killed has left', async () => {
    // A process id above the largest of any system.
    const left = `.${basename(at('x'))}.99999999-0123abcd.partial`;
    await mkdir(at(left));
    await writeFile(at(left, 'model.safetensors'), 'half');
    await runExport(requestFor('vit', 'rounding', 'after'), quiet());
    expect(await remains()).toEqual([]);
  });
});

describe('the list of formats', () => {
  const listOf = async (model: string, method: string, mode?: string) =>
    new Map(
      (
        await listExports({ model: at(model), adapters: setOf(model, method, mode), bits: 4 }, [
          ...exporters,
          lines,
        ])
      ).map((format) => [format.name, format]),
    );

  it('has the size that each will take', async () => {
    const formats = await listOf('llama', 'gptq');
    expect([...formats.keys()]).toEqual([...exporters.map(({ name }) => name), 'lines']);
    expect(formats.get('lines')).toEqual({
      ...{ name: 'lines', title: 'Lines', description: 'a line of text for each layer', ending: '.txt' },
      size: { bytes: 1400, isExact: false },
    });
    const { bytes } = await runExport(requestFor('llama', 'gptq', 'measured'), quiet());
    expect(formats.get('safetensors')!.size).toEqual({ bytes, isExact: true });
  });

  it('says which hold the layers exactly, and how far off the others are', async () => {
    const formats = await listOf('llama', 'gptq');
    expect(formats.get('safetensors')!.held).toEqual([{ container: 'F32', bits: 4, layers: 14 }]);
    const halved = await listExports({ model: at('llama'), adapters: setOf('llama', 'gptq'), bits: 8 });
    const { held } = halved.find(({ name }) => name === 'gguf')!;
    expect(held).toMatchObject([{ bits: 8, layers: 14 }]);
    expect(held![0]!.distance).toBeGreaterThan(0);
    expect(held![0]!.distance).toBeLessThan(1);
    expect(formats.get('lines')).not.toHaveProperty('held');
  });

  it('says why a format cannot hold a set', async () => {
    const formats = await listOf('vit', 'rounding', 'weight-activation');
    expect(formats.get('safetensors')).not.toHaveProperty('size');
    expect(formats.get('safetensors')!.refusal).toMatch(/quantizes activations/);
    expect(formats.get('lines')!.size).toBeDefined();
  });

  it('has a refusal that only the size can find', async () => {
    const impossible = { ...lines, size: () => Promise.reject(new UserError('No room for this.')) };
    const request = { model: at('vit'), adapters: setOf('vit', 'gptq'), bits: 4 };
    expect(await listExports(request, [impossible])).toMatchObject([{ refusal: 'No room for this.' }]);
    await expect(listExports({ ...request, bits: 3 })).rejects.toThrow('has no 3-bit setting');
  });
});

describe('the command line', () => {
  const line = (out: string, ...more: string[]) => [
    ...['export', at('vit'), '--adapters', setOf('vit', 'gptq'), '--out', at(out), '--device', 'cpu'],
    ...more,
  ];

  it('exports, and lists the formats', async () => {
    const { code, stdout } = await runCli(line('by-cli', '--bits', '2', '--format', 'safetensors', '--json'));
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ out: at('by-cli'), format: 'safetensors', bits: 2 });
    const again = await runCli(line('by-cli', '--bits', '2', '--format', 'safetensors'));
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toContain('is there already');
    const help = await runCli(['export', '--help']);
    for (const { name, words } of exporters) {
      expect(help.stdout).toContain(name);
      expect(help.stdout).toContain(words.description);
    }
  });

  it.each([
    [['--format', 'safetensors'], 'either --bits or --plan'],
    [['--format', 'safetensors', '--bits', '4', '--plan', 'p.json'], 'cannot be used with'],
    [['--format', 'paper', '--bits', '4'], 'Allowed choices are safetensors, safetensors-f32'],
    [['--bits', '4'], '--format'],
    [['--format', 'safetensors', '--bits', '9'], 'from 1 to 8'],
  ])('with %j is bad usage', async (options, reason) => {
    const { code, stderr } = await runCli(line('unmade', ...options));
    expect(stderr).toContain(reason);
    expect(code).toBe(2);
  });
});

describe('another format', () => {
  const toys = [...exporters, lines, boundless];

  it('is a file and a line in the list', async () => {
    const done: number[] = [];
    const request = { ...requestFor('llama', 'gptq', 'lines.txt'), format: 'lines' };
    const hooks = { ...quiet(), status: (status: { done: number }) => void done.push(status.done) };
    const result = await runExport(request, hooks, toys);
    const text = await readFile(at('lines.txt'), 'utf8');
    expect(result).toMatchObject({ format: 'lines', bits: 4, bytes: text.length });
    const layers = await layersOf('llama');
    expect(text).toBe(layers.map((name) => `${name} 4 grid\n`).join(''));
    // Once before the first.
    expect(done).toHaveLength(1 + layers.length);
    expect(done[0]).toBe(0);
  });

  it('refuses sets, and is not begun without room', async () => {
    const full = { ...requestFor('llama', 'gptq', 'boundless'), format: 'boundless' };
    expect(await complaint(() => runExport(full, quiet(), toys))).toMatch(
      /would take .* TB, and its drive has/,
    );
    const checkpoint = await openCheckpoint(at('llama'));
    const resolved = resolveRequest(checkpoint, { model: at('llama'), method: 'rounding', bits: [7] });
    const cache = await openSampleCache(Infinity);
    const asked = {
      checkpoint,
      ...resolved,
      out: at('sevens'),
      resume: false,
      cache,
      distance: meanDivergence,
      engineVersion: '0',
    };
    await calibrate(programs, asked, quiet());
    await checkpoint.close();
    const sevens = { ...requestFor('llama', 'gptq', 'no'), adapters: at('sevens'), bits: 7, format: 'lines' };
    expect(await complaint(() => runExport(sevens, quiet(), toys))).toContain('Seven is no number');
    expect(existsSync(at('no'))).toBe(false);
  });
});
