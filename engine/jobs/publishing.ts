/** What leaves the queue: changes of jobs to the client and to disk, no faster than either can use them. */
import { messageOf } from '../errors.js';
import type { JobRecord } from '../protocol/protocol.js';
import { isActive, type StoredJob } from './record.js';
import type { JobStore } from './store.js';

export interface Publisher {
  /** Tells the client how a job is, where that is news. */
  show(record: StoredJob, elsewhere?: boolean): JobRecord;
  /** Tells and writes how a running job is, now and then. @param atOnce for what is worth it */
  progress(record: StoredJob, atOnce: boolean): void;
  /** Resolves once the record is on disk, or the client knows why it is not. */
  write(record: StoredJob): Promise<void>;
  /** Tells that a job is gone, where the client knew of it. */
  forget(id: string): void;
  /** Jobs that the client knows as another engine's. */
  elsewhere(): string[];
}

export interface PublisherHooks {
  changed(job: JobRecord): void;
  removed(id: string): void;
  /** What keeps records from being written; undefined once they are again. */
  trouble(message: string | undefined): void;
}

const SHOW_MILLISECONDS = 250;
const WRITE_MILLISECONDS = 5000;

export function openPublisher(
  store: Pick<JobStore, 'write'>,
  hooks: PublisherHooks,
  now: () => number,
): Publisher {
  /** What was last told of every job, to tell changes alone. */
  const shown = new Map<string, { readonly text: string; readonly elsewhere: boolean }>();
  const paces = new Map<string, { shownAt: number; writtenAt: number }>();

  function show(record: StoredJob, elsewhere = false): JobRecord {
    const job = { ...record, elsewhere } as JobRecord;
    const text = JSON.stringify(job);
    if (!isActive(record)) paces.delete(record.id);
    if (shown.get(job.id)?.text !== text) {
      shown.set(job.id, { text, elsewhere });
      hooks.changed(job);
    }
    return job;
  }

  async function write(record: StoredJob): Promise<void> {
    try {
      await store.write(record);
      hooks.trouble(undefined);
    } catch (error) {
      hooks.trouble(`Jobs will not survive this window: ${messageOf(error)}`);
    }
  }

  return {
    show,
    write,
    progress: (record, atOnce) => {
      const pace = paces.get(record.id) ?? { shownAt: 0, writtenAt: 0 };
      paces.set(record.id, pace);
      if (atOnce || now() - pace.shownAt >= SHOW_MILLISECONDS) {
        pace.shownAt = now();
        show(record);
      }
      if (atOnce || now() - pace.writtenAt >= WRITE_MILLISECONDS) {
        pace.writtenAt = now();
        void write(record);
      }
    },
    forget: (id) => {
      paces.delete(id);
      if (shown.delete(id)) hooks.removed(id);
    },
    elsewhere: () => [...shown].filter(([, { elsewhere }]) => elsewhere).map(([id]) => id),
  };
}
