/**
 * Reads people's files in a thread of its own, whose memory has a limit: whatever they hold, the thread that answers goes on
 * answering.
 */
import { Worker } from 'node:worker_threads';
import { findEntry } from '../entry.js';
import { CancelledError, UserError } from '../errors.js';
import { errorFrom, type Failure } from '../jobs/run.js';
import type { ModelReport, ParamsOf, ResultOf } from '../protocol/protocol.js';
import { createReadings, type Reading, type ReadingHooks } from './readings.js';

export type ToReader =
  { readonly id: number; readonly reading: Reading; readonly params: unknown } | { readonly cancel: number };
export type FromReader = { readonly id: number } & (
  | { readonly type: 'found'; readonly model: ModelReport }
  | { readonly type: 'info'; readonly line: string }
  | { readonly type: 'result'; readonly result: unknown }
  | { readonly type: 'failure'; readonly failure: Failure }
);

export interface Reader {
  read<M extends Reading>(reading: M, params: ParamsOf<M>, hooks: ReadingHooks): Promise<ResultOf<M>>;
}

const ENTRY = 'reader.js';
/** Of the heap of the thread: more than any file within its limits takes. */
const LIMITS = { maxOldGenerationSizeMb: 144, maxYoungGenerationSizeMb: 8 };

/** Unbundled, as in unit tests, it reads in this thread. */
export function openReader(): Reader {
  const entry = findEntry(ENTRY);
  if (entry !== undefined) return inThread(entry);
  const readings = createReadings();
  return {
    read: (reading, params, hooks) =>
      (readings[reading] as (p: typeof params, h: ReadingHooks) => Promise<ResultOf<typeof reading>>)(
        params,
        hooks,
      ),
  };
}

interface Open {
  readonly hooks: ReadingHooks;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

function inThread(entry: string): Reader {
  const open = new Map<number, Open>();
  let worker: Worker | undefined;
  let last = 0;

  function start(): Worker {
    const started = new Worker(entry, { resourceLimits: LIMITS });
    started.unref();
    started.on('message', hear);
    started.on('error', (error: NodeJS.ErrnoException) => {
      const tooLarge = error.code === 'ERR_WORKER_OUT_OF_MEMORY';
      fail(
        started,
        tooLarge ? new UserError('What is to be read takes more memory than is allowed for it.') : error,
      );
    });
    started.on('exit', () => fail(started, new Error('The thread that reads files has ended.')));
    return started;
  }

  /** What is open was asked of the present thread: one that has ended before says nothing of it. */
  function fail(thread: Worker, error: Error): void {
    if (worker !== thread) return;
    worker = undefined;
    for (const { reject } of open.values()) reject(error);
    open.clear();
  }

  function hear(message: FromReader): void {
    const asked = open.get(message.id);
    if (!asked) return;
    switch (message.type) {
      case 'found':
        return asked.hooks.found(message.model);
      case 'info':
        return asked.hooks.info(message.line);
      case 'result':
        open.delete(message.id);
        return asked.resolve(message.result as never);
      case 'failure':
        open.delete(message.id);
        asked.reject(errorFrom(message.failure));
    }
  }

  return {
    read: (reading, params, hooks) =>
      new Promise((resolve, reject) => {
        const id = ++last;
        worker ??= start();
        const thread = worker;
        const send = (message: ToReader) => thread.postMessage(message);
        open.set(id, { hooks, resolve, reject });
        send({ id, reading, params });
        const cancel = () => {
          open.delete(id);
          send({ cancel: id });
          reject(new CancelledError());
        };
        hooks.signal.addEventListener('abort', cancel, { once: true });
        if (hooks.signal.aborted) cancel();
      }),
  };
}
