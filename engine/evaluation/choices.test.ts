import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../test/fixtures.js';
import { createRandom } from '../data/random.js';
import type { EncodedItem } from '../data/text/choice-tokens.js';
import { openPlainModel } from '../execution/model.js';
import { quantizedParts } from '../execution/quantized-model.js';
import { plainParts } from '../execution/part-by-part.js';
import { usePrograms } from '../execution/testing.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { evaluateChoices, lengthsFor, rightAnswers } from './choices.js';
import { pairedError } from './paired-error.js';
import type { OwnCandidate } from './rows.js';
import { roundedSource } from '../execution/testing.js';
import { logProbabilities } from './testing.js';
import type { EvaluationRow } from '../protocol/protocol.js';

const VOCABULARY = TINY_LLAMA.vocab_size;
const programs = usePrograms();
const limits = { memory: 1 << 20 };
const hooks = { signal: new AbortController().signal, status: () => undefined };
let folder: string;
let cleanUp: () => Promise<void>;

beforeAll(async () => {
  const temporary = await temporaryFolder();
  ({ cleanUp } = temporary);
  folder = join(temporary.folder, 'model');
  await writeRandomModel(folder, { ...TINY_LLAMA, max_position_embeddings: 128 });
});
afterAll(() => cleanUp());

/** Built for texts of each length, as long as `use` takes. */
async function withLengths<T>(lengths: readonly number[], use: (built: Checkpoint[]) => Promise<T>) {
  const built: Checkpoint[] = [];
  for (const tokens of lengths) built.push(await openCheckpoint(folder, { tokens }));
  return use(built).finally(() => Promise.all(built.map((checkpoint) => checkpoint.close())));
}

const full: OwnCandidate = {
  ...{ label: 'full', kind: 'full', bits: 'fp', bytes: 1 },
  build: (built) => ({ model: built.model, open: plainParts(programs, built) }),
};
const evaluate = (items: readonly EncodedItem[]) =>
  withLengths(lengthsFor(items), (built) =>
    evaluateChoices(programs, built, [full], items, limits, hooks).then(([row]) => row!),
  );

/** Sums of log p of the scored tokens, from a model built for each text's own length. */
const sumsByHand = async ({ texts }: EncodedItem) => {
  const sums: number[] = [];
  for (const { ids, scored } of texts)
    await withLengths([ids.length - 1], async ([built]) => {
      const plain = await openPlainModel(programs, built!);
      const all = await logProbabilities(programs, plain, ids, VOCABULARY);
      sums.push(all.slice(-scored).reduce((sum, x) => sum + x, 0));
      plain.dispose();
    });
  return sums;
};
const highest = (values: readonly number[]) => values.indexOf(Math.max(...values));

const random = createRandom(6, 'items');
/** A question with choices of different lengths, in tokens and in characters. */
const randomItem = (context: number): EncodedItem => {
  const before = Array.from({ length: context }, () => random.integer(VOCABULARY));
  const texts = Array.from({ length: 3 }, () => {
    const scored = 1 + random.integer(4);
    const choice = Array.from({ length: scored }, () => random.integer(VOCABULARY));
    return { ids: [...before, ...choice], scored };
  });
  return { texts, characters: texts.map(() => 1 + random.integer(9)), answer: 0 };
};

describe('evaluateChoices', () => {
  it('finds the choice of the highest log-likelihood, by hand from logits, as it stands and a character', async () => {
    // Texts of three length classes; a model built for each text alone has nothing filled up.
    const items = [3, 10, 28, 31, 33, 50, 70, 100].map(randomItem);
    const [plain, normalised]: [EncodedItem[], EncodedItem[]] = [[], []];
    for (const item of items) {
      const sums = await sumsByHand(item);
      plain.push({ ...item, answer: highest(sums) });
      normalised.push({ ...item, answer: highest(sums.map((sum, i) => sum / item.characters[i]!)) });
    }
    const differ = plain.filter((item, i) => item.answer !== normalised[i]!.answer).length;
    expect(differ).toBeGreaterThan(0);
    const share = 1 - differ / items.length;
    expect(await evaluate(plain)).toMatchObject({ samples: 8, accuracy: 1, accuracyNormalised: share });
    expect(await evaluate(normalised)).toMatchObject({ accuracy: share, accuracyNormalised: 1 });
    const wrong = plain.map((item) => ({ ...item, answer: (item.answer + 1) % 3 }));
    expect((await evaluate(wrong)).accuracy).toBe(0);
  });

  it('scores the choice alone', async () => {
    // The same text; what counts as the choice decides.
    const ids = Array.from({ length: 9 }, () => random.integer(VOCABULARY));
    const item = { texts: [{ ids, scored: 1 }, { ids, scored: 6 }], characters: [1, 1], answer: 0 }; // prettier-ignore
    const [one, six] = await sumsByHand(item);
    expect(one).toBeGreaterThan(six!);
    expect((await evaluate([item])).accuracy).toBe(1);
  });

  it('knows how far chance takes an accuracy from that of full precision', async () => {
    const coarse: OwnCandidate = {
      ...{ label: 'rounding', kind: 'baseline', bits: 2, bytes: 1 },
      build: (built) => ({
        model: built.model,
        open: quantizedParts(programs, roundedSource(programs, built, [2]), 2),
      }),
    };
    const items = Array.from({ length: 40 }, () => randomItem(3));
    const run = (some: readonly EncodedItem[]) =>
      withLengths(lengthsFor(some), (built) =>
        evaluateChoices(programs, built, [full, coarse], some, limits, hooks),
      );
    const each: number[][] = [];
    for (const item of items) each.push((await run([item])).map(({ accuracy }) => accuracy!));
    const [ofFull, ofCoarse] = [0, 1].map((i) => each.map((accuracies) => accuracies[i]!));
    const [first, second] = await run(items);
    expect(ofCoarse).not.toEqual(ofFull);
    expect(first).not.toHaveProperty('scoreError');
    expect(second!.scoreError).toBe(pairedError(ofCoarse!, ofFull!));
  });

  it('reports progress and the rows that are done', async () => {
    const items = [5, 60].map(randomItem);
    const seen: (readonly [number, readonly EvaluationRow[]])[] = [];
    const status = (done: number, rows: readonly EvaluationRow[]) => void seen.push([done, [...rows]]);
    await withLengths(lengthsFor(items), (built) =>
      evaluateChoices(programs, built, [full, { ...full, label: 'again' }], items, limits, {
        ...hooks,
        status,
      }),
    );
    const shares = seen.map(([done]) => done);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect(seen.at(-1)![0]).toBe(1);
    expect(seen.at(-1)![1].map(({ label }) => label)).toEqual(['full', 'again']);
    expect(seen.some(([, rows]) => rows.length === 1)).toBe(true);
  });

  it('stops when asked to', async () => {
    const run = withLengths([32], (built) =>
      evaluateChoices(programs, built, [full], [randomItem(3)], limits, {
        ...hooks,
        signal: AbortSignal.abort(),
      }),
    );
    await expect(run).rejects.toThrow('Cancelled.');
  });
});

describe('rightAnswers', () => {
  const item = (answer: number, ...characters: number[]): EncodedItem => ({
    texts: characters.map(() => ({ ids: [0, 0], scored: 1 })),
    characters,
    answer,
  });
  const of = (items: readonly EncodedItem[], ...sums: number[]) =>
    rightAnswers(items, Float64Array.from(sums));

  it('normalises by the length of the choice', () => {
    // −4 / 2 against −6 / 4: the longer choice is likelier a character.
    expect(of([item(0, 2, 4)], -4, -6)).toEqual({ plain: [1], normalised: [0] });
    expect(of([item(1, 2, 4)], -4, -6)).toEqual({ plain: [0], normalised: [1] });
  });

  it('takes each question with its own choices', () => {
    const items = [item(1, 1, 1), item(2, 1, 1, 1), item(0, 1, 1)];
    expect(of(items, -2, -1, -3, -2, -1, -2, -1).plain).toEqual([1, 1, 0]);
  });

  it('takes the first of equals, and no sum that is NaN', () => {
    expect(of([item(0, 1, 1), item(1, 1, 1)], -1, -1, -1, -1).plain).toEqual([1, 0]);
    expect(of([item(1, 1, 1)], NaN, -9).plain).toEqual([1]);
    expect(of([item(0, 1, 1), item(1, 1, 1)], NaN, NaN, NaN, NaN).plain).toEqual([0, 0]);
  });
});

describe('lengthsFor', () => {
  const texts = (...read: number[]): EncodedItem[] => [
    { texts: read.map((n) => ({ ids: Array<number>(n + 1).fill(0), scored: 1 })), characters: [], answer: 0 },
  ];
  it.each([
    [[5], [5]],
    [[1], [2]],
    [[32], [32]],
    [
      [20, 33],
      [32, 33],
    ],
    [
      [10, 64, 65, 200],
      [32, 64, 128, 200],
    ],
    [
      [10, 200],
      [32, 200],
    ],
    [
      [100, 300, 300],
      [128, 300],
    ],
  ])('texts of %j tokens run at %j', (read, lengths) => expect(lengthsFor(texts(...read))).toEqual(lengths));
});
