/** What a model's activations and weights are worth must not depend on how large their numbers are. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { openElasticModel } from '../engine/execution/quantized-model.js';
import { openSampleCache, samplesIn } from '../engine/execution/sample-store.js';
import { normals, usePrograms } from '../engine/execution/testing.js';
import { openSafetensors } from '../engine/formats/safetensors.js';
import { writeSafetensors } from '../engine/formats/safetensors-write.js';
import { calibrate } from '../engine/methods/calibrate.js';
import type { AnyMethod } from '../engine/methods/method.js';
import { methods } from '../engine/methods/registry.js';
import { resolveRequest } from '../engine/methods/request.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { inputSize } from '../engine/models/model.js';
import type { Mode } from '../engine/protocol/protocol.js';
import { outlineOf, temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from './fixtures.js';

const programs = usePrograms();
const SAMPLES = 8;
const TOKENS = 6;
const BITS = [8, 3];

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
afterAll(() => cleanUp());

const configs = { vit: TINY_VIT, llama: TINY_LLAMA };
type Family = keyof typeof configs;
const open = (path: string, family: Family) =>
  openCheckpoint(path, family === 'llama' ? { tokens: TOKENS } : {});

/** A random model, some of its tensors multiplied. @param factorOf of a tensor, by its name */
async function writeModel(name: string, family: Family, factorOf: (tensor: string) => number = () => 1) {
  const path = join(folder, name);
  await writeRandomModel(path, configs[family]);
  const file = join(path, 'model.safetensors');
  const source = await openSafetensors(file);
  const tensors = await Promise.all(
    [...source.tensors.values()].map(async ({ name: tensor, shape }) => ({
      name: tensor,
      dtype: 'F32' as const,
      shape,
      data: (await source.read(tensor)).map((x) => x * factorOf(tensor)),
    })),
  );
  await source.close();
  await writeSafetensors(file, tensors, { format: 'pt' });
  return path;
}

/** The same function with every norm's output so many times larger, and the layers behind smaller. */
async function writeRescaled(name: string, family: Family, factor: number): Promise<string> {
  const plain = await open(await writeModel(`${name}-plain`, family), family);
  const factors = new Map<string, number>();
  for (const part of plain.model.blocks)
    for (const { name: layer, norm } of plain.listing(part).linears)
      if (norm !== undefined) {
        factors.set(`${part.prefix}${layer}.weight`, 1 / factor);
        for (const key of ['weight', 'bias']) factors.set(`${part.prefix}${norm}.${key}`, factor);
      }
  await plain.close();
  expect(factors.size).toBeGreaterThan(8);
  return writeModel(name, family, (tensor) => factors.get(tensor) ?? 1);
}

function samplesOf({ model }: Checkpoint) {
  const size = SAMPLES * inputSize(model.stem);
  const isText = model.stem.inputType === 'int64';
  const ids = () => BigInt64Array.from({ length: size }, (_, i) => BigInt((i * 7 + 3) % 11));
  const data = isText ? ids() : normals([size], 'samples').data;
  const inputs = isText
    ? samplesIn(data as BigInt64Array, SAMPLES)
    : samplesIn(data as Float32Array, SAMPLES);
  return { inputs, x: programs.runtime.tensor(data, model.stem.inputShape(SAMPLES)) };
}

interface Asked {
  readonly method: string;
  readonly mode: Mode;
  readonly bits?: readonly number[];
  readonly options?: Readonly<Record<string, unknown>>;
}

/** Calibrates the model; its logits at every bit-width. */
async function quantized(path: string, family: Family, asked: Asked): Promise<Map<number, Float32Array>> {
  const checkpoint = await open(path, family);
  return calibrated(checkpoint, asked).finally(() => checkpoint.close());
}

async function calibrated(checkpoint: Checkpoint, { method, mode, bits = BITS, options = {} }: Asked) {
  const { inputs, x } = samplesOf(checkpoint);
  const out = `${checkpoint.folder}-${method}-${mode}-set`;
  const request = { model: checkpoint.folder, method, mode, bits: [...bits], options };
  const resolved = resolveRequest(checkpoint, request);
  const asked = {
    ...resolved,
    checkpoint,
    out,
    resume: false,
    cache: await openSampleCache(Infinity),
    distance: meanDivergence,
    engineVersion: '0',
  };
  const set = { inputs, name: 'samples', fingerprint: '0'.repeat(64) };
  await calibrate(programs, resolved.settings.samples > 0 ? { ...asked, set } : asked, {
    signal: new AbortController().signal,
    status: () => undefined,
    note: () => undefined,
  });
  const opened = await openAdapterSet(out);
  const elastic = await openElasticModel(programs, openSource(programs, checkpoint, opened));
  const found = new Map<number, Float32Array>();
  for (const b of bits) {
    await elastic.use(b);
    found.set(b, (await elastic.run(x, SAMPLES)).slice());
  }
  elastic.dispose();
  await opened.close();
  return found;
}

const hasMode = (method: AnyMethod, family: Family, mode: Mode) =>
  method.modes(outlineOf(family, configs[family])).includes(mode);

/** Nothing is trained, and no scale is a rounded power: what is left are products with powers of two, which are exact. */
const STILL = { rateLora: 0, rateClip: 0, epochs: 1, batch: 4, rank: 1 };
const OPTIONS: Readonly<Record<string, (family: Family, mode: Mode) => Readonly<Record<string, unknown>>>> = {
  quept: (family, mode) => ({
    ...STILL,
    ...(family === 'vit' && { rateScale: 0 }),
    ...(mode === 'weight-only' && { smooth: 'off', adapterStart: 'random' }),
  }),
  sliderquant: () => ({ adapterRate: 0, clipRate: 0, epochs: 2, batch: 4, rank: 1 }),
};

describe('the same function with other numbers is quantized alike', () => {
  const cases = methods.flatMap((method) =>
    (
      [
        ['vit', 'weight-activation'],
        ['llama', 'weight-activation'],
        ['llama', 'weight-only'],
      ] as const
    ).flatMap(([family, mode]) =>
      hasMode(method, family, mode) ? [{ method: method.name, family, mode }] : [],
    ),
  );

  it.each(cases)('$method, $family, $mode', async ({ method, family, mode }) => {
    const asked = { method, mode, options: OPTIONS[method]?.(family, mode) ?? {} };
    const name = `${method}-${family}-${mode}`;
    const expected = await quantized(await writeModel(name, family), family, asked);
    expect(new Set([...expected.values()].map(String)).size).toBe(BITS.length);
    const rescaled = await writeRescaled(`${name}-rescaled`, family, 2 ** 17);
    expect(await quantized(rescaled, family, asked)).toEqual(expected);
  });
});

describe('small or dead activations', () => {
  const asked = { method: 'quept', mode: 'weight-activation', bits: [8, 4] } as const;
  const of = (layers: string) => new RegExp(`layer\\.0\\.attention\\.attention\\.(${layers})\\.`);

  it.each([
    ['keys of zero', of('key'), 0],
    ['queries and keys a hundredth of what they were', of('query|key'), 0.01],
    ['outputs of a norm of zero', /layer\.1\.layernorm_before\.(weight|bias)/, 0],
  ])('%s are calibrated: learned scales stay positive', async (name, pattern, factor) => {
    const path = await writeModel(name, 'vit', (tensor) => (pattern.test(tensor) ? factor : 1));
    // A rate that takes ordinary scales below zero, too.
    const options = { epochs: 4, batch: 4, rank: 1, rateScale: 1e-2, guard: 'off' };
    for (const logits of (await quantized(path, 'vit', { ...asked, options })).values())
      expect(logits.every(Number.isFinite)).toBe(true);
  });
});

describe('activations that overflow', () => {
  const asked = methods.map((own) => {
    const [family, mode] = hasMode(own, 'vit', 'weight-activation')
      ? (['vit', 'weight-activation'] as const)
      : (['llama', 'weight-only'] as const);
    return [own.name, family, mode] as const;
  });
  // Without data nobody knows.
  const reading = asked.filter(
    ([method, family, mode]) =>
      resolveRequest(outlineOf(family, configs[family]), { model: 'm', method, mode }).settings.samples > 0,
  );

  it.each(reading)(
    'are refused by %s in a line that names the layer (%s, %s)',
    async (method, family, mode) => {
      const path = await writeModel(`overflow-${method}`, family, (tensor) =>
        /\.1\.(layernorm_before|input_layernorm)\.weight/.test(tensor) ? 1e38 : 1,
      );
      await expect(quantized(path, family, { method, mode })).rejects.toThrow(
        /^\S+1\.\S+: what it reads is NaN, infinite or too large/,
      );
    },
  );
});
