/** What becomes of a job whose process has ended. */
import { discardProgress, progressMade, type ProgressMade } from '../methods/quept/progress.js';
import type { JobRecord } from '../protocol/protocol.js';
import type { Outcome } from './process.js';
import { discardMeasured, measuredLayers, sensitivityPath } from './sensitivity-file.js';
import { crashed, resumed, stopped, type StoredJob } from './record.js';

/** Crashes at one block after which a job does not go on by itself. */
const MAX_CRASHES = 2;

export interface Ending {
  readonly outcome: Outcome<JobRecord['kind']>;
  /** The client had asked it to stop; the engine is about to end. */
  readonly cancelling: boolean;
  readonly closing: boolean;
  readonly now: number;
}

/** The record after the end of the process: of one that crashed and goes on, `queued`. */
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
      if (job.kind !== 'evaluate' && job.crashes.atBlock < MAX_CRASHES) return resumed(job);
      const place = job.kind === 'calibrate' ? 'block' : 'layer';
      const again = job.kind === 'evaluate' ? '' : ` again at ${place} ${job.crashes.block + 1}`;
      const cause = outcome.how === 'SIGKILL' ? ', perhaps for want of memory' : '';
      const error = `Its process ended unexpectedly${again} (${outcome.how}${cause}); another device may help.`;
      return stopped(job, 'interrupted', now, made, error);
    }
  }
}

/** What resuming the job would find done. */
export async function madeBy(job: StoredJob): Promise<ProgressMade | undefined> {
  if (job.kind === 'calibrate') return progressMade(job.request.out);
  if (job.kind === 'evaluate') return undefined;
  const layers = await measuredLayers(sensitivityPath(job.request));
  return layers === undefined ? undefined : { blocks: layers, epochs: 0 };
}

/** Deletes what resuming the job would go on from. */
export async function discard(job: StoredJob): Promise<void> {
  if (job.kind === 'calibrate') await discardProgress(job.request.out);
  if (job.kind === 'sensitivity') await discardMeasured(sensitivityPath(job.request));
}

function finished(record: StoredJob, result: object, now: number): StoredJob {
  const { secondsLeft: _left, ...rest } = record;
  const rows = 'rows' in result ? { rows: result.rows } : {};
  return { ...rest, ...rows, state: 'finished', ended: now, progress: 1, result } as StoredJob;
}
