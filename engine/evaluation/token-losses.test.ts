import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../test/fixtures.js';
import { createRandom } from '../data/random.js';
import { openPlainModel } from '../execution/model.js';
import { openSampleCache } from '../execution/sample-store.js';
import { matrixFlops } from '../graph/work.js';
import type { Programs } from '../runtime/programs.js';
import { plainParts } from '../execution/part-by-part.js';
import { usePrograms } from '../execution/testing.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { logProbabilities } from './testing.js';
import { NOT_SCORED, tokenScores, type LossLimits, type Texts } from './token-losses.js';

const LENGTH = 8;
const VOCABULARY = TINY_LLAMA.vocab_size;
const programs = usePrograms();
const hooks = { signal: new AbortController().signal };
const limits = { memory: 1 << 20 };
let checkpoint: Checkpoint;
let cleanUp: () => Promise<void>;

beforeAll(async () => {
  const temporary = await temporaryFolder();
  cleanUp = temporary.cleanUp;
  await writeRandomModel(join(temporary.folder, 'model'), TINY_LLAMA);
  checkpoint = await openCheckpoint(join(temporary.folder, 'model'), { tokens: LENGTH });
});
afterAll(async () => {
  await checkpoint.close();
  await cleanUp();
});

const random = createRandom(4, 'texts');
const words = (count: number) => Array.from({ length: count }, () => random.integer(VOCABULARY));
const losses = async (texts: Texts, some: LossLimits = limits) =>
  (
    await tokenScores(
      programs,
      { model: checkpoint.model, open: plainParts(programs, checkpoint), texts, limits: some },
      hooks,
    )
  ).losses;

/** Texts that scores some places of, the others random. */
function textsOf(rows: readonly (readonly number[])[], scored: (row: number, at: number) => boolean): Texts {
  const ids = Int32Array.from(rows.flatMap((row) => row.slice(0, LENGTH)));
  const next = Int32Array.from(
    rows.flatMap((row, r) =>
      row.slice(1, LENGTH + 1).map((token, at) => (scored(r, at) ? token : NOT_SCORED)),
    ),
  );
  return { count: rows.length, length: LENGTH, ids, next };
}

describe('tokenScores', () => {
  it('is −log p of the scored tokens, by hand from the logits, and 0 elsewhere', async () => {
    const rows = Array.from({ length: 5 }, () => words(LENGTH + 1));
    const isScored = (row: number, at: number) => (row + at) % 3 !== 0;
    const found = await losses(textsOf(rows, isScored));
    const plain = await openPlainModel(programs, checkpoint);
    for (const [r, row] of rows.entries()) {
      const byHand = await logProbabilities(programs, plain, row, VOCABULARY);
      for (let at = 0; at < LENGTH; at++)
        if (isScored(r, at)) expect(found[r * LENGTH + at]).toBeCloseTo(-byHand[at]!, 5);
        else expect(found[r * LENGTH + at]).toBe(0);
    }
    plain.dispose();
  });

  it('is no other however much memory it takes', async () => {
    const texts = textsOf(
      Array.from({ length: 7 }, () => words(LENGTH + 1)),
      () => true,
    );
    const whole = await losses(texts);
    for (const [samples, rows] of [
      [1, 1],
      [2, 5],
      [3, 100],
    ] as const) {
      const found = await losses(texts, { memory: samples * LENGTH * 16 * 4, rows });
      for (const [i, loss] of whole.entries()) expect(found[i]).toBeCloseTo(loss, 5);
    }
  });

  it('does not depend on what stands behind a token', async () => {
    const row = words(LENGTH + 1);
    const other = row.map((token, at) => (at > 4 ? (token + 1 + at) % VOCABULARY : token));
    const texts = textsOf([row, other], (_, at) => at < 4);
    const found = await losses(texts);
    for (let at = 0; at < 4; at++) expect(found[at]).toBeCloseTo(found[LENGTH + at]!, 6);
  });

  it('reads no head where nothing is scored', async () => {
    const texts = textsOf([words(LENGTH + 1)], () => false);
    expect([...(await losses(texts))]).toEqual(Array(LENGTH).fill(0));
  });

  it('tells how far it is by the arithmetic that is done, of a head that is most of it and of one that runs twice', async () => {
    const path = join(checkpoint.folder, '../large');
    await writeRandomModel(path, { ...TINY_LLAMA, vocab_size: 500 });
    const large = await openCheckpoint(path, { tokens: LENGTH });
    let flops = 0;
    const counting: Programs = {
      ...programs,
      get: async (graph, ...named) => {
        const program = await programs.get(graph, ...named);
        const own = matrixFlops(graph);
        return { ...program, run: (feeds) => ((flops += own), program.run(feeds)) };
      },
    };
    const open = plainParts(counting, large);
    const texts = textsOf(
      Array.from({ length: 4 }, () => words(LENGTH + 1)),
      (_, at) => at % 2 === 0,
    );
    const { model } = large;
    const cache = await openSampleCache(Infinity);
    const keep = cache.store(texts.count, LENGTH * TINY_LLAMA.hidden_size);
    const head = await open(model.head);
    for (const reference of [undefined, { store: keep, head }]) {
      flops = 0;
      const seen: { readonly done: number; readonly flops: number }[] = [];
      const status = (done: number) => void seen.push({ done, flops });
      const asked = {
        model,
        open,
        texts,
        limits: { ...limits, rows: 4 },
        ...(reference ? { reference } : { keep }),
      };
      await tokenScores(counting, asked, { ...hooks, status });
      expect(seen.at(-1)!.done).toBe(1);
      expect(seen.length).toBeGreaterThan(6);
      for (const each of seen) expect(each.done).toBeCloseTo(each.flops / flops, 2);
    }
    head.dispose();
    cache.close();
    await large.close();
  });
});
