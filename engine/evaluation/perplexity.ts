/** Perplexity and divergence of a language model over windows of tokens (docs/EVALUATION.md). */
import { openSampleCache } from '../execution/sample-store.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { headOf } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { withDistances, type Scored } from './paired-error.js';
import { requireFinite, rowOf, scoresOf, type EvaluationHooks, type TextCandidates } from './rows.js';
import { NOT_SCORED, type LossLimits, type Reference } from './token-losses.js';
import type { EvaluationRow } from '../protocol/protocol.js';

/** Windows of token ids, side by side: [count, length]. */
export interface Windows {
  readonly ids: Int32Array;
  readonly count: number;
  readonly length: number;
}

/**
 * exp of the mean −log p over the tokens of all windows, the first of each window not scored, and the mean divergence of
 * their logits from those of the first candidate, one row per candidate. The first is full precision.
 */
export async function evaluatePerplexity(
  programs: Programs,
  checkpoint: Checkpoint,
  candidates: TextCandidates,
  windows: Windows,
  limits: LossLimits,
  { signal, status }: EvaluationHooks,
): Promise<EvaluationRow[]> {
  const { ids, count, length } = windows;
  const next = Int32Array.from(ids, (_, at) => (at % length === length - 1 ? NOT_SCORED : ids[at + 1]!));
  const meansOf = (values: Float32Array) =>
    Float64Array.from(
      { length: count },
      (_, w) => values.subarray(w * length, (w + 1) * length).reduce((sum, x) => sum + x, 0) / (length - 1),
    );
  const mean = (values: Float64Array) => values.reduce((sum, x) => sum + x, 0) / count;
  const rows: EvaluationRow[] = [];
  const cache = await openSampleCache(limits.memory / 2);
  let reference: Reference | undefined;
  const scored: Scored[] = [];
  try {
    for (const [i, candidate] of candidates.entries()) {
      const { model } = checkpoint;
      const keep = i === 0 && candidates.length > 1 ? cache.store(count, headOf(model).size) : undefined;
      const texts = { ...windows, next };
      const left = { ...limits, memory: limits.memory - cache.held.memory };
      const hooks = {
        signal,
        status: (done: number) => status((i + done) / candidates.length, rows),
      };
      const compared = { ...(reference && { reference }), ...(keep && { keep }) };
      const scores = await scoresOf(
        programs,
        checkpoint,
        candidate,
        { texts, limits: left, ...compared },
        hooks,
      );
      if (keep) reference = { store: keep, head: await candidates[0].build(checkpoint).open(model.head) };
      // Tokens of one window are not independent of each other; windows nearly are.
      const [losses, divergences] = [meansOf(scores.losses), meansOf(scores.divergences)];
      const perplexity = Math.exp(mean(losses));
      // Rounding can make a divergence of nearly nothing negative.
      const kl = Math.max(0, mean(divergences));
      requireFinite([perplexity, kl], candidate);
      const own = {
        row: { ...rowOf(candidate), samples: count, perplexity, kl },
        // d exp(x) = exp(x) dx.
        samples: { score: losses.map((loss) => perplexity * loss), kl: divergences },
      };
      rows.push(withDistances(own, scored));
      scored.push(own);
      status((i + 1) / candidates.length, rows);
    }
    return rows;
  } finally {
    reference?.head.dispose();
    cache.close();
  }
}
