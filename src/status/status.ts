/** What the status item says, from the engine's condition and its jobs. Knows no editor. */
import type { Health, JobRecord } from '../../engine/protocol/protocol.js';
import type { EngineClient } from '../engine/client.js';

export type Status =
  | { readonly kind: 'idle' }
  | { readonly kind: 'starting' }
  | {
      readonly kind: 'busy';
      readonly job: JobRecord;
      /** Of 1. */
      readonly progress: number;
      readonly secondsLeft: number | undefined;
      /** Jobs that wait. */
      readonly queued: number;
    }
  | { readonly kind: 'warning' | 'error'; readonly message: string | undefined };

/** A running job says more than a warning, an error more than a running job. Jobs of other windows do not count. */
export function statusOf(
  engine: EngineClient['state'],
  health: Health | undefined,
  jobs: readonly JobRecord[],
): Status {
  if (engine === 'failed') return { kind: 'error', message: health?.message };
  if (engine === 'starting') return { kind: 'starting' };
  if (engine === 'stopped') return { kind: 'idle' };
  if (health?.health === 'error') return { kind: 'error', message: health.message };
  const own = jobs.filter((job) => !job.elsewhere);
  const job = own.find(({ state }) => state === 'running');
  if (job)
    return {
      kind: 'busy',
      job,
      progress: job.progress,
      secondsLeft: job.secondsLeft,
      queued: own.filter(({ state }) => state === 'queued').length,
    };
  if (health?.health === 'warning') return { kind: 'warning', message: health.message };
  return { kind: 'idle' };
}
