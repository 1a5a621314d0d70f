/** The bundled entries of the engine, and processes that run them. */
import { fork, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
// Threads and processes of entries take the environment of this one.
import './runtime/telemetry.js';

/** The path of a bundled entry such as `worker.js`; undefined where the engine runs unbundled, as in unit tests. */
export function findEntry(name: string): string | undefined {
  // Beside this module, or beside the folder of the chunk that it was bundled into.
  return [`./${name}`, `../${name}`]
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find(existsSync);
}

/** For processes of this program's executable: inside an editor that is Electron, which the variable turns into Node. */
export const nodeEnvironment = (): NodeJS.ProcessEnv => ({ ...process.env, ELECTRON_RUN_AS_NODE: '1' });

/** Starts an entry as a process of its own that can be sent messages. @param output hears what it prints */
export function forkEntry(name: string, output: (text: string) => void): ChildProcess {
  const entry = findEntry(name);
  if (entry === undefined) throw new Error(`The engine is not built: ${name} is missing beside it.`);
  const child = fork(entry, [], {
    execArgv: [],
    serialization: 'advanced',
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: nodeEnvironment(),
  });
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', output);
  return child;
}
