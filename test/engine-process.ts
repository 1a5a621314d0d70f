/** The built engine as a child process, spoken to as an editor does. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createMessageConnection,
  StreamMessageReader,
  StreamMessageWriter,
  type CancellationToken,
  type MessageConnection,
} from 'vscode-jsonrpc/node';
import {
  PROTOCOL_VERSION,
  type InitializeResult,
  type JobRecord,
  type NotificationMethod,
  type Notifications,
  type ParamsOf,
  type RequestMethod,
  type ResultOf,
} from '../engine/protocol/protocol.js';

export const enginePath = join(import.meta.dirname, '../dist/engine.js');

export interface Engine {
  readonly child: ChildProcess;
  readonly connection: MessageConnection;
  /** Everything it printed to stderr. */
  printed(): string;
  initialize(storage: string): Promise<InitializeResult>;
  request<M extends RequestMethod>(
    method: M,
    params: ParamsOf<M>,
    token?: CancellationToken,
  ): Promise<ResultOf<M>>;
  on<N extends NotificationMethod>(method: N, listener: (params: Notifications[N]) => void): void;
  /** The record of a job once it is in one of the states. */
  reaches(id: string, ...states: JobRecord['state'][]): Promise<JobRecord>;
  /** Kills it, and resolves once it is gone. */
  kill(): Promise<void>;
  /** How it ended. */
  readonly exited: Promise<number | string>;
}

export function startEngine(nodeOptions: readonly string[] = [], env = process.env): Engine {
  const child = spawn(process.execPath, [...nodeOptions, enginePath], { stdio: 'pipe', env });
  let printed = '';
  child.stderr.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  child.stdin.on('error', () => undefined);
  const connection = createMessageConnection(
    new StreamMessageReader(child.stdout),
    new StreamMessageWriter(child.stdin),
  );
  const listeners = new Set<(method: string, params: unknown) => void>();
  connection.onNotification((method, params) => listeners.forEach((listener) => listener(method, params)));
  connection.onError(() => undefined);
  connection.listen();
  const exited = once(child, 'exit').then(([code, signal]) => (signal ?? code) as number | string);
  void exited.then(() => connection.dispose());
  const request: Engine['request'] = (method, params, token) =>
    token ? connection.sendRequest(method, params, token) : connection.sendRequest(method, params);
  const on: Engine['on'] = (method, listener) =>
    listeners.add((sent, params) => sent === method && listener(params as never));
  return {
    ...{ child, connection, request, on, exited },
    printed: () => printed,
    initialize: (storage) =>
      request('initialize', { protocolVersion: PROTOCOL_VERSION, storage, hostProcess: process.pid }),
    reaches: (id, ...states) =>
      new Promise((resolve, reject) => {
        const look = (job: JobRecord) => job.id === id && states.includes(job.state) && resolve(job);
        on('jobs/changed', ({ job }) => look(job));
        request('jobs/list', {}).then(({ jobs }) => jobs.forEach(look), reject);
        void exited.then((how) => reject(new Error(`The engine ended (${how}): ${printed}`)));
      }),
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** The processes that a process has started, on Linux. */
export const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);

/** Waits for a condition that other processes bring about. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

export const isRunning = (pid: number): boolean => {
  if (!existsSync(`/proc/${pid}/stat`)) return false;
  // What has ended and was not asked for yet runs no more.
  return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
};
