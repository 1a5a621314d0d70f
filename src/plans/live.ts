/**
 * A running model that follows a plan: opened at the first need, switched with each edit, measured and asked on the way.
 * Requests of one session go one after another; of several edits in the meantime the last one counts. Knows no editor.
 */
import { sameBits } from '../../engine/plans/bits.js';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import type { Live, Measurement, MetricKey, ShowTried, TryInput } from '../../webview/precision/protocol.js';
import type { Connection } from '../common/connection.js';
import { messageOf } from '../common/errors.js';
import { createEmitter, type Disposable, type Event } from '../common/event.js';
import { createLiveSession, type LiveSessionOptions } from './live-session.js';

export interface LiveModel extends Disposable {
  readonly onDidChange: Event<Live>;
  readonly onDidTry: Event<Omit<ShowTried, 'type'>>;
  now(): Live;
  /** The plan is this now. Opens nothing. */
  follow(bits: readonly number[]): void;
  /** Opens the model where it is not, and switches it to the plan. */
  open(): Promise<void>;
  /** Resolves once measured, cancelled or failed. */
  measure(): Promise<void>;
  keep(on: boolean): void;
  cancel(): void;
  setData(path: string, name: string): void;
  /** What is answered from now on, after each edit too. */
  attempt(input: TryInput | undefined): void;
  /** The engine has ended, and the session with it; the next need opens another. */
  lost(): void;
}

export interface LiveOptions extends LiveSessionOptions {
  /** Samples of a measurement, so that it ends within moments. */
  readonly limit: number;
  /** What was measured of it before. */
  readonly measured?: readonly Measurement[];
}

const KEPT = 8;

export function createLive(connection: Connection, options: LiveOptions): LiveModel {
  const changed = createEmitter<Live>();
  const tried = createEmitter<Omit<ShowTried, 'type'>>();
  let state: Live = { state: 'closed', keep: false, measured: options.measured ?? [] };
  let wanted: readonly number[] = [];
  let input: TryInput | undefined;
  let data: string | undefined;
  let measuring: AbortController | undefined;
  /** What is answered so far, while it is. */
  let partial: ShowTried['partial'];
  let disposed = false;

  const set = (change: Partial<Live>, ...without: (keyof Live)[]) => {
    const next = { ...state, ...change };
    for (const key of without) delete (next as unknown as Record<string, unknown>)[key];
    state = next;
    if (!disposed) changed.fire(state);
  };
  const session = createLiveSession(connection, options, (opening) =>
    opening === 'opening' ? set({ state: opening }, 'reason', 'error') : set({ state: opening }),
  );
  const subscriptions = [
    connection.onNotification('session/closed', (closed) => {
      if (closed.session !== session.id()) return;
      session.forget();
      set({ state: 'closed', reason: closed.reason }, 'measuring', 'switched', 'warnings');
    }),
    connection.onNotification('session/progress', ({ session: of, done, total }) => {
      if (of === session.id() && measuring) set({ measuring: { done, total } });
    }),
    connection.onNotification('session/text', ({ session: of, of: which, text }) => {
      if (of !== session.id() || !partial) return;
      partial = { ...partial, [which]: text };
      tried.fire({ partial });
    }),
  ];
  /** Runs after what was asked before; an error is shown and ends only this. */
  const inTurn = createTurns(async (work) => {
    if (!disposed) await work().catch((error: unknown) => set({ error: messageOf(error) }));
  });

  async function catchUp(): Promise<void> {
    const warnings = await session.open();
    if (warnings) set({ warnings });
    if (!sameBits(wanted, session.bits() ?? [])) set({ switching: true });
    const switched = await session.use(wanted).finally(() => set({}, 'switching'));
    if (switched) set({ switched }, 'error');
    if (input === undefined || session.id() === undefined) return;
    try {
      partial = {};
      const result = await session.predict(input);
      if (result && !disposed) tried.fire({ result });
    } catch (error) {
      tried.fire({ error: messageOf(error) });
    } finally {
      partial = undefined;
    }
  }

  function measure(): Promise<void> {
    measuring?.abort();
    const own = new AbortController();
    measuring = own;
    set({ measuring: { done: 0, total: 0 } }, 'error');
    return inTurn(async () => {
      try {
        await catchUp();
        if (own.signal.aborted || data === undefined || session.id() === undefined) return;
        const bits = session.bits()!;
        const { row, full, seconds } = await session.evaluate(data, options.limit, own.signal);
        const measured = measurementOf(row, full, bits, seconds);
        if (measured && !own.signal.aborted) set({ measured: [...state.measured, measured].slice(-KEPT) });
      } catch (error) {
        if (!own.signal.aborted) throw error;
      } finally {
        if (measuring === own) {
          measuring = undefined;
          set({}, 'measuring');
        }
      }
    });
  }

  return {
    onDidChange: changed.event,
    onDidTry: tried.event,
    now: () => state,
    follow: (bits) => {
      if (sameBits(bits, wanted)) return;
      wanted = bits;
      measuring?.abort();
      if (session.id() === undefined && state.state === 'closed') return;
      if (state.keep && data !== undefined) void measure();
      else void inTurn(catchUp);
    },
    open: () => inTurn(catchUp),
    measure,
    keep: (on) => {
      set({ keep: on });
      if (on && data !== undefined) void measure();
    },
    cancel: () => measuring?.abort(),
    setData: (path, name) => {
      data = path;
      set({ data: name });
      if (state.keep) void measure();
    },
    attempt: (next) => {
      input = next;
      session.forgetAnswer();
      if (next) void inTurn(catchUp);
    },
    lost: () => {
      if (session.id() === undefined) return;
      session.forget();
      set({ state: 'closed' }, 'switched', 'reason', 'warnings');
    },
    dispose: () => {
      disposed = true;
      measuring?.abort();
      for (const subscription of subscriptions) subscription.dispose();
      session.dispose();
    },
  };
}

/** Runs what it is given one after another. */
function createTurns(run: (work: () => Promise<void>) => Promise<void>) {
  let queue: Promise<void> = Promise.resolve();
  return (work: () => Promise<void>): Promise<void> => (queue = queue.then(() => run(work)));
}

/** The score that a task is known by. */
function measurementOf(
  row: EvaluationRow,
  full: EvaluationRow,
  bits: readonly number[],
  seconds: number,
): Measurement | undefined {
  const keys: readonly MetricKey[] = ['top1', 'perplexity', 'accuracy', 'kl'];
  const metric = keys.find((key) => row[key] !== undefined);
  if (metric === undefined) return undefined;
  const { samples, scoreError, kl } = row;
  return {
    bits,
    metric,
    value: row[metric]!,
    full: full[metric] ?? 0,
    samples,
    seconds,
    ...(scoreError !== undefined && { error: scoreError }),
    ...(kl !== undefined && metric !== 'kl' && { kl }),
  };
}
