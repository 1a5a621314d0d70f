/** Jobs as a client asks for them. They are queued and run by `runner.ts`, and lie on disk, so that they survive this process. */
import { randomBytes } from 'node:crypto';
import { resolve, sep } from 'node:path';
import { UserError } from '../errors.js';
import { followLinks } from '../formats/output.js';
import type {
  JobKind,
  JobLog,
  JobRecord,
  LogMessage,
  StartJobParams,
  StartParams,
} from '../protocol/protocol.js';
import { openSharedJobs } from './adoption.js';
import { kindOf } from './kinds/registry.js';
import { discard, interrupted } from './outcome.js';
import type { StartJobProcess } from './process.js';
import { openPublisher, type PublisherHooks } from './publishing.js';
import { isActive, newRecord, restarted, resumed, type StoredJob } from './record.js';
import { openRunner } from './runner.js';
import type { JobStore } from './store.js';
import { createTurn } from './turn.js';

export interface JobManager {
  /** All jobs of the folder, oldest first. Those whose engine is gone have become `interrupted`. */
  list(): Promise<JobRecord[]>;
  start(params: StartJobParams): Promise<JobRecord>;
  /** Resolves once the job has stopped. */
  cancel(id: string): Promise<JobRecord>;
  resume(id: string): Promise<JobRecord>;
  retry(id: string): Promise<JobRecord>;
  remove(id: string, deleteProgress: boolean): Promise<void>;
  log(id: string): Promise<JobLog>;
  /** Whether a queued or running job reads or writes in the folder. */
  uses(folder: string): Promise<boolean>;
  /** Stops everything at once; queued and running jobs become `interrupted`. */
  close(): Promise<void>;
}

export interface JobManagerHooks extends PublisherHooks {
  /** Whether anything of this engine is queued or running. */
  busy(busy: boolean): void;
  log(level: LogMessage['level'], message: string): void;
}

const TOUCH_MILLISECONDS = 60_000;
const SWEEP_MILLISECONDS = 15_000;
/** How often, and how many times, a job is asked for that another engine has, by what its record says. */
const CLAIM_MILLISECONDS = 10;
const ACTIVE_TRIES = 20;
const STOPPED_TRIES = 500;

export function openJobManager(
  store: JobStore,
  startProcess: StartJobProcess,
  hooks: JobManagerHooks,
  now: () => number = Date.now,
): JobManager {
  const inTurn = createTurn();
  const publisher = openPublisher(store, hooks, now);
  const runner = openRunner({ store, publisher, startProcess, busy: (is) => hooks.busy(is), now });
  const { own } = runner;
  const log: JobManagerHooks['log'] = (level, message) => hooks.log(level, message);
  const shared = openSharedJobs({ store, publisher, own, inTurn, now, log });

  const timers = [
    setInterval(() => own.forEach((_, id) => void store.touch(id)), TOUCH_MILLISECONDS),
    setInterval(() => publisher.elsewhere().forEach((id) => shared.refresh(id)), SWEEP_MILLISECONDS),
  ];
  for (const timer of timers) timer.unref();
  const unwatch = store.watch((id) => own.has(id) || runner.closing() || shared.refresh(id));

  return {
    list: () => shared.list(),
    start: (params) =>
      inTurn(async () => {
        await requireFree(params);
        const id = `${now().toString(36)}-${randomBytes(4).toString('hex')}`;
        if (!(await store.claim(id))) throw new Error(`The id ${id} is in use.`);
        return runner.enqueue(newRecord(params, id, now()));
      }),
    cancel: async (id) => {
      const job = own.get(id) ?? (await refuseToCancel(id));
      runner.cancel(id);
      await job.ended;
      return publisher.show(job.record);
    },
    resume: (id) =>
      inTurnWith(id, async (job) => {
        await requireFree(job, id);
        const again = job.resumable ? resumed(job) : undefined;
        if (!again) throw new UserError(`"${job.title}" cannot be resumed; start it again.`);
        return runner.enqueue(again);
      }),
    retry: (id) =>
      inTurnWith(id, async (job) => {
        await requireFree(job, id);
        if (job.state === 'finished') throw new UserError(`"${job.title}" is finished.`);
        await discard(job);
        return runner.enqueue(restarted(job));
      }),
    remove: (id, deleteProgress) =>
      inTurnWith(id, async (job) => {
        if (deleteProgress) await discard(job);
        await store.remove(id);
        publisher.forget(id);
      }),
    log: async (id) => {
      await shared.find(id);
      return store.readLog(id);
    },
    uses: async (folder) => {
      const target = resolve(folder);
      const isWithin = (path: string) => resolve(path) === target || resolve(path).startsWith(target + sep);
      return (await shared.list()).some(
        (job) => isActive(job) && kindOf(job.kind).sets(job.request).some(isWithin),
      );
    },
    close: async () => {
      timers.forEach(clearInterval);
      unwatch();
      await runner.close();
    },
  };

  /** Links are followed: one place has one name. */
  async function written({ kind, request }: StartParams<JobKind>): Promise<string | undefined> {
    const path = kindOf(kind).writes(request);
    return path === undefined ? undefined : followLinks(path);
  }

  async function refuseToCancel(id: string): Promise<never> {
    const { title, state } = await shared.find(id);
    throw new UserError(
      isActive({ state })
        ? `"${title}" belongs to another window; cancel it there.`
        : `"${title}" is ${state}; there is nothing to cancel.`,
    );
  }

  /** Lets `change` alone, of all engines, change a job that is neither queued nor running. */
  function inTurnWith<T>(id: string, change: (record: StoredJob) => Promise<T>): Promise<T> {
    return inTurn(async () => {
      const { title, state } = await shared.find(id);
      if (own.has(id)) throw new UserError(`"${title}" is ${state} already.`);
      await claimStopped(id);
      try {
        return await change(await stoppedNow(id));
      } catch (error) {
        await store.release(id);
        throw error;
      }
    });
  }

  /** The record of a job that has been claimed, which becomes interrupted where its engine is gone. */
  async function stoppedNow(id: string): Promise<StoredJob> {
    const record = await shared.find(id);
    if (!isActive(record)) return record;
    const left = await interrupted(record, now());
    await publisher.write(left);
    return left;
  }

  /**
   * Claims a job unless another engine queued or runs it. One that has it only for a moment, to make it interrupted or to be
   * refused itself, is waited for: else all who ask at once could be turned away.
   */
  async function claimStopped(id: string): Promise<void> {
    for (let tries = 0; !(await store.claim(id)); tries++) {
      const record = await shared.find(id);
      if (tries >= (isActive(record) ? ACTIVE_TRIES : STOPPED_TRIES))
        throw new UserError(`"${record.title}" is in use by another window.`);
      await new Promise((resolve) => setTimeout(resolve, CLAIM_MILLISECONDS));
    }
  }

  /** Throws UserError where another job writes what this one would. Needs the turn: else two could find it free at once. */
  async function requireFree({ kind, request }: StartParams<JobKind>, but?: string): Promise<void> {
    const path = await written({ kind, request });
    if (path === undefined) return;
    for (const job of await shared.list(true))
      if (job.id !== but && isActive(job) && (await written(job)) === path)
        throw new UserError(`"${job.title}" is ${job.state} and writes ${path}; choose another name.`);
  }
}
