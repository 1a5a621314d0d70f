/**
 * Jobs of a folder that several engines share, as one of them sees them. Those whose engine is gone are taken over for a
 * moment and become interrupted.
 */
import { messageOf, UserError } from '../errors.js';
import type { JobRecord, LogMessage } from '../protocol/protocol.js';
import { interrupted } from './outcome.js';
import type { Publisher } from './publishing.js';
import { isActive, type StoredJob } from './record.js';
import { ID, type JobStore } from './store.js';
import type { Turn } from './turn.js';

export interface SharedJobs {
  /** All of them, oldest first. @param held whether the caller has the turn */
  list(held?: boolean): Promise<JobRecord[]>;
  /** Throws UserError where there is no such job. */
  find(id: string): Promise<StoredJob>;
  /** Tells the client how a job is now, without waiting for it. */
  refresh(id: string): void;
}

interface Surroundings {
  readonly store: JobStore;
  readonly publisher: Publisher;
  /** Jobs that this engine queued or runs. */
  readonly own: ReadonlyMap<string, { readonly record: StoredJob }>;
  /** What claims and releases jobs must not mix. */
  readonly inTurn: Turn;
  readonly now: () => number;
  readonly log: (level: LogMessage['level'], message: string) => void;
}

export function openSharedJobs({ store, publisher, own, inTurn, now, log }: Surroundings): SharedJobs {
  /** Records that cannot be read, and why: said once of each. */
  const unreadable = new Map<string, string>();

  async function list(held = false): Promise<JobRecord[]> {
    const ids = [...new Set([...(await store.ids()), ...own.keys()])].sort();
    const jobs: (JobRecord | undefined)[] = [];
    if (held) for (const id of ids) jobs.push(await look(id, adopt));
    else jobs.push(...(await Promise.all(ids.map((id) => look(id)))));
    return jobs.filter((job) => job !== undefined);
  }

  /** A job as it stands now; `take` makes one whose engine is gone interrupted. */
  async function look(
    id: string,
    take = (gone: string) => inTurn(() => adopt(gone)),
  ): Promise<JobRecord | undefined> {
    const record = own.get(id)?.record ?? (await read(id));
    if (!record) {
      publisher.forget(id);
      return undefined;
    }
    if (own.has(id) || !isActive(record)) return publisher.show(own.get(id)?.record ?? record);
    return (await store.of(id)) === 'another' ? publisher.show(record, true) : take(id);
  }

  async function adopt(id: string): Promise<JobRecord | undefined> {
    const ours = own.get(id);
    if (ours) return publisher.show(ours.record);
    const isOurs = await store.claim(id);
    const record = await read(id);
    if (!isOurs || !record || !isActive(record)) {
      if (isOurs) await store.release(id);
      return record && publisher.show(record, isActive(record));
    }
    const left = await interrupted(record, now());
    await publisher.write(left);
    await store.release(id);
    return publisher.show(left);
  }

  async function read(id: string): Promise<StoredJob | undefined> {
    try {
      const record = await store.read(id);
      unreadable.delete(id);
      return record;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      if (unreadable.get(id) !== error.message) log('warning', `A job cannot be shown: ${error.message}`);
      unreadable.set(id, error.message);
      return undefined;
    }
  }

  return {
    list,
    find: async (id) => {
      const record = ID.test(id) ? (own.get(id)?.record ?? (await read(id))) : undefined;
      if (!record) throw new UserError('There is no such job; it may have been removed.');
      return record;
    },
    refresh: (id) => {
      look(id).catch((error: unknown) => log('warning', `A job cannot be read: ${messageOf(error)}`));
    },
  };
}
