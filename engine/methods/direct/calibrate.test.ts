import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../../test/fixtures.js';
import { maxDifference } from '../../../test/support.js';
import { sizeOf } from '../../graph/ir.js';
import { divergences } from '../../execution/divergences.js';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import { openSampleCache, samplesIn } from '../../execution/sample-store.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { DTYPE_BYTES } from '../../formats/safetensors-header.js';
import { formOf } from '../../quantized/form.js';
import { toFloats } from '../../quantized/weight.js';
import { openAdapterSet, openSource } from '../sets.js';
import { factorMoment } from '../../backends/moment-factor.js';
import { roundWidths, siteOf } from './site.js';
import { readWeight, storedBits, tensorsAt } from './stored.js';
import { calibrateDirect } from './testing.js';

const programs = usePrograms();
const [SAMPLES, TOKENS] = [12, 6];
/** A tenth of the samples. */
const HELD_OUT = 1;
const IDS = BigInt64Array.from({ length: SAMPLES * TOKENS }, (_, i) => BigInt((i * 7 + (i % 5)) % 11));
const ALL = [8, 7, 6, 5, 4, 3, 2, 1];

let folder: string;
let cleanUp: () => Promise<void>;
let checkpoint: Checkpoint;
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(join(folder, 'model'), TINY_LLAMA);
  checkpoint = await openCheckpoint(join(folder, 'model'), { tokens: TOKENS });
});
afterAll(async () => {
  await checkpoint.close();
  await cleanUp();
});

function run(
  name: string,
  {
    bits = ALL,
    effort = 'default',
    weighting,
    resume = false,
  }: { bits?: number[]; effort?: string; weighting?: string; resume?: boolean } = {},
  stop?: (phase: string, done: number) => boolean,
) {
  const asked = { bits, options: { effort, ...(weighting && { weighting }) }, resume };
  return calibrateDirect(programs, checkpoint, samplesIn(IDS, SAMPLES), join(folder, name), asked, stop);
}

const bytesOf = async (name: string) => readFile(join(folder, name, 'adapter_model.safetensors'), 'hex');

describe('a set of all bit-widths', () => {
  it('opens at each of them, on grids as they are stored', async () => {
    const seen = await run('all');
    for (const [i, done] of seen.entries()) {
      expect(done).toBeGreaterThanOrEqual(seen[i - 1] ?? 0);
      expect(done).toBeLessThanOrEqual(1 + 1e-9);
    }
    const set = await openAdapterSet(join(folder, 'all'));
    const source = openSource(programs, checkpoint, set);
    expect(source.offered).toEqual([...ALL].reverse());
    const [part] = checkpoint.model.blocks;
    const name = `${part!.prefix}mlp.down_proj`;
    for (const bits of ALL) {
      const weight = await source.weight(name, bits);
      if (weight.kind !== 'grid') throw new Error('not on a grid');
      expect(formOf(weight)).toEqual({ zeroBits: bits, ...source.form(name, bits) });
      expect(Math.max(...weight.codes)).toBeLessThan(2 ** bits);
      expect(weight.zero.every((z) => Number.isInteger(bits > 4 ? z : 2 * z))).toBe(true);
      // Scales are stored in half of their bits.
      expect(
        new Uint32Array(weight.scale.buffer).every((word) => (bits > 4 && bits < 8) || (word & 0xffff) === 0),
      ).toBe(true);
    }
    // What makes up for errors made before it measures better wherever it is tried.
    const made = ALL.map((bits) => [`${bits}`, bits > 4 ? 'once' : 'stream']);
    expect(set.config.method.made).toEqual(Object.fromEntries(made));
    await set.close();
  });

  it.each([
    ['at the first block', (phase: string) => phase.startsWith('all') && phase.includes('block 2')],
    ['on the streams', (phase: string) => phase.startsWith('a stream') && phase.includes('block 2')],
    ['while it compares', (phase: string) => phase === 'comparing'],
  ])('interrupted %s and resumed, has the same bytes', async (when, stop) => {
    const name = `killed ${when}`;
    await expect(run(name, {}, stop)).rejects.toThrow('Cancelled.');
    await run(name, { resume: true });
    expect(await bytesOf(name)).toBe(await bytesOf('all'));
  });
});

describe('weighted by the loss', () => {
  const asked = { bits: [5, 3, 2], effort: 'high', weighting: 'loss' };
  beforeAll(async () => {
    await run('weighted', asked);
  });

  it('has other weights at every bit-width, and its set says so', async () => {
    await run('plain', { ...asked, weighting: 'plain' });
    const [one, other] = await Promise.all(
      ['weighted', 'plain'].map((name) => openAdapterSet(join(folder, name))),
    );
    expect(one!.config.method.weighting).toBe('loss');
    expect(other!.config.method).not.toHaveProperty('weighting');
    const name = `${checkpoint.model.blocks[0]!.prefix}mlp.down_proj`;
    for (const bits of asked.bits) {
      const [a, b] = await Promise.all(
        [one!, other!].map((set) => openSource(programs, checkpoint, set).weight(name, bits)),
      );
      expect(toFloats(a!), `${bits} bits`).not.toEqual(toFloats(b!));
    }
    await Promise.all([one!.close(), other!.close()]);
  });

  it.each([
    ['while gradients pass', (phase: string) => phase === 'gradients'],
    ['at the second block', (phase: string) => phase.startsWith('all') && phase.includes('block 2')],
    ['on the streams', (phase: string) => phase.startsWith('a stream') && phase.includes('block 2')],
    ['in training', (phase: string) => phase.startsWith('training') && phase.includes('block 2')],
  ])('interrupted %s and resumed, has the same bytes', async (when, stop) => {
    const name = `weighted, killed ${when}`;
    await expect(run(name, asked, stop)).rejects.toThrow('Cancelled.');
    await run(name, { ...asked, resume: true });
    expect(await bytesOf(name)).toBe(await bytesOf('weighted'));
  });
});

const TRAINED = [
  [
    'high',
    [
      ['while gradients pass', (phase: string) => phase === 'gradients'],
      ['in training', (phase: string) => phase.startsWith('training') && phase.includes('block 2')],
    ],
  ],
  ['best', [['in training', (phase: string) => phase.startsWith('training end to end')]]],
] as const;

describe.each(TRAINED)('%s effort', (effort, stops) => {
  const asked = { bits: [3, 2], effort };
  beforeAll(async () => {
    await run(effort, asked);
  });

  it.each(stops)('interrupted %s and resumed, has the same bytes', async (when, stop) => {
    const name = `${effort} killed ${when}`;
    await expect(run(name, asked, stop)).rejects.toThrow('Cancelled.');
    await run(name, { ...asked, resume: true });
    expect(await bytesOf(name)).toBe(await bytesOf(effort));
  });

  it('is at no bit-width further from the model on held-out samples than less effort', async () => {
    const untrained = `less than ${effort}`;
    await run(untrained, { ...asked, effort: 'default' });
    const inputs = samplesIn(IDS.subarray((SAMPLES - HELD_OUT) * TOKENS), HELD_OUT);
    const costs: number[][] = [];
    for (const name of [effort, untrained]) {
      const set = await openAdapterSet(join(folder, name));
      const source = openSource(programs, checkpoint, set);
      const models = asked.bits.map((bits) => quantizedParts(programs, source, bits));
      const cache = await openSampleCache(Infinity);
      const task = { checkpoint, inputs, batch: HELD_OUT, cache, distance: meanDivergence };
      costs.push(await divergences(programs, task, models, { signal: new AbortController().signal }));
      await set.close();
    }
    costs[0]!.forEach((cost, i) => expect(cost).toBeLessThanOrEqual(costs[1]![i]!));
  });
});

it.each([[[6]], [[8, 3]], [[7, 5]], [[4, 2]], [[1]]])('offers just %j', async (bits) => {
  const name = bits.join('-');
  await run(name, { bits, effort: 'quick' });
  const set = await openAdapterSet(join(folder, name));
  const source = openSource(programs, checkpoint, set);
  const [part] = checkpoint.model.blocks;
  const layer = `${part!.prefix}self_attn.k_proj`;
  expect(source.offered).toEqual([...bits].reverse());
  const { data } = (await checkpoint.read(part!)).get('self_attn.k_proj.weight')!;
  const most = data.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
  for (const width of bits) {
    const weight = await source.weight(layer, width);
    expect(weight).toMatchObject({ kind: 'grid', bits: width });
    // Feedback moves an element by steps, of which the range has 2^bits - 1, and clipping by part of the range.
    expect(maxDifference(toFloats(weight), data)).toBeLessThan(most * (0.5 + 4 / (2 ** width - 1)));
  }
  await set.close();
});

it('stores weights as they are rounded', async () => {
  const [out, n] = [5, 40];
  const layout = { offered: ALL, groupSize: 16, halfZeros: 4 };
  const x = normals([60, n], 'inputs').data;
  const hessian = Float32Array.from({ length: n * n }, (_, at) => {
    let sum = 0;
    for (let t = 0; t < 60; t++) sum += x[t * n + Math.floor(at / n)]! * x[t * n + (at % n)]!;
    return sum;
  });
  const hooks = { signal: new AbortController().signal, note: (line: string) => expect.fail(line) };
  const site = siteOf(hessian, await factorMoment(programs, hessian, n, 0.1, 'layer', hooks));
  // The last row has nothing but negative weights, whose zero point is the last code.
  const weight = normals([out, n], 'weight').data.map((x, i) => (i < 4 * n ? x : -Math.abs(x)));
  const found = await roundWidths(programs, site, weight, layout, ALL, hooks.signal);
  for (const bits of ALL) {
    const read = await readWeight(layout, { in: n, out }, bits, (what, width) =>
      Promise.resolve(found.get(width)!.kept.get(what)!.data),
    );
    expect(read, `${bits} bits`).toEqual(found.get(bits)!.weight);
  }
});

it('gives nothing for what an input that was never active is multiplied by', async () => {
  const [out, n, dead] = [3, 20, 7];
  const hessian = new Float32Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) if (i !== dead && j !== dead) hessian[i * n + j] = i === j ? 2 + i : 1;
  const hooks = { signal: new AbortController().signal, note: (line: string) => expect.fail(line) };
  const site = siteOf(hessian, await factorMoment(programs, hessian, n, 0.1, 'layer', hooks));
  const weight = normals([out, n], 'weight').data;
  const wild = weight.map((x, i) => (i % n === dead ? 1000 : x));
  const layout = { offered: [8, 5, 3, 2], groupSize: 16, halfZeros: 4 };
  const [one, other] = [
    await roundWidths(programs, site, weight, layout, layout.offered, hooks.signal),
    await roundWidths(programs, site, wild, layout, layout.offered, hooks.signal),
  ];
  expect(other).toEqual(one);
});

it.each([128, 2048])('takes at most 18 bits per weight for 2 to 8, in layers of %i inputs', (n) => {
  const layout = { offered: ALL.slice(0, -1), groupSize: 128, halfZeros: 4 };
  let bits = 0;
  for (const width of storedBits(layout))
    for (const { shape, dtype = 'F32' } of tensorsAt(layout, { in: n, out: n }, width).values())
      bits += sizeOf(shape) * DTYPE_BYTES.get(dtype)! * 8;
  expect(bits / n ** 2).toBeLessThanOrEqual(18);
});
