import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  outlineOf,
  temporaryFolder,
  TINY_LLAMA,
  TINY_VIT,
  writeRandomModel,
} from '../../../test/fixtures.js';
import { factorHessian } from '../../backends/factor.js';
import { roundCorrecting } from '../../backends/gptq.js';
import { openPlainModel } from '../../execution/model.js';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { nextTokens, replaceByGradient } from '../../execution/loss.js';
import { sweepBack } from '../../execution/reverse-sweep.js';
import {
  openSampleCache,
  samplesIn,
  type ModelInputs,
  type SampleStore,
} from '../../execution/sample-store.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { formOf, statedBits } from '../../quantized/form.js';
import { toFloats, type GridWeight } from '../../quantized/weight.js';
import { calibrate } from '../calibrate.js';
import { resolveRequest } from '../request.js';
import { openAdapterSet, openSource } from '../sets.js';
import { mixed } from './round.js';

const programs = usePrograms();
const [SAMPLES, TOKENS, WORDS] = [12, 6, 11];

let folder: string;
let cleanUp: () => Promise<void>;
let llama: Checkpoint;
let vit: Checkpoint;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'llama'), TINY_LLAMA);
  await writeRandomModel(join(folder, 'vit'), TINY_VIT);
  llama = await openCheckpoint(join(folder, 'llama'), { tokens: TOKENS });
  vit = await openCheckpoint(join(folder, 'vit'));
});
afterAll(async () => {
  await llama.close();
  await vit.close();
  await cleanUp();
});

const ids = () =>
  BigInt64Array.from({ length: SAMPLES * TOKENS }, (_, i) => BigInt((i * 7 + (i % 5)) % WORDS));
const texts = (): ModelInputs => samplesIn(ids(), SAMPLES);

interface Run {
  readonly checkpoint?: Checkpoint;
  readonly inputs?: ModelInputs;
  readonly options?: Readonly<Record<string, unknown>>;
  /** Default 8, 3 and 2; null for those of the back-end. */
  readonly bits?: readonly number[] | null;
  readonly resume?: boolean;
  /** Stops at the first status for which it holds. */
  readonly stop?: (phase: string, done: number) => boolean;
}

async function run(
  name: string,
  { checkpoint = llama, inputs = texts(), options = {}, bits, resume = false, stop = () => false }: Run = {},
) {
  const widths = bits === null ? {} : { bits: bits ?? [8, 3, 2] };
  const request = { model: checkpoint.folder, method: 'oac', ...widths, options };
  const stopped = new AbortController();
  const seen: number[] = [];
  await calibrate(
    programs,
    {
      ...{ checkpoint, ...resolveRequest(checkpoint, request), out: join(folder, name), resume },
      set: { inputs, name: 'data', fingerprint: '0'.repeat(64) },
      ...{ cache: await openSampleCache(Infinity), distance: meanDivergence, engineVersion: '0' },
    },
    {
      signal: stopped.signal,
      status: ({ done, phase }) => {
        seen.push(done);
        if (stop(phase, done)) stopped.abort();
      },
      note: () => undefined,
    },
  );
  return seen;
}

const bytesOf = async (name: string) => readFile(join(folder, name, 'adapter_model.safetensors'), 'hex');

/** The weight of a layer of the first block in a set. */
async function weightIn(name: string, layer: string, bits: number, checkpoint = llama) {
  const set = await openAdapterSet(join(folder, name));
  const weight = await openSource(programs, checkpoint, set).weight(
    checkpoint.model.blocks[0]!.prefix + layer,
    bits,
  );
  await set.close();
  return weight;
}

it('tells how far it is, to the end', async () => {
  const seen = await run('all');
  for (const [i, done] of seen.entries()) expect(done).toBeGreaterThanOrEqual(seen[i - 1] ?? 0);
  expect(seen.at(-1)).toBeCloseTo(1, 6);
});

describe('without the loss', () => {
  it('rounds by the second moment of what a layer reads, in full precision', async () => {
    await run('l2', { options: { hessian: 'l2', damping: 0.05 } });
    // The first layer of the first block reads what the stem makes of the ids, normalized.
    const [part] = llama.model.blocks;
    const parameters = await llama.read(part!);
    const table = (await llama.read(llama.model.stem)).get('model.embed_tokens.weight')!;
    const norm = parameters.get('input_layernorm.weight')!.data;
    const width = norm.length;
    const hessian = new Float32Array(width * width);
    for (const id of ids()) {
      const row = table.data.subarray(Number(id) * width, (Number(id) + 1) * width);
      const rate = 1 / Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / width + 1e-5);
      const x = row.map((value, i) => value * rate * norm[i]!);
      for (let i = 0; i < width; i++)
        for (let j = 0; j < width; j++) hessian[i * width + j]! += x[i]! * x[j]!;
    }
    const hooks = { signal: new AbortController().signal, note: () => undefined };
    const factor = await factorHessian(programs, hessian, width, 'x', hooks, 0.05);
    const expected = await roundCorrecting(
      programs,
      parameters.get('self_attn.q_proj.weight')!,
      factor,
      () => false,
      { bits: 3, groupSize: 128 },
      hooks.signal,
    );
    const found = await weightIn('l2', 'self_attn.q_proj', 3);
    expect(found).toMatchObject({ kind: 'grid', bits: 3, codes: expected.codes });
  });
});

describe('what the loss makes of an error', () => {
  it.each([
    ['a sample', { hessian: 'sequence' }],
    ['a token', { hessian: 'token' }],
    ['a drawn label', { labels: 'sampled' }],
  ])('changes where %s weighs it', async (name, options) => {
    await run('l2 again', { options: { hessian: 'l2' } });
    await run(name, { options });
    const own = toFloats(await weightIn(name, 'mlp.down_proj', 2));
    expect(own).not.toEqual(toFloats(await weightIn('l2 again', 'mlp.down_proj', 2)));
  });

  it('keeps a classifier of pictures closer to itself at 8 bits than at 2', async () => {
    const data = normals([SAMPLES, 8, 8], 'pictures').data;
    await run('pictures', { checkpoint: vit, inputs: samplesIn(data, SAMPLES) });
    const full = await openPlainModel(programs, vit);
    const shape = [SAMPLES, 1, 8, 8];
    const logits = await full.run(programs.runtime.tensor(data, shape), SAMPLES);
    full.dispose();
    const [near, far] = await Promise.all(
      [8, 2].map(async (bits) => {
        const set = await openAdapterSet(join(folder, 'pictures'));
        const source = openSource(programs, vit, set);
        const read: Checkpoint['read'] = async (part) => {
          const parameters = await vit.read(part);
          for (const { name } of vit.model.blocks.includes(part) ? vit.listing(part).linears : []) {
            const weight = await source.weight(part.prefix + name, bits);
            parameters.set(`${name}.weight`, { data: toFloats(weight), shape: weight.shape });
          }
          return parameters;
        };
        const model = await openPlainModel(programs, { ...vit, read });
        const own = await model.run(programs.runtime.tensor(data, shape), SAMPLES);
        model.dispose();
        await set.close();
        return own.reduce((sum, x, i) => sum + (x - logits[i]!) ** 2, 0);
      }),
    );
    expect(near).toBeLessThan(far! / 100);
  });
});

describe('a mixture with the Hessian l2', () => {
  it('has so much of each, by their traces, whatever their scales', () => {
    const [own, plain] = [Float32Array.of(3, 1, 1, 1), Float32Array.of(20, 0, 0, 60)];
    const found = mixed(Float32Array.from([...own, ...own.map((x) => x * 1e-9), 0, 0, 0, 0]), plain, 0.25);
    const expected = [0.5625 + 0.0625, 0.1875, 0.1875, 0.1875 + 0.1875];
    for (const [i, x] of [...expected, ...expected, 0.25, 0, 0, 0.75].entries())
      expect(found[i]).toBeCloseTo(x, 6);
  });

  it.each([
    ['sequence', { hessian: 'sequence' }],
    ['slices', { hessian: 'token', rowSlices: 2 }],
    ['weighted', { hessian: 'weighted' }],
    ['in order', { hessian: 'token', scheme: 'layer' }],
  ])('is l2 where it is nothing but it, something else between: %s', async (name, options) => {
    const scheme = name === 'weighted' || name === 'in order' ? 'layer' : 'once';
    await run(`l2 of ${name}`, { options: { hessian: 'l2', scheme } });
    await run(`all l2, ${name}`, { options: { ...options, mix: 1 } });
    await run(`half l2, ${name}`, { options: { ...options, mix: 0.5 } });
    await run(`no l2, ${name}`, { options });
    // A sum of one scale and the other's rounds otherwise: nearly all codes are the same.
    const codes = async (set: string) => ((await weightIn(set, 'mlp.down_proj', 3)) as GridWeight).codes;
    const [l2, all, half, none] = await Promise.all(
      ['l2 of', 'all l2,', 'half l2,', 'no l2,'].map((kind) => codes(`${kind} ${name}`)),
    );
    const differing = (a: Uint8Array, b: Uint8Array) => a.filter((code, i) => code !== b[i]).length;
    expect(differing(all!, l2!)).toBeLessThan(0.02 * l2!.length);
    expect(differing(half!, l2!)).toBeGreaterThan(0.02 * l2!.length);
    expect(differing(half!, none!)).toBeGreaterThan(0);
  });
});

describe('slices of rows', () => {
  const token = { hessian: 'token', damping: 0.05 };

  it('are rounded by the gradients of their own rows', async () => {
    await run('slices', { options: { ...token, rowSlices: 3 } });
    const found = (await weightIn('slices', 'mlp.up_proj', 3)) as GridWeight;
    const [part] = llama.model.blocks;
    const weight = (await llama.read(part!)).get('mlp.up_proj.weight')!;
    const [out, n] = weight.shape as [number, number];
    const hessians = await slicedHessians('mlp.up_proj', 3);
    const each = Math.ceil(out / 3);
    const hooks = { signal: new AbortController().signal, note: () => undefined };
    const codes: number[] = [];
    for (let first = 0; first < out; first += each) {
      const rows = Math.min(each, out - first);
      const at = (first / each) * n * n;
      const factor = await factorHessian(programs, hessians.slice(at, at + n * n), n, 'x', hooks, 0.05);
      const slice = { data: weight.data.slice(first * n, (first + rows) * n), shape: [rows, n] };
      const layout = { bits: 3, groupSize: 128 };
      codes.push(
        ...(await roundCorrecting(programs, slice, factor, () => false, layout, hooks.signal)).codes,
      );
    }
    expect([...found.codes]).toEqual(codes);
    await run('no slices', { options: token });
    expect([...((await weightIn('no slices', 'mlp.up_proj', 3)) as GridWeight).codes]).not.toEqual(codes);
  });

  /** Σ |δ|² x xᵀ of each slice of a layer of the first block, δ of the slice's rows alone, by loops. */
  async function slicedHessians(layer: string, slices: number): Promise<Float32Array> {
    const kept: { x: Float32Array; delta: Float32Array; n: number; out: number }[] = [];
    const cache = await openSampleCache(Infinity);
    const inputs = samplesIn(ids(), SAMPLES);
    let stores: ReadonlyMap<string, SampleStore> = new Map();
    await sweepBack(
      programs,
      {
        ...{ checkpoint: llama, inputs, cache, batch: SAMPLES },
        differentiate: (store, hooks) => replaceByGradient(programs, llama, store, nextTokens(inputs), hooks),
      },
      {
        build: (graph, layers, { batch }) => {
          const { x, delta } = layers.get(layer)!;
          graph.output('read', x);
          graph.output('delta', delta);
          stores = new Map(
            Object.entries({ read: x, delta }).map(([name, { shape }]) => [
              name,
              cache.store(SAMPLES, (shape[0]! / batch) * shape[1]!),
            ]),
          );
          return new Map();
        },
        keeps: () => stores,
        done: ({ part }) => {
          const { in: n, out } = llama.listing(part).linears.find(({ name }) => name === layer)!;
          const [x, delta] = ['read', 'delta'].map((name) => {
            const store = stores.get(name)!;
            const data = new Float32Array(SAMPLES * store.size);
            store.readSpan(0, data);
            return data;
          }) as [Float32Array, Float32Array];
          kept.push({ x, delta, n, out });
          return Promise.resolve();
        },
      },
      { signal: new AbortController().signal },
    );
    // The first block is the last to be visited.
    const { x, delta, n, out } = kept.at(-1)!;
    const each = Math.ceil(out / slices);
    const found = new Float32Array(Math.ceil(out / each) * n * n);
    for (let t = 0; t < x.length / n; t++)
      for (let row = 0; row < out; row++) {
        const square = delta[t * out + row]! ** 2;
        const at = Math.floor(row / each) * n * n;
        for (let i = 0; i < n; i++)
          for (let j = 0; j < n; j++) found[at + i * n + j]! += square * x[t * n + i]! * x[t * n + j]!;
      }
    return found;
  }

  it('are as many as there are rows at most, and go on to the same bytes', async () => {
    const options = { ...token, rowSlices: 1000 };
    await run('rows', { options });
    const stop = (phase: string, done: number) => phase.startsWith('back') && done > 0.7;
    await expect(run('rows killed', { options, stop })).rejects.toThrow('Cancelled.');
    await run('rows killed', { options, resume: true });
    expect(await bytesOf('rows killed')).toBe(await bytesOf('rows'));
  });
});

describe.each([
  ['spqr', { backend: 'spqr', averageBits: [3.4, 2.9] }, [2.9, 3.4], 'grid'],
  ['billm', { backend: 'billm', groupSize: 8 }, [1], 'binary'],
] as const)('the back-end %s', (name, options, offered, kind) => {
  it('writes a set of forms that its config says', async () => {
    await run(name, { options, bits: null });
    const set = await openAdapterSet(join(folder, name));
    const source = openSource(programs, llama, set);
    expect(source.offered).toEqual(offered);
    for (const bits of offered) {
      let [stated, size] = [0, 0];
      for (const part of llama.model.blocks)
        for (const { name: local, in: columns, out } of llama.listing(part).linears) {
          const weight = await source.weight(part.prefix + local, bits);
          expect(weight.kind).toBe(kind);
          expect(formOf(weight)).toEqual(source.form(part.prefix + local, bits));
          stated += statedBits(formOf(weight))! * columns * out;
          size += columns * out;
        }
      if (kind === 'grid') {
        expect(stated / size).toBeLessThanOrEqual(bits);
        // An outlier of a layer as small as these is a good part of a bit.
        expect(stated / size).toBeGreaterThan(bits - 0.1);
      }
    }
    await set.close();
  });

  it('changes with the Hessian and with its damping', async () => {
    const bits = null;
    await run(name, { options, bits, resume: true });
    for (const change of [{ hessian: 'l2' }, { damping: 0.5 }]) {
      const other = `${name} ${Object.keys(change)[0]}`;
      await run(other, { options: { ...options, ...change }, bits });
      expect(await bytesOf(other)).not.toBe(await bytesOf(name));
    }
  });

  it('interrupted and resumed, has the same bytes', async () => {
    const bits = null;
    await run(name, { options, bits, resume: true });
    const stop = (phase: string, done: number) => phase.startsWith('back') && done > 0.7;
    const killed = `${name} killed`;
    await expect(run(killed, { options, bits, stop })).rejects.toThrow('Cancelled.');
    await run(killed, { options, bits, resume: true });
    expect(await bytesOf(killed)).toBe(await bytesOf(name));
  });
});

describe('1 bit among others', () => {
  it('is BiLLM’s signs by its own damping, beside the grids that the others have without it', async () => {
    await run('mixed', { bits: [3, 1] });
    await run('signs', { options: { backend: 'billm' }, bits: null });
    await run('grids', {});
    const [mixed, signs] = [
      await weightIn('mixed', 'mlp.down_proj', 1),
      await weightIn('signs', 'mlp.down_proj', 1),
    ];
    expect(mixed.kind).toBe('binary');
    expect(mixed).toEqual(signs);
    expect(await weightIn('mixed', 'mlp.down_proj', 3)).toEqual(await weightIn('grids', 'mlp.down_proj', 3));
  });

  it('goes on to the same bytes', async () => {
    const bits = [3, 1];
    const stop = (phase: string, done: number) => phase.startsWith('back') && done > 0.7;
    await expect(run('mixed killed', { bits, stop })).rejects.toThrow('Cancelled.');
    await run('mixed killed', { bits, resume: true });
    expect(await bytesOf('mixed killed')).toBe(await bytesOf('mixed'));
  });
});

describe.each([
  ['weighted', { hessian: 'weighted' }],
  ['a block at a time', { scheme: 'block' }],
  ['a layer at a time', { scheme: 'layer' }],
  ['a block at a time without the loss', { hessian: 'l2', scheme: 'block' }],
  ['signs a layer at a time', { hessian: 'token', scheme: 'layer', backend: 'billm' }],
  [
    'averages, weighted, a block at a time',
    { hessian: 'weighted', scheme: 'block', backend: 'spqr', averageBits: 2.9 },
  ],
] as const)('in order, %s', (name, options) => {
  const bits = 'backend' in options ? null : undefined;
  const asked = { options, ...(bits === null && { bits }) };

  it('tells how far it is, to the end, and stops and goes on to the same bytes', async () => {
    const seen = await run(name, asked);
    for (const [i, done] of seen.entries()) expect(done).toBeGreaterThanOrEqual(seen[i - 1] ?? 0);
    expect(seen.at(-1)).toBeCloseTo(1, 6);
    const killed = `${name} killed`;
    const stop = (_phase: string, done: number) => done > 0.6;
    await expect(run(killed, { ...asked, stop })).rejects.toThrow('Cancelled.');
    await run(killed, { ...asked, resume: true });
    expect(await bytesOf(killed)).toBe(await bytesOf(name));
  });
});

describe('the order of the work', () => {
  const codesOf = async (name: string, layer: string, block: number, bits: number) => {
    const set = await openAdapterSet(join(folder, name));
    const weight = await openSource(programs, llama, set).weight(
      llama.model.blocks[block]!.prefix + layer,
      bits,
    );
    await set.close();
    return (weight as GridWeight).codes;
  };
  const runs = {
    once: { hessian: 'token', scheme: 'once' },
    block: { hessian: 'token', scheme: 'block' },
    layer: { hessian: 'token', scheme: 'layer' },
    weighted: { hessian: 'weighted', scheme: 'layer' },
  } as const;
  it('is one where nothing is quantized yet, and tells after it', async () => {
    for (const [name, options] of Object.entries(runs)) await run(`order ${name}`, { options });
    const q = await Promise.all(
      Object.keys(runs).map((name) => codesOf(`order ${name}`, 'self_attn.q_proj', 0, 2)),
    );
    // The first layer of the first block reads what it does in full precision; its loss is that of an unquantized model.
    for (const codes of q) expect(codes).toEqual(q[0]);
    const later = await Promise.all(
      Object.keys(runs).map(async (name) => [
        ...(await codesOf(`order ${name}`, 'mlp.down_proj', 0, 2)),
        ...(await codesOf(`order ${name}`, 'mlp.down_proj', 1, 2)),
      ]),
    );
    for (const [i, codes] of later.entries())
      for (const other of later.slice(i + 1)) expect(codes).not.toEqual(other);
  });
});

it('refuses a set whose counts are not those of its weights', async () => {
  await run('counts', { options: { backend: 'billm' }, bits: null });
  const path = join(folder, 'counts', 'adapter_config.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as { method: { counts?: object } };
  config.method.counts = {};
  await writeFile(path, JSON.stringify(config));
  await expect(openAdapterSet(join(folder, 'counts'))).rejects.toThrow(
    /^adapter_config.json: method: "counts" must have a number of at most \d+ for "model.layers.0.*" at 1 bits\.$/,
  );
});

it.each([
  ['on the way forward', (phase: string, done: number) => phase === 'forward' && done > 0.1],
  ['on the way back', (phase: string, done: number) => phase.startsWith('back') && done > 0.7],
])('interrupted %s and resumed, has the same bytes', async (when, stop) => {
  await run('whole');
  const name = `killed ${when}`;
  await expect(run(name, { stop })).rejects.toThrow('Cancelled.');
  await run(name, { resume: true });
  expect(await bytesOf(name)).toBe(await bytesOf('whole'));
});

describe('refuses', () => {
  const settings = (config: object, options: Readonly<Record<string, unknown>>, common: object = {}) =>
    resolveRequest(outlineOf('m', config), { model: 'm', method: 'oac', options, ...common });
  it.each([
    [TINY_VIT, { labels: 'data' }, {}, /^Labels of pictures are not read; leave --labels out/],
    [TINY_LLAMA, { hessian: 'l2', labels: 'data' }, {}, /--labels would have no effect/],
    [TINY_LLAMA, {}, { bits: [9] }, /^OAC has bit-widths from 1 to 8, not 9\.$/],
    [TINY_LLAMA, {}, { mode: 'weight-activation' }, /^OAC quantizes weights alone/],
    [TINY_LLAMA, { damping: 0 }, {}, /damping/],
    [TINY_LLAMA, { hessian: 'weighted', scheme: 'once' }, {}, /choose the scheme block or layer/],
    [TINY_LLAMA, { hessian: 'l2', mix: 0.5 }, {}, /--mix would have no effect/],
    [TINY_LLAMA, { rowSlices: 2 }, {}, /--row-slices would have no effect: the Hessian sequence is one/],
    [
      TINY_LLAMA,
      { hessian: 'token', rowSlices: 2 },
      { bits: [2, 1] },
      /^Only GPTQ rounds slices of rows apart/,
    ],
    [TINY_LLAMA, { averageBits: 2.3 }, {}, /--average-bits would have no effect: the back-end gptq/],
    [TINY_LLAMA, { backend: 'billm', averageBits: 2.3 }, {}, /--average-bits would have no effect/],
    [TINY_LLAMA, { backend: 'billm' }, { bits: [2, 1] }, /^The back-end billm has 1 bit, not 2\.$/],
    [TINY_LLAMA, { backend: 'spqr' }, { bits: [2] }, /^SpQR has averages above 2.08 bits, not 2/],
    [
      TINY_LLAMA,
      { backend: 'spqr', averageBits: 3 },
      { bits: [3] },
      /give --average-bits or --bits, not both\.$/,
    ],
    [TINY_LLAMA, { backend: 'spqr', averageBits: [3, 2] }, {}, /^SpQR has averages above 2.08 bits, not 2/],
  ])('%j %j %j', (config, options, common, message) => {
    expect(() => settings(config, options, common)).toThrow(message);
  });

  it('a loss that no longer depends on an input, by the name of the layer', async () => {
    // Weights of the down projection that are zeros keep the gradient from the gate.
    const read: Checkpoint['read'] = async (part) => {
      const parameters = await llama.read(part);
      parameters.get('mlp.down_proj.weight')?.data.fill(0);
      return parameters;
    };
    await expect(run('flat', { checkpoint: { ...llama, read } })).rejects.toThrow(
      /^model\.layers\.1\.mlp\.(gate|up)_proj: the model's loss does not depend on input 0/,
    );
  });
});
