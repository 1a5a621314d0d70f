/** What becomes of a job whose process has ended. */
import { progressMade } from '../methods/quept/progress.js';
import type { Outcome } from './process.js';
import { crashed, resumed, stopped, type StoredJob } from './record.js';

/** Crashes at one block after which a job does not go on by itself. */
const MAX_CRASHES = 2;

export interface Ending {
  readonly outcome: Outcome<'calibrate'> | Outcome<'evaluate'>;
  /** The client had asked it to stop; the engine is about to end. */
  readonly cancelling: boolean;
  readonly closing: boolean;
  readonly now: number;
}

/** The record after the end of the process: of a calibration that crashed and goes on, `queued`. */
export async function recordAfter(
  record: StoredJob,
  { outcome, cancelling, closing, now }: Ending,
): Promise<StoredJob> {
  if (outcome.type === 'result') return finished(record, outcome.result, now);
  const made = await madeBy(record);
  if (closing) return stopped(record, 'interrupted', now, made);
  switch (outcome.type) {
    case 'cancelled':
      return stopped(record, 'cancelled', now, made);
    case 'error': {
      const { reason, message } = outcome;
      const line = reason === 'user' ? message : `Internal error: ${message} (the log has more).`;
      return stopped(record, 'failed', now, made, line);
    }
    case 'crashed': {
      if (cancelling) return stopped(record, 'cancelled', now, made);
      const job = crashed(record);
      if (job.kind === 'calibrate' && job.crashes.atBlock < MAX_CRASHES) return resumed(job);
      const again = job.kind === 'calibrate' ? ` again at block ${job.crashes.block + 1}` : '';
      const cause = outcome.how === 'SIGKILL' ? ', perhaps for want of memory' : '';
      const error = `Its process ended unexpectedly${again} (${outcome.how}${cause}); another device may help.`;
      return stopped(job, 'interrupted', now, made, error);
    }
  }
}

/** What resuming the job would find done. */
export const madeBy = (job: StoredJob) =>
  job.kind === 'calibrate' ? progressMade(job.request.out) : Promise.resolve(undefined);

function finished(record: StoredJob, result: object, now: number): StoredJob {
  const { secondsLeft: _left, ...rest } = record;
  const rows = 'rows' in result ? { rows: result.rows } : {};
  return { ...rest, ...rows, state: 'finished', ended: now, progress: 1, result } as StoredJob;
}
