/** One engine process and the connection to it. */
import { execFile, spawn } from 'node:child_process';
import { dirname } from 'node:path';
import {
  createMessageConnection,
  StreamMessageReader,
  StreamMessageWriter,
  type MessageConnection,
} from 'vscode-jsonrpc/node';
import { PROTOCOL_VERSION } from '../../engine/protocol/protocol.js';

export interface EngineProcess {
  /** Undefined where it could not be started. */
  readonly pid: number | undefined;
  readonly connection: MessageConnection;
  /** How it ended, such as `SIGKILL` or `exit code 1`, once it has. */
  readonly exited: Promise<string>;
  readonly kill: () => void;
}

/** @param printed hears lines that the process wrote to stderr */
export type SpawnEngine = (path: string, printed: (line: string) => void) => EngineProcess;

/** Sets the port where a debugger can attach to the engine. */
const INSPECT = 'ELASTIC_PRECISION_ENGINE_INSPECT';

/** Runs the engine by the editor's own program, which the variable turns into Node where it is Electron. */
export const spawnEngine: SpawnEngine = (path, printed) => {
  const inspect = process.env[INSPECT];
  const child = spawn(process.execPath, [...(inspect ? [`--inspect=${inspect}`] : []), path], {
    cwd: dirname(path),
    env: engineEnvironment(),
    stdio: ['pipe', 'pipe', 'pipe'],
    windowsHide: true,
  });
  let rest = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!.slice(-MAX_LINE);
    lines.forEach(printed);
  });
  // What cannot be written any more is told by the exit.
  child.stdin.on('error', () => undefined);
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code ?? 0}`));
  });
  return {
    pid: child.pid,
    connection: createMessageConnection(
      new StreamMessageReader(child.stdout),
      new StreamMessageWriter(child.stdin),
    ),
    exited,
    kill: () => void child.kill('SIGKILL'),
  };
};

const MAX_LINE = 8192;
const VERSION_MILLISECONDS = 10_000;

/** Asks an engine that did not come with the extension what it is. Rejects with one line where it is not one to talk to. */
export async function checkVersion(path: string): Promise<void> {
  const output = await new Promise<string>((resolve, reject) => {
    const options = { env: engineEnvironment(), timeout: VERSION_MILLISECONDS, windowsHide: true };
    execFile(process.execPath, [path, '--version'], options, (error, stdout) => {
      if (error) reject(new Error(`${path} is not an engine: it does not say its version.`));
      else resolve(stdout);
    });
  });
  let protocolVersion: unknown;
  try {
    ({ protocolVersion } = JSON.parse(output) as { protocolVersion?: unknown });
  } catch {
    throw new Error(`${path} is not an engine: it does not say its version.`);
  }
  if (protocolVersion !== PROTOCOL_VERSION)
    throw new Error(
      `${path} speaks version ${String(protocolVersion)} of the protocol, this extension version ${PROTOCOL_VERSION}; choose another engine.`,
    );
}

/** The options of the editor's Node would stop another program. */
function engineEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, ...env } = process.env;
  return { ...env, ELECTRON_RUN_AS_NODE: '1' };
}
