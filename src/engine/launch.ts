/** Starts engine processes and ends them. What becomes of one that runs is for others to watch. */
import type { MessageConnection } from 'vscode-jsonrpc/node';
import { visible, visibleLines } from '../../engine/plans/visible.js';
import {
  PROTOCOL_VERSION,
  type InitializeParams,
  type InitializeResult,
  type LogMessage,
  type NotificationMethod,
} from '../../engine/protocol/protocol.js';
import { messageOf } from '../common/errors.js';
import { EngineError } from './error.js';
import type { EngineLocation } from './locate.js';
import { checkVersion, spawnEngine, type EngineProcess, type SpawnEngine } from './process.js';
import { send } from './request.js';

export type EngineLog = Readonly<Record<'debug' | 'info' | 'warn' | 'error', (message: string) => void>>;

export interface EngineOptions {
  /** Asked at every start. Throws an error of one line. */
  locate(): EngineLocation;
  /** A folder for records of jobs. */
  readonly storage: string;
  readonly log: EngineLog;
  readonly spawn?: SpawnEngine;
  readonly check?: (path: string) => Promise<void>;
}

/** What a start has come to: a process that has shaken hands, one that will not do, or one that ended or was silent. */
export type Launched =
  | { readonly type: 'ready'; readonly engine: EngineProcess }
  | { readonly type: 'refused'; readonly error: EngineError }
  | { readonly type: 'crashed'; readonly message: string }
  | { readonly type: 'unwanted' };

export interface Launcher {
  /** Starts a process once those before it have ended, unless it is not `wanted` any more by then. */
  launch(wanted: () => boolean): Promise<Launched>;
  /** Ends every process: when it resolves, none is left. */
  endAll(): Promise<void>;
}

const HANDSHAKE_MILLISECONDS = 30_000;
/** Editors give an extension a few seconds to end. */
const SHUTDOWN_MILLISECONDS = 2000;

/** @param notified hears the notifications of every process */
export function createLauncher(
  options: EngineOptions,
  notified: (method: NotificationMethod, params: unknown) => void,
): Launcher {
  const { log, spawn = spawnEngine, check = checkVersion } = options;
  /** Processes that have not ended yet. */
  const alive = new Set<EngineProcess>();

  async function launch(wanted: () => boolean): Promise<Launched> {
    await endAll();
    if (!wanted()) return { type: 'unwanted' };
    let engine: EngineProcess;
    try {
      const { path, bundled } = options.locate();
      if (!bundled) await check(path);
      if (!wanted()) return { type: 'unwanted' };
      log.info(`Starting the engine ${path}`);
      engine = spawn(path, (line) => log.warn(visible(`engine: ${line}`)));
    } catch (error) {
      return { type: 'refused', error: new EngineError(messageOf(error)) };
    }
    adopt(engine);
    try {
      const { engineVersion } = await handshake(engine, options);
      log.info(`Engine ${engineVersion} is ready.`);
      return { type: 'ready', engine };
    } catch (error) {
      engine.kill();
      const how = await engine.exited;
      // What the engine itself refuses, it will refuse again.
      if (error instanceof EngineError && error.code !== undefined) return { type: 'refused', error };
      return { type: 'crashed', message: `The engine could not be started (${messageOf(error)}; ${how}).` };
    }
  }

  function adopt(engine: EngineProcess): void {
    alive.add(engine);
    void engine.exited.then(() => {
      alive.delete(engine);
      // Rejects what was not answered.
      engine.connection.dispose();
    });
    listen(engine.connection);
  }

  function listen(connection: MessageConnection): void {
    connection.onNotification((method, params) => {
      if (method === ('engine/log' satisfies NotificationMethod)) report(params as unknown as LogMessage);
      notified(method as NotificationMethod, params);
    });
    connection.onError(([error]) => log.error(`The connection to the engine is broken: ${error.message}`));
    connection.listen();
  }

  function report({ level, message }: LogMessage): void {
    const write = { debug: log.debug, info: log.info, warning: log.warn, error: log.error }[level];
    write(visibleLines(`engine: ${message}`));
  }

  async function endAll(): Promise<void> {
    await Promise.all([...alive].map(shutDown));
  }

  return { launch, endAll };
}

async function handshake(
  { connection, exited }: EngineProcess,
  { storage }: EngineOptions,
): Promise<InitializeResult> {
  const params: InitializeParams = {
    protocolVersion: PROTOCOL_VERSION,
    storage,
    hostProcess: process.pid,
  };
  const gone = exited.then((how) => Promise.reject(new EngineError(`it ended: ${how}`)));
  return within(HANDSHAKE_MILLISECONDS, 'it did not answer', [send(connection, 'initialize', params), gone]);
}

/** Asks a process to end, and kills it where it does not in time. */
async function shutDown({ connection, exited, kill }: EngineProcess): Promise<void> {
  send(connection, 'shutdown', {}).catch(() => undefined);
  await within(SHUTDOWN_MILLISECONDS, 'it did not end', [exited]).catch(() => {
    kill();
    return exited;
  });
}

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
