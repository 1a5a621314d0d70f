/** What becomes of a job whose process has ended. */
import type { JobKind } from '../protocol/protocol.js';
import { kindOf } from './kinds/registry.js';
import type { Outcome } from './process.js';
import { crashed, finished, resumed, stopped, type StoredJob } from './record.js';

/** Crashes at one place after which a job does not go on by itself. */
const MAX_CRASHES = 2;

export interface Ending {
  readonly outcome: Outcome<JobKind>;
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
  const made = await isMade(record);
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
      const again = job.crashes.atPlace < MAX_CRASHES ? resumed(job) : undefined;
      return again ?? stopped(job, 'interrupted', now, made, crashLine(job, outcome.how));
    }
  }
}

/** The record of a job whose engine is gone. */
export const interrupted = async (record: StoredJob, now: number): Promise<StoredJob> =>
  stopped(record, 'interrupted', now, await isMade(record));

function crashLine({ kind, crashes }: StoredJob, how: string): string {
  const { progress } = kindOf(kind);
  const again = progress ? ` again at ${progress.place} ${crashes.place + 1}` : '';
  const cause = how === 'SIGKILL' ? '; possibly out of memory' : '';
  return `Its process crashed${again} (${how}${cause}); another device may help.`;
}

/** Whether the job has kept anything to go on from. */
export const isMade = async ({ kind, request }: StoredJob): Promise<boolean> =>
  (await kindOf(kind).progress?.made(request)) ?? false;

/** Deletes what resuming the job would go on from. */
export const discard = async ({ kind, request }: StoredJob): Promise<void> =>
  kindOf(kind).progress?.discard(request);
