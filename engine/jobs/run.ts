/** Runs jobs off the thread that answers requests: one worker thread a job. */
import { Worker } from 'node:worker_threads';
import { findEntry } from '../entry.js';
import { CancelledError, UserError } from '../errors.js';
import type { Forecast, JobHooks, WorkKind, Jobs } from './requests.js';

export type ToWorker = 'cancel' | 'begin';
export type FromWorker =
  | { readonly type: 'status'; readonly status: unknown }
  | { readonly type: 'note'; readonly line: string }
  /** Answered by `begin` or `cancel`. */
  | { readonly type: 'forecast'; readonly forecast: Forecast }
  | { readonly type: 'result'; readonly result: unknown }
  | Failure;

/** How a job that threw is reported. */
export interface Failure {
  readonly type: 'error';
  readonly reason: 'user' | 'cancelled' | 'defect';
  readonly message: string;
  readonly stack: string | undefined;
}

/**
 * Runs a job to its end. Rejects with UserError for what a person can mend, CancelledError once `hooks.signal` has
 * stopped it at a safe point, any other error for a defect, and where `hooks.announce` does, with its reason.
 */
export function runJob<K extends WorkKind>(
  kind: K,
  request: Jobs[K]['request'],
  hooks: JobHooks<K>,
): Promise<Jobs[K]['result']> {
  return new Promise((resolve, reject) => {
    const entry = findEntry('worker.js');
    if (entry === undefined) throw new Error('The engine is not built: worker.js is missing beside it.');
    const worker = new Worker(entry, {
      workerData: { kind, request, announces: hooks.announce !== undefined },
    });
    const post = (message: ToWorker) => worker.postMessage(message);
    const cancel = () => post('cancel');
    hooks.signal.addEventListener('abort', cancel);
    if (hooks.signal.aborted) cancel();
    let settle = () => reject(new Error(`The ${kind} job ended without a result.`));
    const decline = (error: unknown) => {
      reject(error instanceof Error ? error : new Error(String(error)));
      cancel();
    };
    worker.on('message', (message: FromWorker) => {
      switch (message.type) {
        case 'status':
          return hooks.status(message.status as Jobs[K]['status']);
        case 'note':
          return hooks.note(message.line);
        case 'forecast':
          hooks.announce!(message.forecast).then(() => post('begin'), decline);
          return;
        case 'result':
          settle = () => resolve(message.result as Jobs[K]['result']);
          return;
        case 'error':
          settle = () => reject(errorFrom(message));
      }
    });
    worker.on('error', reject);
    worker.on('exit', () => {
      hooks.signal.removeEventListener('abort', cancel);
      settle();
    });
  });
}

export function failureOf(error: unknown): Failure {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const reason =
    error instanceof CancelledError ? 'cancelled' : error instanceof UserError ? 'user' : 'defect';
  return { type: 'error', reason, message, stack };
}

/** The error that `failureOf` reported. */
export function errorFrom({ reason, message, stack }: Failure): Error {
  if (reason === 'cancelled') return new CancelledError();
  if (reason === 'user') return new UserError(message);
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
