/** Multiple choice by log-likelihood (docs/EVALUATION.md). */
import type { EncodedItem, ScoredText } from '../data/text/choice-tokens.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { inputSize } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { withDistances, type Scored } from './paired-error.js';
import { requireFinite, rowOf, scoresOf, type EvaluationHooks, type TextCandidates } from './rows.js';
import { NOT_SCORED, type LossLimits, type Texts } from './token-losses.js';
import type { EvaluationRow } from '../protocol/protocol.js';

/** The shortest texts run at this many tokens (docs/METHOD.md, section 11). */
export const SHORTEST = 32;

/** Lengths that texts are filled up to, ascending: doubling from the shortest, the last as long as the longest text. */
export function lengthsFor(items: readonly EncodedItem[]): number[] {
  const needed = items.flatMap(({ texts }) => texts.map(tokensRead));
  const longest = needed.reduce((a, b) => Math.max(a, b), 2);
  const lengths: number[] = [];
  for (let length = SHORTEST; length < longest; length *= 2) lengths.push(length);
  lengths.push(longest);
  return lengths.filter((length, i) => needed.some((n) => n <= length && n > (lengths[i - 1] ?? 0)));
}

/** The last token is scored and not read. */
const tokensRead = ({ ids }: ScoredText): number => ids.length - 1;

/**
 * A row a candidate: the shares of questions whose right choice has the highest sum of log p over its tokens given the
 * context, and the highest such sum per character. Of equals the first counts; a sum that is NaN loses.
 * @param checkpoints the model built for texts of `lengthsFor` the items, one a length
 */
export async function evaluateChoices(
  programs: Programs,
  checkpoints: readonly Checkpoint[],
  candidates: TextCandidates,
  items: readonly EncodedItem[],
  limits: LossLimits,
  { signal, status }: EvaluationHooks,
): Promise<EvaluationRow[]> {
  const texts = items.flatMap((item) => item.texts);
  const classOf = texts.map((text) =>
    checkpoints.findIndex(({ model }) => tokensRead(text) <= inputSize(model.stem)),
  );
  const classes = checkpoints.map((checkpoint, c) => ({
    checkpoint,
    tokens: inputSize(checkpoint.model.stem),
    indices: [...texts.keys()].filter((t) => classOf[t] === c),
  }));
  const total = classes.reduce((sum, { indices, tokens }) => sum + indices.length * tokens, 0);
  const rows: EvaluationRow[] = [];
  const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
  const scored: Scored[] = [];
  for (const [i, candidate] of candidates.entries()) {
    const sums = new Float64Array(texts.length);
    let before = 0;
    for (const { checkpoint, indices, tokens } of classes) {
      const side = fillUp(
        indices.map((t) => texts[t]!),
        tokens,
      );
      const own = indices.length * tokens;
      const { losses } = await scoresOf(
        programs,
        checkpoint,
        candidate,
        { texts: side, limits },
        {
          signal,
          status: (done) => status((i + (before + done * own) / total) / candidates.length, rows),
        },
      );
      for (const [row, t] of indices.entries())
        sums[t] = -losses.subarray(row * tokens, (row + 1) * tokens).reduce((sum, loss) => sum + loss, 0);
      before += own;
    }
    requireFinite(sums, candidate);
    const { plain, normalised } = rightAnswers(items, sums);
    const row = {
      ...rowOf(candidate),
      ...{ samples: items.length, accuracy: mean(plain), accuracyNormalised: mean(normalised) },
    };
    const own = { row, samples: { score: plain } };
    rows.push(withDistances(own, scored));
    scored.push(own);
    status((i + 1) / candidates.length, rows);
  }
  return rows;
}

/** Texts filled up on the right, which a causal model never looks at. */
function fillUp(texts: readonly ScoredText[], length: number): Texts {
  const ids = new Int32Array(texts.length * length);
  const next = new Int32Array(texts.length * length).fill(NOT_SCORED);
  for (const [row, text] of texts.entries()) {
    const read = tokensRead(text);
    ids.set(text.ids.slice(0, read), row * length);
    for (let at = read - text.scored; at < read; at++) next[row * length + at] = text.ids[at + 1]!;
  }
  return { count: texts.length, length, ids, next };
}

/**
 * Of every item 1 where the right choice has the highest sum, else 0; `normalised`: the highest sum a character.
 * @param sums of log p, a text one, in the order of the items
 */
export function rightAnswers(
  items: readonly EncodedItem[],
  sums: Float64Array,
): { readonly plain: number[]; readonly normalised: number[] } {
  const [plain, normalised]: [number[], number[]] = [[], []];
  let at = 0;
  for (const { texts, characters, answer } of items) {
    const own = [...sums.subarray(at, at + texts.length)];
    plain.push(Number(indexOfHighest(own) === answer));
    normalised.push(Number(indexOfHighest(own.map((sum, i) => sum / characters[i]!)) === answer));
    at += texts.length;
  }
  return { plain, normalised };
}

/** The first of the highest; -1 where none is a number. */
function indexOfHighest(values: readonly number[]): number {
  let best = -1;
  for (const [i, value] of values.entries())
    if (!Number.isNaN(value) && (best < 0 || value > values[best]!)) best = i;
  return best;
}
