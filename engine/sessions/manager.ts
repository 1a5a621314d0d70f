/** The open sessions of a client: one process each, closed when nothing was asked of it for a time. */
import { randomBytes } from 'node:crypto';
import { CancelledError, UserError } from '../errors.js';
import type {
  Empty,
  OpenSessionParams,
  OpenSessionResult,
  ParamsOf,
  PredictResult,
  ResultOf,
  SessionClosed,
  SessionEvaluateResult,
  SessionProgress,
  SessionText,
} from '../protocol/protocol.js';
import {
  SessionEnded,
  type AskHooks,
  type SessionProcess,
  type SessionWork,
  type StartSessionProcess,
} from './process.js';

export interface Sessions {
  open(params: OpenSessionParams, signal: AbortSignal): Promise<ResultOf<'session/open'>>;
  use(params: ParamsOf<'session/use'>, signal: AbortSignal): Promise<ResultOf<'session/use'>>;
  predict(params: ParamsOf<'session/predict'>, signal: AbortSignal): Promise<PredictResult>;
  evaluate(params: ParamsOf<'session/evaluate'>, signal: AbortSignal): Promise<SessionEvaluateResult>;
  close(params: ParamsOf<'session/close'>): Promise<Empty>;
  /** Ends all of them at once. */
  closeAll(): Promise<void>;
}

export interface SessionsHooks {
  closed(params: SessionClosed): void;
  progress(params: SessionProgress): void;
  text(params: SessionText): void;
  /** What a session's process printed. */
  output(text: string): void;
}

interface Open {
  readonly process: SessionProcess;
  asked: number;
  idle: NodeJS.Timeout | undefined;
  /** Whether the client has closed it. */
  closed: boolean;
}

const IDLE_MILLISECONDS = 10 * 60_000;

export function openSessions(
  start: StartSessionProcess,
  hooks: SessionsHooks,
  idleMilliseconds = IDLE_MILLISECONDS,
): Sessions {
  const sessions = new Map<string, Open>();

  /** Ends a session that the client did not close. */
  const end = (session: string, reason: string) => {
    const open = sessions.get(session);
    if (!open) return;
    forget(session, open);
    hooks.closed({ session, reason });
  };
  const forget = (session: string, { process, idle }: Open) => {
    clearTimeout(idle);
    sessions.delete(session);
    process.kill();
  };
  const close = (session: string, open: Open) => {
    open.closed = true;
    forget(session, open);
  };
  const rest = (session: string, open: Open) => {
    if (open.asked > 0 || !sessions.has(session)) return;
    open.idle = setTimeout(
      () => end(session, 'The session was not used for a time and was closed to free its memory.'),
      idleMilliseconds,
    );
    open.idle.unref();
  };

  async function ask<T>(
    session: string,
    work: SessionWork,
    signal: AbortSignal,
    heard?: AskHooks,
  ): Promise<T & { readonly seconds: number }> {
    const open = sessions.get(session);
    if (!open) throw new UserError('There is no such session; it may have been closed. Open it again.');
    clearTimeout(open.idle);
    open.asked++;
    try {
      return await open.process.ask<T>(work, signal, heard);
    } catch (error) {
      if (!(error instanceof SessionEnded)) throw error;
      throw new UserError(open.closed ? CLOSED : crashed(error.how));
    } finally {
      open.asked--;
      rest(session, open);
    }
  }

  return {
    open: async ({ model, adapters, device }, signal) => {
      const session = randomBytes(8).toString('hex');
      const process = start((text) => hooks.output(text));
      sessions.set(session, { process, asked: 0, idle: undefined, closed: false });
      void process.ended.then((how) => end(session, crashed(how)));
      const abort = () => process.kill();
      signal.addEventListener('abort', abort, { once: true });
      try {
        const work = { kind: 'open', model, adapters, ...(device && { device }) } as const;
        const opened = await ask<Pick<OpenSessionResult, 'warnings'>>(session, work, signal);
        return { session, ...opened };
      } catch (error) {
        const open = sessions.get(session);
        if (open) forget(session, open);
        throw signal.aborted ? new CancelledError() : error;
      } finally {
        signal.removeEventListener('abort', abort);
      }
    },
    use: ({ session, bits }, signal) => ask(session, { kind: 'use', bits }, signal),
    predict: ({ session, input }, signal) =>
      ask(session, { kind: 'predict', input }, signal, {
        text: (of, text) => hooks.text({ session, of, text }),
      }),
    evaluate: ({ session, data, limit }, signal) =>
      ask(session, { kind: 'evaluate', data, ...(limit !== undefined && { limit }) }, signal, {
        progress: (done, total) => hooks.progress({ session, done, total }),
      }),
    close: async ({ session }) => {
      const open = sessions.get(session);
      if (open) {
        close(session, open);
        await open.process.ended;
      }
      return {};
    },
    closeAll: async () => {
      const all = [...sessions];
      for (const [session, open] of all) close(session, open);
      await Promise.all(all.map(([, { process }]) => process.ended));
    },
  };
}

const CLOSED = 'The session was closed before it had answered.';

const crashed = (how: string) =>
  `The session's process ended unexpectedly (${how}${how === 'SIGKILL' ? ', perhaps for want of memory' : ''}); open it again.`;
