/** Perplexity of a language model over windows of tokens (docs/EVALUATION.md). */
import type { Checkpoint } from '../models/checkpoint.js';
import type { Programs } from '../runtime/programs.js';
import { rowOf, type EvaluationHooks, type EvaluationRow, type TextCandidate } from './rows.js';
import { NOT_SCORED, tokenLosses, type LossLimits } from './token-losses.js';

/** Windows of token ids, side by side: [count, length]. */
export interface Windows {
  readonly ids: Int32Array;
  readonly count: number;
  readonly length: number;
}

/** exp of the mean −log p over the tokens of all windows, the first of each window not scored; a row a candidate. */
export async function evaluatePerplexity(
  programs: Programs,
  checkpoint: Checkpoint,
  candidates: readonly TextCandidate[],
  windows: Windows,
  limits: LossLimits,
  { signal, status }: EvaluationHooks,
): Promise<EvaluationRow[]> {
  const { ids, count, length } = windows;
  const next = Int32Array.from(ids, (_, at) => (at % length === length - 1 ? NOT_SCORED : ids[at + 1]!));
  const rows: EvaluationRow[] = [];
  for (const [i, candidate] of candidates.entries()) {
    const { model, open } = candidate.build(checkpoint);
    const losses = await tokenLosses(programs, model, open, { ...windows, next }, limits, {
      signal,
      status: (done) => status((i + done) / candidates.length, rows),
    });
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / (count * (length - 1));
    rows.push({ ...rowOf(candidate), samples: count, perplexity: Math.exp(mean) });
    status((i + 1) / candidates.length, rows);
  }
  return rows;
}
