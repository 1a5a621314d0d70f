/** The evaluation job that a page follows: from its start to the file of its result. */
import type { EvaluateJob, JobRecord } from '../../engine/protocol/protocol.js';
import type { Run } from '../../webview/evaluation/protocol.js';
import type { Connection } from '../common/connection.js';
import type { Disposable } from '../common/event.js';
import { wayOn } from '../jobs/job-list.js';

/** A job, and the file that its result will be in. */
export interface SavedRun {
  readonly id: string;
  readonly result: string;
}

export interface RunEvents {
  /** The job has another state, is gone, or another one is followed. */
  changed(): void;
  progressed(run: Run): void;
  finished(result: string): void;
}

export interface FollowedRun extends Disposable {
  /** What is followed, to come back to after a reload. */
  readonly saved: () => SavedRun | undefined;
  /** Its newest record as the page shows it. */
  readonly shown: () => Run | undefined;
  /** Asks for the record of a run that was begun before this page; resolves to its result where it has ended meanwhile. */
  find(): Promise<string | undefined>;
  /** Follows a job that was started. */
  begin(record: JobRecord, result: string): Promise<void>;
  cancel(): Promise<void>;
  /** Runs again what was interrupted, cancelled or failed. */
  again(): Promise<void>;
}

export function followRun(
  connection: Connection,
  initial: SavedRun | undefined,
  events: RunEvents,
): FollowedRun {
  let saved = initial;
  let job: EvaluateJob | undefined;
  /** Other jobs of this engine that run now: what a queued one waits for. */
  const others = new Set<string>();
  const waits = () => others.size > 0;

  function noteOther({ id, state, elsewhere }: JobRecord): void {
    const before = waits();
    if (state === 'running' && !elsewhere) others.add(id);
    else others.delete(id);
    if (job?.state === 'queued' && waits() !== before) events.progressed(runOf(job, waits()));
  }

  const leave = () => {
    saved = undefined;
    job = undefined;
  };
  const finish = (result: string) => {
    leave();
    events.finished(result);
  };
  const subscriptions = [
    connection.onNotification('jobs/changed', ({ job: record }) => {
      if (record.id !== saved?.id || record.kind !== 'evaluate') return noteOther(record);
      const before = job?.state;
      job = record;
      if (record.state === 'finished') return finish(saved.result);
      // At once: the whole view may be long in coming from an engine that has begun to work.
      events.progressed(runOf(record, waits()));
      if (record.state !== before) events.changed();
    }),
    connection.onNotification('jobs/removed', ({ id }) => {
      if (id !== saved?.id) return;
      leave();
      events.changed();
    }),
  ];

  function follow(record: JobRecord, result: string): void {
    saved = { id: record.id, result };
    if (record.state === 'finished') return finish(result);
    job = record.kind === 'evaluate' ? record : undefined;
    events.changed();
  }

  return {
    saved: () => saved,
    shown: () => job && runOf(job, waits()),
    find: async () => {
      if (saved === undefined || job !== undefined) return undefined;
      const { id, result } = saved;
      const { jobs } = await connection.request('jobs/list', {});
      jobs.forEach((other) => other.id !== id && noteOther(other));
      if (saved?.id !== id || job) return undefined;
      job = jobs.find((other): other is EvaluateJob => other.id === id && other.kind === 'evaluate');
      if (job !== undefined && job.state !== 'finished') return undefined;
      const ended = job !== undefined;
      leave();
      return ended ? result : undefined;
    },
    begin: async (record, result) => {
      follow(record, result);
      // Those that began before this page listened.
      const { jobs } = await connection.request('jobs/list', {});
      jobs.forEach((other) => other.id !== record.id && noteOther(other));
    },
    cancel: async () => {
      if (saved) await connection.request('jobs/cancel', { id: saved.id });
    },
    again: async () => {
      if (saved === undefined) return;
      const { id, result } = saved;
      follow((await connection.request(job ? wayOn(job) : 'jobs/retry', { id })).job, result);
    },
    dispose: () => subscriptions.forEach((subscription) => subscription.dispose()),
  };
}

/** @param waits whether another job has to end first, where it is queued */
function runOf({ state, progress, secondsLeft, error, partial }: EvaluateJob, waits: boolean): Run {
  return {
    // A finished job is a result, not a run.
    state: state === 'finished' ? 'running' : state,
    progress,
    rows: partial?.rows ?? [],
    ...(state === 'queued' && waits && { waits }),
    ...(secondsLeft !== undefined && { secondsLeft }),
    ...(error !== undefined && { error }),
  };
}
