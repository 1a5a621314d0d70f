/** Engines for unit tests, which are not processes: their answers come from a table, and they crash when told to. */
import { PassThrough } from 'node:stream';
import {
  createMessageConnection,
  StreamMessageReader,
  StreamMessageWriter,
  type CancellationToken,
  type MessageConnection,
} from 'vscode-jsonrpc/node';
import { PROTOCOL_VERSION } from '../../engine/protocol/protocol.js';
import type { EngineProcess, SpawnEngine } from './process.js';

type Answer = (params: unknown, token: CancellationToken) => unknown;

export interface FakeEngine {
  readonly path: string;
  /** The engine's side of the connection. */
  readonly connection: MessageConnection;
  /** Methods asked so far. */
  readonly asked: string[];
  readonly killed: boolean;
  /** Ends it. */
  exit(how: string): void;
}

/**
 * A table entry that is missing leaves the request without an answer; `initialize` and `ping` are answered by themselves,
 * and `shutdown` ends the engine.
 */
export function fakeEngines(answers: Readonly<Record<string, Answer>> = {}): {
  readonly engines: FakeEngine[];
  readonly spawn: SpawnEngine;
} {
  const engines: FakeEngine[] = [];
  const table: Record<string, Answer> = {
    initialize: () => ({ protocolVersion: PROTOCOL_VERSION, engineVersion: 'fake', capabilities: {} }),
    ping: () => ({}),
    ...answers,
  };
  const spawn: SpawnEngine = (path) => {
    const [toEngine, toClient] = [new PassThrough(), new PassThrough()];
    const connection = connect(toEngine, toClient);
    const asked: string[] = [];
    let killed = false;
    let exit: (how: string) => void = () => undefined;
    const exited = new Promise<string>((resolve) => (exit = resolve));
    connection.onRequest((method: string, params: unknown, token: CancellationToken) => {
      asked.push(method);
      if (method === 'shutdown' && !table.shutdown) exit('exit code 0');
      return table[method]?.(params, token) ?? new Promise(() => undefined);
    });
    connection.listen();
    engines.push({
      path,
      connection,
      asked,
      exit,
      get killed() {
        return killed;
      },
    });
    const engine: EngineProcess = {
      pid: undefined,
      connection: connect(toClient, toEngine),
      exited,
      kill: () => {
        killed = true;
        exit('SIGKILL');
      },
    };
    return engine;
  };
  return { engines, spawn };
}

const connect = (input: PassThrough, output: PassThrough): MessageConnection =>
  createMessageConnection(new StreamMessageReader(input), new StreamMessageWriter(output));
