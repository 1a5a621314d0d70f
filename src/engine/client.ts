/**
 * The engine as the extension sees it: started when first needed, started again when it crashes, and gone when the
 * extension is. Knows no editor.
 */
import { CancellationTokenSource, ResponseError, type MessageConnection } from 'vscode-jsonrpc/node';
import {
  ErrorCode,
  PROTOCOL_VERSION,
  type InitializeParams,
  type InitializeResult,
  type LogMessage,
  type NotificationMethod,
  type ParamsOf,
  type RequestMethod,
  type ResultOf,
} from '../../engine/protocol/protocol.js';
import type { Connection } from '../common/connection.js';
import { messageOf } from '../common/errors.js';
import { createEmitter, type Event } from '../common/event.js';
import { startHeartbeat } from './heartbeat.js';
import type { EngineLocation } from './locate.js';
import { checkVersion, spawnEngine, type EngineProcess, type SpawnEngine } from './process.js';
import { createRestarts } from './restarts.js';

/** `stopped`: nothing needed it yet, or the extension ends. `failed`: it will not be started again by itself. */
export type EngineState = 'stopped' | 'starting' | 'running' | 'failed';

export interface StateChange {
  readonly state: EngineState;
  /** One line for people; of `failed` always, of `starting` after a crash. */
  readonly message?: string;
}

/** Requests reject with `EngineError`. */
export interface EngineClient extends Connection {
  readonly state: EngineState;
  readonly onDidChangeState: Event<StateChange>;
  /** Ends the engine and starts it anew, whatever state it is in. Earlier crashes are forgotten. */
  restart(): Promise<void>;
  /** Ends the engine for good: when it resolves, no process is left. */
  stop(): Promise<void>;
}

/** A request that failed. `code` is one of `ErrorCode`, undefined where the engine could not be asked. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  constructor(
    message: string,
    readonly code?: number,
  ) {
    super(message);
  }
  get isCancelled(): boolean {
    return this.code === ErrorCode.requestCancelled;
  }
}

export type EngineLog = Readonly<Record<'debug' | 'info' | 'warn' | 'error', (message: string) => void>>;

export interface EngineOptions {
  /** Asked at every start. Throws an error of one line. */
  locate(): EngineLocation;
  /** A folder for records of jobs. */
  readonly storage: string;
  readonly log: EngineLog;
  readonly locale?: string;
  readonly spawn?: SpawnEngine;
  readonly check?: (path: string) => Promise<void>;
}

const HANDSHAKE_MILLISECONDS = 30_000;
/** Editors give an extension a few seconds to end. */
const SHUTDOWN_MILLISECONDS = 2000;

/** A process that has shaken hands. */
interface Running {
  readonly engine: EngineProcess;
  readonly greeting: InitializeResult;
}

export function createEngineClient(options: EngineOptions): EngineClient {
  const { log, spawn = spawnEngine, check = checkVersion } = options;
  const notified = createEmitter<{ readonly method: NotificationMethod; readonly params: unknown }>();
  const changed = createEmitter<StateChange>();
  const restarts = createRestarts();
  let state: EngineState = 'stopped';
  let failure = '';
  /** The start that is under way or done; undefined where nothing is to run. */
  let starting: Promise<Running> | undefined;
  /** Processes that have not ended yet. */
  const alive = new Set<EngineProcess>();
  /** Ends a wait for the next try. */
  let skipWait: (() => void) | undefined;
  let disposed = false;
  /** Counts deliberate ends: what belongs to an earlier one is not a crash. */
  let generation = 0;

  return {
    get state() {
      return state;
    },
    onDidChangeState: changed.event,
    onNotification: (method, listener) =>
      notified.event((sent) => {
        if (sent.method === method) listener(sent.params as Parameters<typeof listener>[0]);
      }),
    request: async (method, params, signal) => {
      const { engine } = await running();
      return send(engine.connection, method, params, signal);
    },
    restart: async () => {
      await end();
      restarts.clear();
      await running(true);
    },
    stop: async () => {
      disposed = true;
      await end();
    },
  };

  function running(anew = false): Promise<Running> {
    if (disposed) return Promise.reject(new EngineError('The extension is ending.'));
    if (state === 'failed' && !anew) return Promise.reject(new EngineError(failure));
    starting ??= start(0, generation);
    return starting;
  }

  function enter(next: EngineState, message?: string): void {
    state = next;
    if (next === 'failed') failure = message ?? '';
    changed.fire({ state, ...(message !== undefined && { message }) });
  }

  /** Starts the engine after a wait, as often as it takes. Rejects where that is given up. */
  async function start(wait: number, own: number, message?: string): Promise<Running> {
    enter('starting', message);
    if (wait > 0) await pause(wait);
    requireCurrent(own);
    let engine: EngineProcess;
    try {
      const { path, bundled } = options.locate();
      if (!bundled) await check(path);
      requireCurrent(own);
      log.info(`Starting the engine ${path}`);
      engine = spawn(path, (line) => log.warn(`engine: ${line}`));
    } catch (error) {
      if (own === generation) fail(messageOf(error));
      throw new EngineError(messageOf(error));
    }
    alive.add(engine);
    void engine.exited.then(() => {
      alive.delete(engine);
      // Rejects what was not answered.
      engine.connection.dispose();
    });
    listen(engine.connection);
    try {
      const greeting = await handshake(engine);
      if (own === generation) {
        enter('running');
        watch(engine, own);
      }
      log.info(`Engine ${greeting.engineVersion} is ready.`);
      return { engine, greeting };
    } catch (error) {
      engine.kill();
      const how = await engine.exited;
      requireCurrent(own);
      // What the engine itself refuses, it will refuse again.
      if (error instanceof EngineError && error.code !== undefined) {
        fail(error.message);
        throw error;
      }
      return again(`The engine could not be started (${messageOf(error)}; ${how}).`, own);
    }
  }

  function again(message: string, own: number): Promise<Running> {
    log.error(message);
    const wait = restarts.afterCrash(Date.now());
    if (wait !== undefined) return start(wait, own, message);
    fail(`${message} It crashed too often and is not started again; the log may say why.`);
    return Promise.reject(new EngineError(failure));
  }

  function fail(message: string): void {
    log.error(message);
    starting = undefined;
    enter('failed', message);
  }

  function watch(engine: EngineProcess, own: number): void {
    const stop = startHeartbeat(
      async () => engine.connection.sendRequest('ping', {}),
      () => {
        log.error('The engine does not answer and is ended.');
        engine.kill();
      },
    );
    void engine.exited.then((how) => {
      stop();
      if (own !== generation) return;
      starting = again(`The engine ended unexpectedly (${how}).`, own);
      // Whoever asks next hears of it.
      starting.catch(() => undefined);
    });
  }

  function listen(connection: MessageConnection): void {
    connection.onNotification((method, params) => {
      if (method === ('engine/log' satisfies NotificationMethod)) report(params as unknown as LogMessage);
      notified.fire({ method: method as NotificationMethod, params });
    });
    connection.onError(([error]) => log.error(`The connection to the engine is broken: ${error.message}`));
    connection.listen();
  }

  function report({ level, message }: LogMessage): void {
    const write = { debug: log.debug, info: log.info, warning: log.warn, error: log.error }[level];
    write(`engine: ${message}`);
  }

  async function handshake({ connection, exited }: EngineProcess): Promise<InitializeResult> {
    const { storage, locale } = options;
    const params: InitializeParams = {
      ...{ protocolVersion: PROTOCOL_VERSION, storage, hostProcess: process.pid },
      ...(locale !== undefined && { locale }),
    };
    const gone = exited.then((how) => Promise.reject(new EngineError(`it ended: ${how}`)));
    return within(HANDSHAKE_MILLISECONDS, 'it did not answer', [
      send(connection, 'initialize', params),
      gone,
    ]);
  }

  /** Ends the process that runs or starts. */
  async function end(): Promise<void> {
    generation++;
    starting = undefined;
    skipWait?.();
    await Promise.all([...alive].map(shutDown));
    enter('stopped');
  }

  async function shutDown(engine: EngineProcess): Promise<void> {
    send(engine.connection, 'shutdown', {}).catch(() => undefined);
    await within(SHUTDOWN_MILLISECONDS, 'it did not end', [engine.exited]).catch(() => {
      engine.kill();
      return engine.exited;
    });
  }

  function pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      skipWait = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  function requireCurrent(own: number): void {
    if (own !== generation) throw new EngineError('The engine was stopped.');
  }
}

async function send<M extends RequestMethod>(
  connection: MessageConnection,
  method: M,
  params: ParamsOf<M>,
  signal?: AbortSignal,
): Promise<ResultOf<M>> {
  const cancellation = new CancellationTokenSource();
  const cancel = () => cancellation.cancel();
  if (signal?.aborted) throw new EngineError('Cancelled.', ErrorCode.requestCancelled);
  signal?.addEventListener('abort', cancel);
  try {
    return await connection.sendRequest<ResultOf<M>>(method, params, cancellation.token);
  } catch (error) {
    if (error instanceof ResponseError && !isConnectionLost(error))
      throw new EngineError(error.message, error.code);
    throw new EngineError('The engine ended before it could answer.');
  } finally {
    signal?.removeEventListener('abort', cancel);
    cancellation.dispose();
  }
}

/** Codes by which `vscode-jsonrpc` rejects what was pending when a connection closed. */
const isConnectionLost = ({ code }: ResponseError<unknown>) => code === -32097 || code === -32099;

/** The first of the promises, or a rejection after so long. */
async function within<T>(
  milliseconds: number,
  otherwise: string,
  promises: readonly Promise<T>[],
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise)), milliseconds);
  });
  try {
    return await Promise.race([...promises, late]);
  } finally {
    clearTimeout(timer);
  }
}
