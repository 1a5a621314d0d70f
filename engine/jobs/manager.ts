/** The queue of jobs: one runs at a time, in a process of its own, and its record survives this process. */
import { randomBytes } from 'node:crypto';
import { resolve, sep } from 'node:path';
import { messageOf, UserError } from '../errors.js';
import type {
  JobKind,
  JobLog,
  JobRecord,
  LogMessage,
  StartJobParams,
  StartParams,
} from '../protocol/protocol.js';
import { timeLeft } from '../time-left.js';
import { kindOf } from './kinds/registry.js';
import { discard, isMade, recordAfter, type Ending } from './outcome.js';
import type { JobProcess, StartJobProcess } from './process.js';
import { isActive, newRecord, restarted, resumed, stopped, withStatus, type StoredJob } from './record.js';
import { ID, type JobStore } from './store.js';

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

export interface JobManagerHooks {
  changed(job: JobRecord): void;
  removed(id: string): void;
  /** Whether anything of this engine is queued or running. */
  busy(busy: boolean): void;
  /** What keeps records from being written; undefined once they are again. */
  trouble(message: string | undefined): void;
  log(level: LogMessage['level'], message: string): void;
}

/** A job of this engine, from when it is queued until it has ended. */
interface OwnJob {
  record: StoredJob;
  process?: JobProcess<JobKind>;
  cancelling: boolean;
  shownAt: number;
  writtenAt: number;
  readonly ended: Promise<void>;
  end(): void;
}

const SHOW_MILLISECONDS = 250;
const WRITE_MILLISECONDS = 5000;
/** A job that is asked to stop has this long to come to a safe point. */
const CANCEL_MILLISECONDS = 10_000;
const TOUCH_MILLISECONDS = 60_000;
const SWEEP_MILLISECONDS = 15_000;

export function openJobManager(
  store: JobStore,
  startProcess: StartJobProcess,
  hooks: JobManagerHooks,
  now: () => number = Date.now,
): JobManager {
  const own = new Map<string, OwnJob>();
  const queue: string[] = [];
  /** What was last reported of every job, to report changes alone. */
  const shown = new Map<string, { readonly text: string; readonly elsewhere: boolean }>();
  let running: string | undefined;
  let closing = false;
  let turn: Promise<unknown> = Promise.resolve();

  const timers = [
    setInterval(() => own.forEach((_, id) => void store.touch(id)), TOUCH_MILLISECONDS),
    setInterval(() => shown.forEach(({ elsewhere }, id) => elsewhere && refresh(id)), SWEEP_MILLISECONDS),
  ];
  for (const timer of timers) timer.unref();
  const unwatch = store.watch((id) => own.has(id) || refresh(id));

  return {
    list,
    start: async (params) => {
      await requireFreeFolder(params);
      return inTurn(async () => {
        const id = `${now().toString(36)}-${randomBytes(4).toString('hex')}`;
        if (!(await store.claim(id))) throw new Error(`The id ${id} is in use.`);
        return enqueue(newRecord(params, id, now()));
      });
    },
    cancel: async (id) => {
      const job = own.get(id) ?? (await refuseToCancel(id));
      job.cancelling = true;
      const at = queue.indexOf(id);
      if (at !== -1) {
        queue.splice(at, 1);
        await settle(id, job, { type: 'cancelled' });
      } else {
        job.process?.cancel();
        const deadline = setTimeout(() => job.process?.kill(), CANCEL_MILLISECONDS);
        await job.ended;
        clearTimeout(deadline);
      }
      return show(job.record);
    },
    resume: async (id) => {
      await requireFreeFolder(await find(id), id);
      return taken(id, (job) => {
        const again = job.resumable ? resumed(job) : undefined;
        if (!again) throw new UserError(`"${job.title}" cannot be resumed; start it again.`);
        return enqueue(again);
      });
    },
    retry: async (id) => {
      await requireFreeFolder(await find(id), id);
      return taken(id, async (job) => {
        if (job.state === 'finished') throw new UserError(`"${job.title}" is finished.`);
        await discard(job);
        return enqueue(restarted(job));
      });
    },
    remove: (id, deleteProgress) =>
      taken(id, async (job) => {
        if (deleteProgress) await discard(job);
        await store.remove(id);
        if (shown.delete(id)) hooks.removed(id);
      }),
    log: async (id) => {
      await find(id);
      return store.readLog(id);
    },
    uses: async (folder) => {
      const target = resolve(folder);
      const isWithin = (path: string) => resolve(path) === target || resolve(path).startsWith(target + sep);
      return (await list()).some((job) => isActive(job) && kindOf(job.kind).sets(job.request).some(isWithin));
    },
    close: async () => {
      closing = true;
      timers.forEach(clearInterval);
      unwatch();
      for (const id of queue.splice(0)) await settle(id, own.get(id)!, { type: 'cancelled' });
      for (const job of own.values()) job.process?.kill();
      await Promise.all([...own.values()].map((job) => job.ended));
    },
  };

  async function list(): Promise<JobRecord[]> {
    const ids = new Set([...(await store.ids()), ...own.keys()]);
    const jobs = await Promise.all([...ids].sort().map(look));
    return jobs.filter((job) => job !== undefined);
  }

  /** A job as it stands now; one whose engine is gone becomes interrupted. */
  async function look(id: string): Promise<JobRecord | undefined> {
    const record = own.get(id)?.record ?? (await readRecord(id));
    if (!record) {
      if (shown.delete(id)) hooks.removed(id);
      return undefined;
    }
    if (own.has(id) || !isActive(record)) return show(own.get(id)?.record ?? record);
    return (await store.of(id)) === 'another' ? show(record, true) : inTurn(() => adopt(id));
  }

  function refresh(id: string): void {
    if (closing) return;
    look(id).catch((error: unknown) => hooks.log('warning', `A job cannot be read: ${messageOf(error)}`));
  }

  async function adopt(id: string): Promise<JobRecord | undefined> {
    const ours = own.get(id);
    if (ours) return show(ours.record);
    const isOurs = await store.claim(id);
    const record = await readRecord(id);
    if (!isOurs || !record || !isActive(record)) {
      if (isOurs) await store.release(id);
      return record && show(record, isActive(record));
    }
    const interrupted = stopped(record, 'interrupted', now(), await isMade(record));
    await write(interrupted);
    await store.release(id);
    return show(interrupted);
  }

  async function readRecord(id: string): Promise<StoredJob | undefined> {
    try {
      return await store.read(id);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      hooks.log('warning', `A job cannot be shown: ${error.message}`);
      return undefined;
    }
  }

  async function find(id: string): Promise<StoredJob> {
    const record = ID.test(id) ? (own.get(id)?.record ?? (await readRecord(id))) : undefined;
    if (!record) throw new UserError('There is no such job; it may have been removed.');
    return record;
  }

  async function refuseToCancel(id: string): Promise<never> {
    const { title, state } = await find(id);
    throw new UserError(
      isActive({ state })
        ? `"${title}" belongs to another window; cancel it there.`
        : `"${title}" is ${state}; there is nothing to cancel.`,
    );
  }

  /** Lets `change` alone, of all engines, change a job that is neither queued nor running. */
  function taken<T>(id: string, change: (record: StoredJob) => T | Promise<T>): Promise<T> {
    return inTurn(async () => {
      const { title, state } = await find(id);
      if (own.has(id)) throw new UserError(`"${title}" is ${state} already.`);
      if (!(await store.claim(id))) throw new UserError(`"${title}" is in use by another window.`);
      try {
        // Another may have had it between the look and the claim.
        const record = await find(id);
        if (isActive(record)) throw new UserError(`"${title}" was interrupted just now; try again.`);
        return await change(record);
      } catch (error) {
        await store.release(id);
        throw error;
      }
    });
  }

  /** One after another: what claims and releases jobs must not mix. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = turn.then(work);
    turn = result.catch(() => undefined);
    return result;
  }

  async function requireFreeFolder(params: StartParams<JobKind>, but?: string): Promise<void> {
    const out = writtenBy(params);
    if (out === undefined) return;
    for (const job of await list())
      if (job.id !== but && isActive(job) && writtenBy(job) === out)
        throw new UserError(`"${job.title}" is ${job.state} and writes ${out}; choose another name.`);
  }

  /** Resolves once the job would survive this process. */
  async function enqueue(record: StoredJob): Promise<JobRecord> {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((done) => (end = done));
    own.set(record.id, { record, cancelling: false, shownAt: 0, writtenAt: 0, ended, end });
    queue.push(record.id);
    const job = show(record);
    await write(record);
    pump();
    return job;
  }

  function pump(): void {
    hooks.busy(own.size > 0);
    if (running !== undefined || closing) return;
    running = queue.shift();
    if (running !== undefined) void run(running, own.get(running)!);
  }

  async function run(id: string, job: OwnJob): Promise<void> {
    note(id, `${job.record.progress > 0 ? 'Goes on' : 'Starts'}: ${job.record.title}`);
    update(job, { ...job.record, state: 'running', started: now() }, true);
    try {
      const left = timeLeft(now);
      job.process = startProcess(job.record.kind, job.record.request, {
        note: (line) => note(id, line),
        output: (text) => store.appendLog(id, text),
        status: (status) => {
          const next = withStatus(job.record, status, left(status.done));
          update(job, next, next.series !== job.record.series);
        },
      });
      await settle(id, job, await job.process.outcome);
    } catch (error) {
      await settle(id, job, { type: 'error', reason: 'defect', message: messageOf(error) });
    }
  }

  function update(job: OwnJob, record: StoredJob, isStep = false): void {
    job.record = record;
    if (isStep || now() - job.shownAt >= SHOW_MILLISECONDS) {
      job.shownAt = now();
      show(record);
    }
    if (isStep || now() - job.writtenAt >= WRITE_MILLISECONDS) {
      job.writtenAt = now();
      void write(record);
    }
  }

  async function settle(id: string, job: OwnJob, outcome: Ending['outcome']): Promise<void> {
    if (outcome.type === 'crashed') note(id, `Its process crashed (${outcome.how}).`);
    job.record = await recordAfter(job.record, { outcome, cancelling: job.cancelling, closing, now: now() });
    if (job.record.state === 'queued') queue.unshift(id);
    else {
      const { state, error } = job.record;
      note(id, `Now ${state}${error === undefined ? '' : `: ${error}`}`);
      await write(job.record);
      await store.release(id).catch(() => undefined);
      own.delete(id);
      job.end();
    }
    show(job.record);
    if (running === id) running = undefined;
    pump();
  }

  function show(record: StoredJob, elsewhere = false): JobRecord {
    const job = { ...record, elsewhere } as JobRecord;
    const text = JSON.stringify(job);
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

  function note(id: string, line: string): void {
    store.appendLog(id, `${new Date(now()).toISOString()} ${line}\n`);
  }
}

const writtenBy = ({ kind, request }: StartParams<JobKind>): string | undefined =>
  kindOf(kind).writes(request);
