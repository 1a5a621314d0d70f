/** The life of the engine as the extension sees it: which state follows which, and when. No process, no clock. */
import type { EngineError } from './error.js';
import type { EngineProcess } from './process.js';

export type State =
  /** Nothing needed it yet. */
  | { readonly phase: 'stopped' }
  /** `message` says why it is started again. */
  | { readonly phase: 'starting'; readonly message?: string }
  | { readonly phase: 'running'; readonly engine: EngineProcess }
  /** Crashed, and to be started again in so many milliseconds. */
  | { readonly phase: 'waiting'; readonly message: string; readonly wait: number }
  /** Not started again by itself. */
  | { readonly phase: 'failed'; readonly error: EngineError }
  /** The extension ends. */
  | { readonly phase: 'ended' };

/** What others are told of a state. `stopped`: nothing needed it yet, or the extension ends. */
export interface StateChange {
  readonly state: 'stopped' | 'starting' | 'running' | 'failed';
  /** One line for people; of `failed` always, of `starting` after a crash. */
  readonly message?: string;
}

export type Happening =
  | { readonly type: 'needed' }
  | { readonly type: 'restarted' }
  | { readonly type: 'ready'; readonly engine: EngineProcess }
  | { readonly type: 'crashed'; readonly message: string; readonly wait: number }
  /** The wait after a crash is over. */
  | { readonly type: 'due' }
  | { readonly type: 'gaveUp'; readonly error: EngineError }
  | { readonly type: 'stopped' };

type Follow<P, H> = (happening: H, state: P) => State;
type Table = {
  readonly [P in State as P['phase']]: { readonly [H in Happening as H['type']]?: Follow<P, H> };
};
type Of<H extends Happening['type']> = Extract<Happening, { readonly type: H }>;

const starting = (): State => ({ phase: 'starting' });
const startingAgain = (_: unknown, { message }: { readonly message: string }): State => ({
  phase: 'starting',
  message,
});
const running = ({ engine }: Of<'ready'>): State => ({ phase: 'running', engine });
const waiting = ({ message, wait }: Of<'crashed'>): State => ({ phase: 'waiting', message, wait });
const failed = ({ error }: Of<'gaveUp'>): State => ({ phase: 'failed', error });
const ended = (): State => ({ phase: 'ended' });

const TABLE: Table = {
  stopped: { needed: starting, restarted: starting, stopped: ended },
  starting: { ready: running, crashed: waiting, gaveUp: failed, restarted: starting, stopped: ended },
  running: { crashed: waiting, gaveUp: failed, restarted: starting, stopped: ended },
  waiting: { due: startingAgain, restarted: starting, stopped: ended },
  failed: { restarted: starting, stopped: ended },
  ended: {},
};

/** The state that follows, a new object; undefined where what happened changes nothing. */
export function follow(state: State, happening: Happening): State | undefined {
  const next = TABLE[state.phase][happening.type] as Follow<State, Happening> | undefined;
  return next?.(happening, state);
}

export function shownOf(state: State): StateChange {
  switch (state.phase) {
    case 'stopped':
    case 'ended':
      return { state: 'stopped' };
    case 'running':
      return { state: 'running' };
    case 'starting':
    case 'waiting':
      return { state: 'starting', ...(state.message !== undefined && { message: state.message }) };
    case 'failed':
      return { state: 'failed', message: state.error.message };
  }
}
