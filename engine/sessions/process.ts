/** The process of a session, as the one that answers the editor sees it: native code runs there alone. */
import { forkEntry } from '../entry.js';
import { errorFrom, type Failure } from '../jobs/run.js';
import type { DeviceChoice, PredictParams } from '../protocol/protocol.js';

export type SessionWork =
  | {
      readonly kind: 'open';
      readonly model: string;
      readonly adapters: string;
      readonly device?: DeviceChoice;
    }
  | { readonly kind: 'use'; readonly bits: readonly number[] }
  | { readonly kind: 'predict'; readonly input: PredictParams['input'] }
  | { readonly kind: 'evaluate'; readonly data: string; readonly limit?: number };

export type ToSession = (SessionWork & { readonly id: number }) | { readonly cancel: number };

export type FromSession = { readonly id: number } & (
  | { readonly type: 'result'; readonly result: unknown; readonly seconds: number }
  | { readonly type: 'progress'; readonly done: number; readonly total: number }
  | { readonly type: 'text'; readonly of: 'plan' | 'full'; readonly text: string }
  | Failure
);

/** What is heard of work before it has ended. */
export interface AskHooks {
  readonly progress?: (done: number, total: number) => void;
  readonly text?: (of: 'plan' | 'full', text: string) => void;
}

export interface SessionProcess {
  /** Rejects as `runJob` does, and with `SessionEnded` where the process is gone first. */
  ask<T>(work: SessionWork, signal: AbortSignal, hooks?: AskHooks): Promise<T & { readonly seconds: number }>;
  /** Resolves when the process has ended, to how, such as `SIGSEGV` or `exit code 1`. */
  readonly ended: Promise<string>;
  kill(): void;
}

export type StartSessionProcess = (output: (text: string) => void) => SessionProcess;

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly hooks: AskHooks;
}

export const startSessionProcess: StartSessionProcess = (output) => {
  const child = forkEntry('session.js', output);
  const waiting = new Map<number, Waiting>();
  let last = 0;
  const send = (message: ToSession) => {
    if (child.connected) child.send(message, () => undefined);
  };
  child.on('message', (message: FromSession) => {
    const asked = waiting.get(message.id);
    if (!asked) return;
    if (message.type === 'progress') {
      asked.hooks.progress?.(message.done, message.total);
      return;
    }
    if (message.type === 'text') {
      asked.hooks.text?.(message.of, message.text);
      return;
    }
    waiting.delete(message.id);
    if (message.type === 'error') asked.reject(errorFrom(message));
    else asked.resolve({ ...(message.result as object), seconds: message.seconds } as never);
  });
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(signal ?? `exit code ${code ?? 0}`));
  });
  void ended.then((how) => {
    for (const { reject } of waiting.values()) reject(new SessionEnded(how));
    waiting.clear();
  });
  return {
    ended,
    kill: () => void child.kill('SIGKILL'),
    ask: (work, signal, hooks = {}) =>
      new Promise((resolve, reject) => {
        if (!child.connected) {
          void ended.then((how) => reject(new SessionEnded(how)));
          return;
        }
        const id = ++last;
        waiting.set(id, { resolve, reject, hooks });
        signal.addEventListener('abort', () => send({ cancel: id }), { once: true });
        send({ id, ...work });
        if (signal.aborted) send({ cancel: id });
      }),
  };
};

/** The process ended before it had answered. */
export class SessionEnded extends Error {
  override readonly name = 'SessionEnded';
  constructor(readonly how: string) {
    super(`The session's process has ended (${how}).`);
  }
}
