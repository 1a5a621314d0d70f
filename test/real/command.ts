/** The built command line on a real model: what it printed, what it took, and kills at chosen lines. */
import { spawn } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cliPath } from '../cli-run.js';

/** Of all processes of one command, tokenizers and the like among them. */
export interface Usage {
  /** Of processors. */
  readonly seconds: number;
  /** Peak of the largest process. */
  readonly bytes: number;
}

const usageModule = pathToFileURL(join(import.meta.dirname, 'usage.mjs')).href;

/** Runs a command to its end. Rejects with what it said where it fails. @param folder for what is measured */
export async function run<T>(folder: string, ...args: string[]): Promise<{ result: T; usage: Usage }> {
  const file = join(folder, 'usage.jsonl');
  await rm(file, { force: true });
  const env = { ...process.env, USAGE: file, NODE_OPTIONS: `--import=${usageModule}` };
  const { code, stdout, stderr } = await start(args, env);
  if (code !== 0) throw new Error(`${args[0]!} ended with ${code}: ${stderr}`);
  const lines = (await readFile(file, 'utf8')).trim().split('\n');
  const parts = lines.map((line) => JSON.parse(line) as Usage);
  return {
    result: JSON.parse(stdout) as T,
    usage: {
      seconds: parts.reduce((sum, { seconds }) => sum + seconds, 0),
      bytes: Math.max(...parts.map(({ bytes }) => bytes)),
    },
  };
}

/** Kills a command at the first line of progress that `isPlace` takes. Rejects where it ends before. */
export async function killAt(isPlace: (line: string) => boolean, ...args: string[]): Promise<void> {
  const { code, stderr } = await start(args, process.env, isPlace);
  if (code !== null) throw new Error(`It ended with ${code} before it was killed: ${stderr}`);
}

function start(args: readonly string[], env: NodeJS.ProcessEnv, isPlace?: (line: string) => boolean) {
  const child = spawn(process.execPath, [cliPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env });
  const printed = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (printed[name] += text));
  child.stderr.on('data', () => {
    if (isPlace && printed.stderr.split('\n').some(isPlace)) child.kill('SIGKILL');
  });
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, ...printed })),
  );
}
