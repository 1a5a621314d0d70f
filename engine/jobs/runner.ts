/** Jobs of this engine: what the queue says is done to processes, and what they report becomes records. */
import { messageOf } from '../errors.js';
import type { JobKind, JobRecord } from '../protocol/protocol.js';
import { timeLeft } from '../time-left.js';
import { recordAfter, type Ending } from './outcome.js';
import type { JobProcess, StartJobProcess } from './process.js';
import type { Publisher } from './publishing.js';
import { EMPTY_QUEUE, stepQueue, type QueueEffect, type QueueEvent } from './queue.js';
import { withStatus, type StoredJob } from './record.js';
import type { JobStore } from './store.js';

/** A job of this engine, from when it is queued until it has ended. */
interface OwnJob {
  record: StoredJob;
  process?: JobProcess<JobKind>;
  /** Kills a process that does not stop when asked. */
  deadline?: NodeJS.Timeout;
  readonly ended: Promise<void>;
  readonly end: () => void;
}

export interface Runner {
  /** Jobs that are queued or run. */
  readonly own: ReadonlyMap<string, Pick<OwnJob, 'record' | 'ended'>>;
  /** Queues a job that this engine has claimed. Resolves once it would survive this process. */
  enqueue(record: StoredJob): Promise<JobRecord>;
  /** Stops a job of its own; `ended` says when it has. */
  cancel(id: string): void;
  closing(): boolean;
  /** Stops everything at once; resolves when it has. */
  close(): Promise<void>;
}

interface Surroundings {
  readonly store: Pick<JobStore, 'appendLog' | 'release'>;
  readonly publisher: Publisher;
  readonly startProcess: StartJobProcess;
  /** Hears whether any job is queued or runs. */
  readonly busy: (busy: boolean) => void;
  readonly now: () => number;
}

/** A job that is asked to stop has this long to come to a safe point. */
const CANCEL_MILLISECONDS = 10_000;

export function openRunner({ store, publisher, startProcess, busy, now }: Surroundings): Runner {
  const own = new Map<string, OwnJob>();
  let queue = EMPTY_QUEUE;

  return {
    own,
    enqueue,
    cancel: (id) => take({ type: 'cancelled', id }),
    closing: () => queue.closing,
    close: async () => {
      take({ type: 'closed' });
      await Promise.all([...own.values()].map((job) => job.ended));
    },
  };

  async function enqueue(record: StoredJob): Promise<JobRecord> {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((done) => (end = done));
    own.set(record.id, { record, ended, end });
    const job = publisher.show(record);
    const written = publisher.write(record);
    take({ type: 'added', id: record.id });
    await written;
    return job;
  }

  function take(event: QueueEvent): void {
    const step = stepQueue(queue, event);
    queue = step.queue;
    busy(own.size > 0);
    for (const effect of step.effects) perform(effect, own.get(effect.id)!);
  }

  function perform({ type, id }: QueueEffect, job: OwnJob): void {
    switch (type) {
      case 'run':
        return void run(id, job);
      case 'stop':
        job.process?.cancel();
        job.deadline ??= setTimeout(() => job.process?.kill(), CANCEL_MILLISECONDS);
        return;
      case 'kill':
        return job.process?.kill();
      case 'drop':
        return void settle(id, job, { type: 'cancelled' });
    }
  }

  async function run(id: string, job: OwnJob): Promise<void> {
    note(id, `${job.record.progress > 0 ? 'Goes on' : 'Starts'}: ${job.record.title}`);
    job.record = { ...job.record, state: 'running', started: now() };
    publisher.progress(job.record, true);
    const left = timeLeft(now);
    try {
      job.process = startProcess(job.record.kind, job.record.request, {
        note: (line) => note(id, line),
        output: (text) => store.appendLog(id, text),
        status: (status) => {
          const { series } = job.record;
          job.record = withStatus(job.record, status, left(status.done));
          publisher.progress(job.record, job.record.series !== series);
        },
      });
      await settle(id, job, await job.process.outcome);
    } catch (error) {
      await settle(id, job, { type: 'error', reason: 'defect', message: messageOf(error) });
    }
  }

  async function settle(id: string, job: OwnJob, outcome: Ending['outcome']): Promise<void> {
    if (outcome.type === 'crashed') note(id, `Its process crashed (${outcome.how}).`);
    const { cancelling, closing } = queue;
    job.record = await recordAfter(job.record, {
      outcome,
      cancelling: cancelling.has(id),
      closing,
      now: now(),
    });
    const goesOn = job.record.state === 'queued';
    if (!goesOn) {
      const { state, error } = job.record;
      note(id, `Now ${state}${error === undefined ? '' : `: ${error}`}`);
      await publisher.write(job.record);
      await store.release(id).catch(() => undefined);
      own.delete(id);
      job.end();
    }
    clearTimeout(job.deadline);
    delete job.deadline;
    publisher.show(job.record);
    take({ type: 'settled', id, goesOn });
  }

  function note(id: string, line: string): void {
    store.appendLog(id, `${new Date(now()).toISOString()} ${line}\n`);
  }
}
