/**
 * Kills calibrations, sensitivity measurements and evaluations of a tiny model at random moments, starts them again, and
 * compares what they end with, byte by byte, with runs that were left alone. Exits with 1 where anything differs or is left.
 * Usage: npm run kill-and-resume [-- --moments 200] [--seed 1]
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createRandom, type Random } from '../engine/data/random.js';
import { temporaryFolder, writeRandomModel, writeRandomPictures } from '../test/fixtures.js';

const { values: flags } = parseArgs({
  options: {
    moments: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Date.now() % 1e9) },
  },
});
const moments = Number(flags.moments);
const seed = Number(flags.seed);
const cli = fileURLToPath(new URL('./cli.js', import.meta.url));

/** Of one process: how it ended, how long it ran, and what it printed. */
interface Ended {
  readonly code: number | null;
  readonly milliseconds: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What is killed: the folder that it works in is its own. */
interface Victim {
  readonly name: string;
  /** @param again whether it was killed before */
  command(folder: string, again: boolean): string[];
  /** Makes the folder ready. */
  prepare(folder: string): Promise<void>;
  /** What must not depend on kills, of a run that ended. */
  result(folder: string, stdout: string): Promise<string>;
}

const { folder: root, cleanUp } = await temporaryFolder();
const at = (...names: string[]) => join(root, ...names);

async function main(): Promise<boolean> {
  await writeRandomModel(at('model'));
  await writeRandomPictures(at('pictures'), 64);
  await mkdir(at('tmp'));
  const whole = await run(calibration.command(at('first'), false));
  if (whole.code !== 0) throw new Error(whole.stderr);
  print(`Seed ${seed}: ${moments} moments of ${victims.map(({ name }) => name).join(', ')}.`);
  let isRight = true;
  for (const [i, victim] of victims.entries()) {
    const share = Math.floor((moments + i) / victims.length);
    isRight = (await kill(victim, share, createRandom(seed, victim.name))) && isRight;
  }
  const left = await readdir(at('tmp'));
  const sockets = left.filter((name) => name.endsWith('.sock'));
  if (sockets.length > 1) print(`Left in the folder for temporary files: ${sockets.join(', ')}`);
  print(isRight ? 'Same bytes.' : 'DIFFERENT.');
  return isRight && sockets.length <= 1;
}

/** Kills a victim so many times, one to eight times a run. */
async function kill(victim: Victim, times: number, random: Random): Promise<boolean> {
  const alone = at(`${victim.name}-alone`);
  await victim.prepare(alone);
  const { milliseconds, stdout, stderr, code } = await run(victim.command(alone, false));
  if (code !== 0) throw new Error(stderr);
  const expected = await victim.result(alone, stdout);
  const files = await remains(alone);
  let [killed, runs, wrong, begun] = [0, 0, 0, 0];
  while (killed < times) {
    const folder = at(`${victim.name}-${runs++}`);
    await victim.prepare(folder);
    const kills = Math.min(times - killed, 1 + random.integer(8));
    let ended: Ended | undefined;
    let again = false;
    for (let i = 0; i < kills && !ended; i++) {
      const one = await run(victim.command(folder, again), milliseconds * random.next());
      // Too late: it had ended.
      if (one.code !== null) ended = one;
      else {
        killed++;
        if ((await remains(folder)).some((name) => name.includes('.partial'))) begun++;
      }
      again = true;
    }
    ended ??= await run(victim.command(folder, again));
    const same = ended.code === 0 && (await victim.result(folder, ended.stdout)) === expected;
    const clean = (await remains(folder)).join() === files.join();
    if (!same || !clean) {
      wrong++;
      print(`${victim.name}, run ${runs}: ${same ? 'files are left' : 'other bytes'}: ${ended.stderr}`);
      print((await remains(folder)).join(' '));
    }
    await rm(folder, { recursive: true });
  }
  print(
    `${victim.name}: killed ${killed} times in ${runs} runs of ${(milliseconds / 1000).toFixed(1)} s, ${begun} of them with unfinished work on disk; ${wrong} runs ended otherwise than one left alone (SHA-256 ${expected.slice(0, 16)}).`,
  );
  return wrong === 0;
}

const settings = ['--data', at('pictures'), '--device', 'cpu', '--threads', '1', '--json'];
const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');

const calibration: Victim = {
  name: 'calibration',
  command: (folder, again) => [
    ...['calibrate', at('model'), '--out', join(folder, 'set'), ...settings],
    ...['--samples', '64', '--epochs', '6', '--batch', '16', '--rank', '2', '--bits', '2-8'],
    ...(again ? ['--resume'] : []),
  ],
  prepare: async (folder) => void (await mkdir(folder)),
  result: async (folder) => {
    const files = ['adapter_config.json', 'adapter_model.safetensors'];
    const bytes = await Promise.all(files.map((name) => readFile(join(folder, 'set', name))));
    return sha256(Buffer.concat(bytes));
  },
};

const inSet = {
  prepare: (folder: string) => cp(at('first', 'set'), join(folder, 'set'), { recursive: true }),
};

const sensitivity: Victim = {
  ...inSet,
  name: 'sensitivity',
  command: (folder, again) => [
    ...['sensitivity', at('model'), '--adapters', join(folder, 'set'), ...settings, '--samples', '64'],
    ...(again ? ['--resume'] : []),
  ],
  result: async (folder) => sha256(await readFile(join(folder, 'set', 'sensitivity.json'))),
};

const evaluation: Victim = {
  ...inSet,
  name: 'evaluation',
  command: (folder) => [
    ...['evaluate', at('model'), '--adapters', join(folder, 'set'), '--baseline', 'rounding'],
    ...settings,
  ],
  // It starts over. How long it took is its own.
  result: (_, stdout) => {
    const { seconds: _seconds, peakMemory: _memory, ...rest } = JSON.parse(stdout) as Record<string, unknown>;
    return Promise.resolve(sha256(JSON.stringify(rest)));
  },
};

const victims = [calibration, sensitivity, evaluation];

/** Runs the command line, and kills it after a time. */
function run(args: readonly string[], after = Infinity): Promise<Ended> {
  const started = performance.now();
  const child = spawn(process.execPath, [cli, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: at('tmp') },
  });
  const printed = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (printed[name] += text));
  const timer = after < Infinity ? setTimeout(() => child.kill('SIGKILL'), after) : undefined;
  return new Promise((resolve) =>
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, milliseconds: performance.now() - started, ...printed });
    }),
  );
}

const print = (line: string) => void process.stdout.write(`${line}\n`);

/** Every file and folder below, by name. */
const remains = async (folder: string) => (await readdir(folder, { recursive: true })).sort();

try {
  process.exitCode = (await main()) ? 0 : 1;
} finally {
  await cleanUp();
}
