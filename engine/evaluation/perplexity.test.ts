import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../test/fixtures.js';
import { createRandom } from '../data/random.js';
import { openPlainModel, type RunnableModel } from '../execution/model.js';
import { openElasticModel, quantizedParts } from '../execution/quantized-model.js';
import { plainParts } from '../execution/part-by-part.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { headOf, type LanguageModel } from '../models/model.js';
import { openPrograms, type Programs } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import { evaluatePerplexity, type Windows } from './perplexity.js';
import type { OwnCandidate } from './rows.js';
import { roundedSource } from '../execution/testing.js';
import type { EvaluationRow } from '../protocol/protocol.js';

const LENGTH = 6;
let checkpoint: Checkpoint;
let model: LanguageModel;
let programs: Programs;
let plain: RunnableModel;
let full: OwnCandidate;
let cleanUp: () => Promise<void>;
const hooks = { signal: new AbortController().signal, status: () => undefined };
const limits = { memory: 1 << 20 };

beforeAll(async () => {
  const temporary = await temporaryFolder();
  cleanUp = temporary.cleanUp;
  await writeRandomModel(join(temporary.folder, 'model'), TINY_LLAMA);
  checkpoint = await openCheckpoint(join(temporary.folder, 'model'), { tokens: LENGTH });
  model = checkpoint.model as LanguageModel;
  programs = openPrograms(openRuntime('cpu', 1));
  plain = await openPlainModel(programs, checkpoint);
  const open = plainParts(programs, checkpoint);
  full = { label: 'full', kind: 'full', bits: 'fp', bytes: 1, build: () => ({ model, open }) };
});
afterAll(async () => {
  plain.dispose();
  await programs.release();
  await checkpoint.close();
  await cleanUp();
});

const windowsOf = (count: number): Windows => {
  const random = createRandom(5, 'ids');
  const ids = Int32Array.from({ length: count * LENGTH }, () => random.integer(model.vocabulary));
  return { ids, count, length: LENGTH };
};

/** log p of every token of the vocabulary, at every place but the last of a window, in float64. */
async function* logProbabilities({ ids, count }: Windows, runnable: RunnableModel) {
  for (let w = 0; w < count; w++) {
    const window = ids.subarray(w * LENGTH, (w + 1) * LENGTH);
    const logits = await runnable.run(
      programs.runtime.tensor(BigInt64Array.from(window, BigInt), [1, LENGTH]),
      1,
    );
    for (let t = 0; t + 1 < LENGTH; t++) {
      const row = Array.from(logits.subarray(t * model.vocabulary, (t + 1) * model.vocabulary));
      const total = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
      yield { next: window[t + 1]!, row: row.map((x) => x - total) };
    }
  }
}

/** The definition of perplexity. */
async function byHand(windows: Windows, runnable = plain): Promise<number> {
  let sum = 0;
  for await (const { next, row } of logProbabilities(windows, runnable)) sum -= row[next]!;
  return Math.exp(sum / (windows.count * (LENGTH - 1)));
}

/** The definition of the divergence from full precision. */
async function divergenceByHand(windows: Windows, runnable: RunnableModel): Promise<number> {
  const rows = async (model: RunnableModel) => {
    const found: number[][] = [];
    for await (const { row } of logProbabilities(windows, model)) found.push(row);
    return found;
  };
  const [p, q] = [await rows(plain), await rows(runnable)];
  const each = p.map((row, t) => row.reduce((sum, x, c) => sum + Math.exp(x) * (x - q[t]![c]!), 0));
  return each.reduce((a, b) => a + b, 0) / each.length;
}

describe('evaluatePerplexity', () => {
  it.each([1, 7])(
    'of %i windows is exp of the mean loss of every token but the first of a window',
    async (count) => {
      const windows = windowsOf(count);
      const [row] = await evaluatePerplexity(programs, checkpoint, [full], windows, limits, hooks);
      expect(row).toMatchObject({ label: 'full', kind: 'full', bits: 'fp', bytes: 1, samples: count });
      expect(row!.perplexity! / (await byHand(windows))).toBeCloseTo(1, 5);
    },
  );

  it('depends neither on how many windows go through the model at once nor on how many rows of logits', async () => {
    const windows = windowsOf(7);
    const expected = await byHand(windows);
    for (const [each, rows] of [
      [1, 1],
      [3, 4],
      [7, 30],
      [9, 100],
    ] as const) {
      const some = { memory: each * headOf(model).size * 4, rows };
      const [row] = await evaluatePerplexity(programs, checkpoint, [full], windows, some, hooks);
      expect(row!.perplexity! / expected, `${each} windows, ${rows} rows`).toBeCloseTo(1, 5);
    }
  });

  it('runs every candidate, and reports the rows that are done while it goes on', async () => {
    const rounded = roundedSource(programs, checkpoint, [8, 2]);
    const candidates = [8, 2].map((bits): OwnCandidate => {
      const open = quantizedParts(programs, rounded, bits);
      return { label: 'rounding', kind: 'baseline', bits, bytes: bits, build: () => ({ model, open }) };
    });
    const windows = windowsOf(2);
    const seen: (readonly [number, number])[] = [];
    const status = (done: number, rows: readonly EvaluationRow[]) => void seen.push([done, rows.length]);
    const rows = await evaluatePerplexity(programs, checkpoint, [full, ...candidates], windows, limits, {
      ...hooks,
      status,
    });
    const elastic = await openElasticModel(programs, rounded);
    for (const [i, bits] of [8, 2].entries()) {
      await elastic.use(bits);
      expect(rows[i + 1]).toMatchObject({ kind: 'baseline', bits, bytes: bits });
      expect(rows[i + 1]!.perplexity! / (await byHand(windows, elastic))).toBeCloseTo(1, 5);
      expect(rows[i + 1]!.kl! / (await divergenceByHand(windows, elastic))).toBeCloseTo(1, 2);
    }
    // d exp(x) = exp(x) dx: a perplexity moves with a window's loss by itself.
    await elastic.use(2);
    const byWindow: number[] = [];
    for (let w = 0; w < windows.count; w++) {
      const one = { ...windows, ids: windows.ids.subarray(w * LENGTH, (w + 1) * LENGTH), count: 1 };
      const [own, other] = [Math.log(await byHand(one, elastic)), Math.log(await byHand(one))];
      byWindow.push(rows[2]!.perplexity! * own - rows[0]!.perplexity! * other);
    }
    const error = Math.abs(byWindow[0]! - byWindow[1]!) / 2;
    expect(rows[2]!.scoreError! / error).toBeCloseTo(1, 3);
    expect(rows[0]).not.toHaveProperty('scoreError');
    elastic.dispose();
    // However few windows are in memory at once.
    const few = { memory: headOf(model).size * 4 };
    const again = await evaluatePerplexity(programs, checkpoint, [full, ...candidates], windows, few, hooks);
    expect(again[2]!.kl! / rows[2]!.kl!).toBeCloseTo(1, 5);
    expect(rows[0]).toMatchObject({ kl: 0 });
    expect(seen[0]![1]).toBe(0);
    expect(seen.at(-1)).toEqual([1, 3]);
    for (const [i, [done, count]] of seen.slice(1).entries()) {
      expect(done).toBeGreaterThanOrEqual(seen[i]![0]);
      expect(count).toBeGreaterThanOrEqual(seen[i]![1]);
    }
  });

  it('stops when asked to', async () => {
    const stop = { ...hooks, signal: AbortSignal.abort() };
    const run = evaluatePerplexity(programs, checkpoint, [full], windowsOf(1), limits, stop);
    await expect(run).rejects.toThrow('Cancelled.');
  });
});
