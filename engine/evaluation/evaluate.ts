/** An evaluation's result, as it comes about, whatever the task. */
import type { EvaluateResult, EvaluationRow } from '../protocol/protocol.js';

/** A result but for what the job adds. */
export type Measured = Omit<EvaluateResult, 'seconds' | 'peakMemory' | 'saved'>;

export interface EvaluationJobHooks {
  readonly signal: AbortSignal;
  /** @param done 0 to 1 @param rows those that have a score by now */
  readonly status: (done: number, rows: readonly EvaluationRow[]) => void;
  /** A line worth the user's attention. */
  readonly note: (line: string) => void;
}
