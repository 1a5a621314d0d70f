/**
 * The engine as the extension sees it: started when first needed, started again when it crashes, and gone when the
 * extension is. Knows no editor.
 */
import type { NotificationMethod } from '../../engine/protocol/protocol.js';
import type { Connection } from '../common/connection.js';
import { createEmitter, type Event } from '../common/event.js';
import { EngineError } from './error.js';
import { startHeartbeat } from './heartbeat.js';
import { createLauncher, type EngineOptions } from './launch.js';
import { follow, shownOf, type Happening, type State, type StateChange } from './lifecycle.js';
import type { EngineProcess } from './process.js';
import { send } from './request.js';
import { createRestarts } from './restarts.js';

/** Requests reject with `EngineError`. */
export interface EngineClient extends Connection {
  readonly state: StateChange['state'];
  readonly onDidChangeState: Event<StateChange>;
  /** Ends the engine and starts it anew, whatever state it is in. Earlier crashes are forgotten. */
  restart(): Promise<void>;
  /** Ends the engine for good: when it resolves, no process is left. */
  stop(): Promise<void>;
}

export function createEngineClient(options: EngineOptions): EngineClient {
  const { log } = options;
  const notified = createEmitter<{ readonly method: NotificationMethod; readonly params: unknown }>();
  const entered = createEmitter<State>();
  const changed = createEmitter<StateChange>();
  const launcher = createLauncher(options, (method, params) => notified.fire({ method, params }));
  const restarts = createRestarts();
  let state: State = { phase: 'stopped' };
  let shown = shownOf(state);
  /** Undoes what the entry into the state began. */
  let leave: () => void = nothing;

  /** @param during the state that this is news of: once that is over, it changes nothing */
  function happen(happening: Happening, during = state): void {
    const next = during === state ? follow(state, happening) : undefined;
    if (!next) return;
    leave();
    state = next;
    leave = enter(next);
    entered.fire(next);
    const change = shownOf(next);
    if (change.state === shown.state && change.message === shown.message) return;
    shown = change;
    changed.fire(change);
  }

  function enter(next: State): () => void {
    switch (next.phase) {
      case 'starting':
        void start(next);
        return nothing;
      case 'running':
        return watch(next.engine, next);
      case 'waiting': {
        const timer = setTimeout(() => happen({ type: 'due' }, next), next.wait);
        return () => clearTimeout(timer);
      }
      case 'failed':
        log.error(next.error.message);
        return nothing;
      case 'stopped':
      case 'ended':
        return nothing;
    }
  }

  async function start(own: State): Promise<void> {
    const launched = await launcher.launch(() => state === own);
    switch (launched.type) {
      case 'ready':
        return happen(launched, own);
      case 'refused':
        return happen({ type: 'gaveUp', error: launched.error }, own);
      case 'crashed':
        return crash(launched.message, own);
      case 'unwanted':
    }
  }

  function watch({ connection, exited, kill }: EngineProcess, own: State): () => void {
    void exited.then((how) => crash(`The engine ended unexpectedly (${how}).`, own));
    return startHeartbeat(
      async () => connection.sendRequest('ping', {}),
      () => {
        log.error('The engine does not answer and is ended.');
        kill();
      },
    );
  }

  function crash(message: string, own: State): void {
    if (state !== own) return;
    log.error(message);
    const wait = restarts.afterCrash(Date.now());
    if (wait !== undefined) return happen({ type: 'crashed', message, wait });
    const whole = `${message} It crashed too often and is not started again; the log may say why.`;
    happen({ type: 'gaveUp', error: new EngineError(whole) });
  }

  /** The engine once it runs; it is started where nothing needed it yet. Rejects where it will not run. */
  function running(): Promise<EngineProcess> {
    if (state.phase === 'ended') return Promise.reject(new EngineError('The extension is ending.'));
    happen({ type: 'needed' });
    return new Promise((resolve, reject) => {
      const settle = (now: State) => {
        if (now.phase === 'running') resolve(now.engine);
        else if (now.phase === 'failed') reject(now.error);
        else if (now.phase === 'ended') reject(new EngineError('The engine was stopped.'));
        else return;
        subscription.dispose();
      };
      const subscription = entered.event(settle);
      settle(state);
    });
  }

  return {
    get state() {
      return shown.state;
    },
    onDidChangeState: changed.event,
    onNotification: (method, listener) =>
      notified.event((sent) => {
        if (sent.method === method) listener(sent.params as Parameters<typeof listener>[0]);
      }),
    request: async (method, params, signal) => {
      const { connection } = await running();
      return send(connection, method, params, signal);
    },
    restart: async () => {
      restarts.clear();
      happen({ type: 'restarted' });
      await running();
    },
    stop: async () => {
      happen({ type: 'stopped' });
      await launcher.endAll();
    },
  };
}

const nothing = () => undefined;
