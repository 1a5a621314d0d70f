import { beforeAll, describe, expect, it } from 'vitest';
import { maxDifference } from '../../../test/support.js';
import { everySample, openSampleCache, type SampleStore } from '../../execution/sample-store.js';
import { adapterLayout } from './adapters.js';
import { openPlainPart, type RunnablePart } from '../../execution/part.js';
import { openElasticPart, type ElasticPart } from '../../execution/quantized-part.js';
import { hasOwnStreams, type MergeMode } from './merge.js';
import { bitGroups, PAPER_VIT, type QueptOptions } from './options.js';
import { runSamples } from '../../execution/part-by-part.js';
import { advanceStreams } from './streams.js';
import { contentsOf, normals, rowsOf, storeOf, tinyBlock, usePrograms } from '../../execution/testing.js';
import { learnedBlock } from './testing.js';

const programs = usePrograms();
const calibrated = tinyBlock();
const { part, listing, parameters } = calibrated;
const [SAMPLES, TOKENS, FEATURES] = [7, 5, 16];
const SIZE = TOKENS * FEATURES;
/** Leaves a last batch of one. */
const BATCH = 3;
const groups = bitGroups([[7, 8], [5, 6], [4]], 2);
const layout = adapterLayout(listing, groups, true);
const streams = groups.map((_, g) => normals([SAMPLES * SIZE], 'stream', g).data);

let elastic: ElasticPart;
beforeAll(async () => {
  elastic = await openElasticPart(programs, part, listing, learnedBlock(calibrated, layout));
});

const sample = (stream: Float32Array, s: number) => stream.slice(s * SIZE, (s + 1) * SIZE);
const options = (change: Partial<QueptOptions>): QueptOptions => ({
  ...PAPER_VIT,
  groups,
  batch: BATCH,
  keep: 0.5,
  ...change,
});
const { signal } = new AbortController();

/** What becomes of the streams: those given, or the first alone, of which every group gets a copy where it needs one. */
async function advance(
  merge: MergeMode,
  change: Partial<QueptOptions> = {},
  sources = hasOwnStreams(merge) ? groups.map(() => streams[0]!) : streams.slice(0, 1),
): Promise<Float32Array[]> {
  const cache = await openSampleCache(Infinity);
  const stores: SampleStore[] = [];
  for (const data of sources) stores.push(await storeOf(data, SAMPLES));
  await advanceStreams(
    programs,
    { part, elastic, layout },
    { streams: stores },
    { cache, options: options({ merge, ...change }), signal },
  );
  expect(cache.held.memory).toBe(0);
  return stores.map(contentsOf);
}

/** The output of a part for every sample. */
async function runAll(runnable: RunnablePart, data: Float32Array, samples = SAMPLES, batch = BATCH) {
  const store = await storeOf(data, samples);
  await runSamples(programs, { part, runnable, source: store, batch }, everySample(store), store, { signal });
  return contentsOf(store);
}

describe('runSamples', () => {
  it('runs every sample, those of a last batch that is not full too', async () => {
    const plain = await openPlainPart(programs, part, parameters);
    const all = await runAll(plain, streams[0]!);
    for (let s = 0; s < SAMPLES; s++) {
      const y = await plain.run(programs.runtime.tensor(sample(streams[0]!, s), part.inputShape(1)), 1);
      expect(maxDifference(sample(all, s), (await programs.runtime.read(y)).slice())).toBeLessThan(1e-5);
    }
    plain.dispose();
  });

  it('leaves the samples that it is not asked for as they are', async () => {
    const plain = await openPlainPart(programs, part, parameters);
    const store = await storeOf(streams[0]!, SAMPLES);
    const run = { part, runnable: plain, source: store, batch: BATCH };
    await runSamples(programs, run, [5, 1], store, { signal });
    const [some, all] = [contentsOf(store), await runAll(plain, streams[0]!)];
    for (let s = 0; s < SAMPLES; s++)
      expect(maxDifference(sample(some, s), sample([1, 5].includes(s) ? all : streams[0]!, s))).toBeLessThan(
        1e-5,
      );
    plain.dispose();
  });

  it('stops when asked to', async () => {
    const store = await storeOf(streams[0]!, SAMPLES);
    const one = { part, runnable: elastic, source: store, batch: 1 };
    const run = runSamples(programs, one, [0], store, { signal: AbortSignal.abort() });
    await expect(run).rejects.toThrow('Cancelled.');
  });

  it('takes a batch larger than the samples', async () => {
    const plain = await openPlainPart(programs, part, parameters);
    const [one, many] = [await runAll(plain, sample(streams[0]!, 2), 1, 4), await runAll(plain, streams[0]!)];
    expect(maxDifference(one, sample(many, 2))).toBeLessThan(1e-5);
    plain.dispose();
  });
});

describe('without merging', () => {
  it('every group goes on with its own stream, each sample at one of its bit-widths', async () => {
    const outputs = await advance('off', {}, streams);
    expect(outputs).toHaveLength(groups.length);
    for (const [g, { bits }] of groups.entries()) {
      const at = new Map<number, Float32Array>();
      for (const b of bits) {
        await elastic.use(b);
        at.set(b, await runAll(elastic, streams[g]!));
      }
      const drawn = Array.from({ length: SAMPLES }, (_, s) =>
        bits.find((b) => maxDifference(sample(outputs[g]!, s), sample(at.get(b)!, s)) < 1e-5),
      );
      expect(new Set(drawn)).toEqual(new Set(bits));
    }
  });

  it('drawn, carries on as they do: sources are drawn where they are read', async () => {
    expect(await advance('drawn', {}, streams)).toEqual(await advance('off', {}, streams));
  });

  it('groups that share a stream part from it', async () => {
    const [high, middle, low] = await advance('off');
    expect(maxDifference(high!, middle!)).toBeGreaterThan(1e-3);
    expect(maxDifference(middle!, low!)).toBeGreaterThan(1e-3);
  });
});

describe('merging', () => {
  const KEPT = Math.floor(0.5 * TOKENS);

  /** Says of each token of each sample whether it is the first group's, the mixture by `weights`, or neither. */
  function tell(found: Float32Array, outputs: readonly Float32Array[], weights: readonly number[]): string[] {
    const rows = (data: Float32Array) => rowsOf({ shape: [SAMPLES * TOKENS, FEATURES], data });
    const all = outputs.map(rows);
    const words = rows(found).map((row, t) => {
      if (row.every((v, i) => v === all[0]![t]![i])) return 'K';
      return row.every(
        (v, i) => Math.abs(v - all.reduce((sum, x, g) => sum + weights[g]! * x[t]![i]!, 0)) < 1e-5,
      )
        ? 'm'
        : '?';
    });
    return Array.from({ length: SAMPLES }, (_, s) => words.slice(s * TOKENS, (s + 1) * TOKENS).join(''));
  }

  /** The tokens of each sample that are most alike in two streams. */
  function alike(a: Float32Array, b: Float32Array): string[] {
    const [left, right] = [a, b].map((data) => rowsOf({ shape: [SAMPLES * TOKENS, FEATURES], data })) as [
      number[][],
      number[][],
    ];
    const dot = (x: number[], y: number[]) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
    const score = left.map((x, t) => dot(x, right[t]!) / Math.sqrt(dot(x, x) * dot(right[t]!, right[t]!)));
    return Array.from({ length: SAMPLES }, (_, s) => {
      const own = score.slice(s * TOKENS, (s + 1) * TOKENS);
      const least = [...own].sort((p, q) => q - p)[KEPT - 1]!;
      return own.map((v) => (v >= least ? 'K' : 'm')).join('');
    });
  }

  it('selectively keeps the tokens most alike between the highest and the lowest group, in every sample', async () => {
    const outputs = await advance('off');
    const [merged, ...more] = await advance('selective');
    expect(more).toEqual([]);
    expect(tell(merged!, outputs, PAPER_VIT.mergeWeights)).toEqual(alike(outputs[0]!, outputs[2]!));
  });

  it('at random keeps as many, but others', async () => {
    const outputs = await advance('off');
    const [merged] = await advance('random');
    const words = tell(merged!, outputs, PAPER_VIT.mergeWeights);
    for (const word of words)
      expect([...word].sort().join('')).toBe('K'.repeat(KEPT) + 'm'.repeat(TOKENS - KEPT));
    expect(new Set(words).size).toBeGreaterThan(1);
    expect(words).not.toEqual(alike(outputs[0]!, outputs[2]!));
  });

  it.each<[string, Partial<QueptOptions>, Partial<QueptOptions>]>([
    ['how many are kept', { keep: 0.2 }, { keep: 0.8 }],
    ['weights', { mergeWeights: [0.2, 0.2, 0.6] }, { mergeWeights: [0.6, 0.2, 0.2] }],
  ])('goes by %s of the run, not of one before it', async (_what, first, second) => {
    expect(await advance('selective', first)).not.toEqual(await advance('selective', second));
  });

  it('uniformly mixes every token', async () => {
    const [merged] = await advance('uniform');
    expect(tell(merged!, await advance('off'), PAPER_VIT.mergeWeights)).toEqual(
      Array<string>(SAMPLES).fill('mmmmm'),
    );
  });
});

describe.each<[MergeMode]>([['selective'], ['uniform'], ['random'], ['drawn'], ['off']])('%s', (merge) => {
  it('gives the same for the same seed, other for another', async () => {
    const sources = hasOwnStreams(merge) ? streams : streams.slice(0, 1);
    const first = await advance(merge, {}, sources);
    expect(await advance(merge, {}, sources)).toEqual(first);
    expect(await advance(merge, { seed: 1 }, sources)).not.toEqual(first);
    expect(first.every((stream) => stream.every(Number.isFinite))).toBe(true);
  });
});
