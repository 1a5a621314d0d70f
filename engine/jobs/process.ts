/**
 * Runs a job in a process of its own: a driver that aborts, or a lack of memory, ends that process and not the one that
 * answers the editor; a job that hangs in native code can be killed; and all its memory goes back when it ends.
 */
import { forkEntry } from '../entry.js';
import type { WorkKind, Jobs } from './requests.js';
import type { FromWorker } from './run.js';

export type ToJob = { readonly kind: WorkKind; readonly request: unknown } | 'cancel';

/** How a job ended. */
export type Outcome<K extends WorkKind> =
  | { readonly type: 'result'; readonly result: Jobs[K]['result'] }
  | { readonly type: 'cancelled' }
  /** `defect` comes with a stack in the job's output. */
  | { readonly type: 'error'; readonly reason: 'user' | 'defect'; readonly message: string }
  /** The process ended without having said how; `how` such as `SIGSEGV` or `exit code 1`. */
  | { readonly type: 'crashed'; readonly how: string };

export interface JobProcess<K extends WorkKind> {
  readonly outcome: Promise<Outcome<K>>;
  /** Asks it to stop at the next safe point. */
  cancel(): void;
  /** Ends it at once. A job can be killed at any moment. */
  kill(): void;
}

export interface JobProcessHooks<K extends WorkKind> {
  readonly status: (status: Jobs[K]['status']) => void;
  /** A line worth the user's attention. */
  readonly note: (line: string) => void;
  /** What the process printed. */
  readonly output: (text: string) => void;
}

export type StartJobProcess = <K extends WorkKind>(
  kind: K,
  request: Jobs[K]['request'],
  hooks: JobProcessHooks<K>,
) => JobProcess<K>;

export const startJobProcess: StartJobProcess = <K extends WorkKind>(
  kind: K,
  request: Jobs[K]['request'],
  hooks: JobProcessHooks<K>,
): JobProcess<K> => {
  const child = forkEntry('job.js', (text) => hooks.output(text));
  const outcome = new Promise<Outcome<K>>((resolve) => {
    let last: Outcome<K> | undefined;
    child.on('message', (message: FromWorker) => {
      switch (message.type) {
        case 'status':
          return hooks.status(message.status as Jobs[K]['status']);
        case 'note':
          return hooks.note(message.line);
        // Asked for by the command line alone.
        case 'forecast':
          return;
        case 'result':
          last = { type: 'result', result: message.result as Jobs[K]['result'] };
          return;
        case 'error':
          if (message.reason === 'defect' && message.stack !== undefined) hooks.output(`${message.stack}\n`);
          last =
            message.reason === 'cancelled'
              ? { type: 'cancelled' }
              : { type: 'error', reason: message.reason, message: message.message };
      }
    });
    child.on('error', (error) => resolve({ type: 'crashed', how: error.message }));
    // `close` comes after everything it printed and sent.
    child.on('close', (code, signal) =>
      resolve(last ?? { type: 'crashed', how: signal ?? `exit code ${code ?? 0}` }),
    );
  });
  const send = (message: ToJob) => {
    if (child.connected) child.send(message, () => undefined);
  };
  send({ kind, request });
  return { outcome, cancel: () => send('cancel'), kill: () => void child.kill('SIGKILL') };
};
