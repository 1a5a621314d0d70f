/** The jobs of the engine, kept up to date by its notifications. Knows no editor. */
import type { JobRecord, SeriesPoint } from '../../engine/protocol/protocol.js';
import type { Connection } from '../common/connection.js';
import { createEmitter, type Disposable, type Event } from '../common/event.js';

export interface JobChange {
  /** The job as it is; undefined where it is gone. */
  readonly job: JobRecord | undefined;
  /** As it was known before; undefined where it is new. */
  readonly before: JobRecord | undefined;
}

export interface JobList extends Disposable {
  /** One job has changed. Undefined: any may have. */
  readonly onDidChange: Event<JobChange | undefined>;
  /** Running first, then queued, then what needs attention, then the rest; newest first among equals. */
  all(): Promise<readonly JobRecord[]>;
  /** What is known now, without asking the engine. */
  known(): readonly JobRecord[];
  get(id: string): JobRecord | undefined;
  /** The next question asks the engine again, as another one may know other jobs. */
  refresh(): void;
}

export function createJobList(connection: Connection): JobList {
  const changed = createEmitter<JobChange | undefined>();
  const jobs = new Map<string, JobRecord>();
  /** Changed since `reading` began, so newer than its answer. */
  let touched = new Set<string>();
  let reading: Promise<void> | undefined;

  const subscriptions = [
    connection.onNotification('jobs/changed', ({ job }) => {
      const before = jobs.get(job.id);
      jobs.set(job.id, job);
      touched.add(job.id);
      changed.fire({ job, before });
    }),
    connection.onNotification('jobs/removed', ({ id }) => {
      const before = jobs.get(id);
      jobs.delete(id);
      touched.add(id);
      changed.fire({ job: undefined, before });
    }),
  ];

  async function read(): Promise<void> {
    touched = new Set();
    const { jobs: found } = await connection.request('jobs/list', {});
    for (const id of [...jobs.keys()]) if (!touched.has(id)) jobs.delete(id);
    for (const job of found) if (!touched.has(job.id)) jobs.set(job.id, job);
    changed.fire(undefined);
  }

  return {
    onDidChange: changed.event,
    known: () => sortJobs([...jobs.values()]),
    get: (id) => jobs.get(id),
    all: async () => {
      if (reading === undefined) {
        const run = read();
        reading = run;
        run.catch(() => {
          if (reading === run) reading = undefined;
        });
      }
      await reading;
      return sortJobs([...jobs.values()]);
    },
    refresh: () => {
      reading = undefined;
      changed.fire(undefined);
    },
    dispose: () => subscriptions.forEach((subscription) => subscription.dispose()),
  };
}

const RANK: Readonly<Record<JobRecord['state'], number>> = {
  running: 0,
  queued: 1,
  interrupted: 2,
  failed: 3,
  cancelled: 4,
  finished: 4,
};

function sortJobs(jobs: readonly JobRecord[]): readonly JobRecord[] {
  // What waits, waits in its order; of what is over, the latest matters most.
  const time = (job: JobRecord) => (job.state === 'queued' ? job.created : -(job.ended ?? job.created));
  return [...jobs].sort((a, b) => RANK[a.state] - RANK[b.state] || time(a) - time(b));
}

/** What can be done with a job now. */
export interface JobActions {
  readonly cancel: boolean;
  readonly resume: boolean;
  readonly retry: boolean;
  readonly remove: boolean;
}

export const isActive = ({ state }: JobRecord): boolean => state === 'queued' || state === 'running';

/** Whether a job reads or writes this adapter set. */
export const worksWith = ({ kind, request }: JobRecord, set: string): boolean =>
  kind === 'calibrate'
    ? request.out === set
    : 'adapters' in request && [request.adapters ?? []].flat().includes(set);

/** What queued and running calibrations and exports will write. */
export const promisedFolders = (jobs: readonly JobRecord[]): string[] =>
  jobs.flatMap((job) =>
    (job.kind === 'calibrate' || job.kind === 'export') && isActive(job) ? [job.request.out] : [],
  );

export function actionsOf(job: JobRecord): JobActions {
  const { state, resumable, elsewhere } = job;
  const active = isActive(job);
  return {
    cancel: active && !elsewhere,
    resume: resumable && !active,
    retry: state === 'failed' || state === 'cancelled' || state === 'interrupted',
    remove: !active,
  };
}

/** Those that an earlier window left. */
export const interruptedJobs = (jobs: readonly JobRecord[]): JobRecord[] =>
  jobs.filter(({ state, elsewhere }) => state === 'interrupted' && !elsewhere);

/** What makes a job that was stopped run again: from what it has kept, or of a kind that keeps nothing from its beginning. */
export const wayOn = ({ resumable }: JobRecord): 'jobs/resume' | 'jobs/retry' =>
  resumable ? 'jobs/resume' : 'jobs/retry';

/** Its newest figures, such as the loss of each bit group; empty before there are any. */
export const latestFigures = ({ series }: JobRecord): readonly SeriesPoint[] => series.at(-1)?.points ?? [];
