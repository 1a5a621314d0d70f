import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../test/fixtures.js';
import { createRandom } from '../data/random.js';
import { openElasticModel, openPlainModel, type RunnableModel } from '../methods/quept/elastic-model.js';
import { roundWeights } from '../methods/quept/rounding.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import type { LanguageModel } from '../models/model.js';
import { openPrograms, type Programs } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import { evaluatePerplexity, type Windows } from './perplexity.js';
import type { EvaluationRow } from './rows.js';
import { checkpointBytes } from './size.js';

const LENGTH = 6;
let checkpoint: Checkpoint;
let model: LanguageModel;
let programs: Programs;
let plain: RunnableModel;
let cleanUp: () => Promise<void>;
const hooks = { signal: new AbortController().signal, status: () => undefined };

beforeAll(async () => {
  const temporary = await temporaryFolder();
  cleanUp = temporary.cleanUp;
  await writeRandomModel(join(temporary.folder, 'model'), TINY_LLAMA);
  checkpoint = await openCheckpoint(join(temporary.folder, 'model'), { tokens: LENGTH });
  model = checkpoint.model as LanguageModel;
  programs = openPrograms(openRuntime('cpu', 1));
  plain = await openPlainModel(programs, checkpoint);
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

/** The definition, window by window in float64. */
async function byHand({ ids, count }: Windows): Promise<number> {
  let sum = 0;
  for (let w = 0; w < count; w++) {
    const window = ids.subarray(w * LENGTH, (w + 1) * LENGTH);
    const logits = await plain.run(
      programs.runtime.tensor(BigInt64Array.from(window, BigInt), [1, LENGTH]),
      1,
    );
    for (let t = 0; t + 1 < LENGTH; t++) {
      const row = Array.from(logits.subarray(t * model.vocabulary, (t + 1) * model.vocabulary));
      sum += Math.log(row.reduce((total, x) => total + Math.exp(x), 0)) - row[window[t + 1]!]!;
    }
  }
  return Math.exp(sum / (count * (LENGTH - 1)));
}

describe('evaluatePerplexity', () => {
  it.each([1, 7])(
    'of %i windows is exp of the mean loss of every token but the first of a window',
    async (count) => {
      const windows = windowsOf(count);
      const [row] = await evaluatePerplexity(programs, checkpoint, plain, [], windows, hooks);
      expect(row!.samples).toBe(count);
      expect(row!.perplexity! / (await byHand(windows))).toBeCloseTo(1, 5);
    },
  );

  it('does not depend on how many windows a run takes, nor counts any twice', async () => {
    const windows = windowsOf(7);
    const expected = await byHand(windows);
    for (const each of [1, 3, 7]) {
      const limit = each * LENGTH * model.vocabulary;
      const [row] = await evaluatePerplexity(programs, checkpoint, plain, [], windows, hooks, limit);
      expect(row!.perplexity! / expected, `${each} windows a run`).toBeCloseTo(1, 5);
    }
  });

  it('reports the rows that are done while it goes on', async () => {
    const elastic = await openElasticModel(programs, checkpoint, roundWeights([8, 2], {}));
    const candidates = [8, 2].map(
      (bits) => ({ label: 'rounding', kind: 'rounding', bits, bytes: bits, model: elastic }) as const,
    );
    const seen: (readonly [number, number])[] = [];
    const status = (done: number, rows: readonly EvaluationRow[]) => void seen.push([done, rows.length]);
    const rows = await evaluatePerplexity(programs, checkpoint, plain, candidates, windowsOf(2), {
      ...hooks,
      status,
    });
    elastic.dispose();
    expect(rows.map(({ kind, bits, bytes }) => [kind, bits, bytes])).toEqual([
      ['full', 'fp', checkpointBytes(checkpoint)],
      ['rounding', 8, 8],
      ['rounding', 2, 2],
    ]);
    expect(seen.map(([, count]) => count)).toEqual([...seen.map(([, count]) => count)].sort());
    expect(seen[0]![1]).toBe(0);
    expect(seen.at(-1)).toEqual([1, 3]);
  });

  it('stops when asked to', async () => {
    const stop = new AbortController();
    stop.abort();
    const run = evaluatePerplexity(programs, checkpoint, plain, [], windowsOf(1), {
      ...hooks,
      signal: stop.signal,
    });
    await expect(run).rejects.toThrow('Cancelled.');
  });
});
