/**
 * Every reader on samples made wrong: `npm run fuzz -- --seconds 60 [--seed S] [--only NAME] [--at INDEX] [--jobs N]`. `--seconds` is for each
 * reader. Each input follows from seed, reader and number alone. Prints a line for each reader and each fault; ends with code 1
 * where there was one.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runOne, TOO_MUCH, type Work } from './one.js';
import { targets } from './targets.js';

/** An input that takes more of a processor's time hangs, and so does one that waits much longer. */
const HANG_SECONDS = 20;
const WAIT_SECONDS = 600;
const MAX_FAULTS = 5;
/** Of V8's heap; what lies outside of it is measured. */
const HEAP_MEGABYTES = 192;

const WORK = 'ELASTIC_PRECISION_FUZZ';

interface Ended {
  readonly next: number;
  readonly peak: number;
  readonly fault?: { readonly kind: string; readonly detail: string };
}

/** @returns how many inputs were read and how many faults there were */
async function fuzz(name: string, seed: number, seconds: number, only: number | undefined) {
  const folder = mkdtempSync(join(tmpdir(), 'elastic-precision-fuzz-'));
  const place = join(folder, '.place');
  const end = performance.now() + 1000 * seconds;
  let [next, faults, peak] = [only ?? 0, 0, 0];
  try {
    for (;;) {
      const left = Math.max(1, (end - performance.now()) / 1000);
      const count = only === undefined ? Number.MAX_SAFE_INTEGER : 1;
      let ended = await start({ name, seed, first: next, count, seconds: left, folder, place });
      const at = ended.next - 1;
      // Memory of thousands of inputs, which a native allocator gives back late, is not that of one.
      if (ended.fault?.kind === TOO_MUCH && at > next)
        ended = await start({ name, seed, first: at, count: 1, seconds: left + 60, folder, place });
      peak = Math.max(peak, ended.peak);
      if (ended.fault) {
        faults++;
        process.stdout.write(
          `FAULT ${name} --seed ${seed} --at ${ended.next - 1}: ${ended.fault.kind}\n${ended.fault.detail.slice(0, 1500)}\n`,
        );
      }
      next = ended.next;
      if (faults >= MAX_FAULTS || only !== undefined || performance.now() >= end) break;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { inputs: next - (only ?? 0), faults, peak };
}

/** One process, until its time is over, it finds a fault, crashes, or hangs. */
function start(work: Work): Promise<Ended> {
  const child = spawn(
    process.execPath,
    [`--max-old-space-size=${HEAP_MEGABYTES}`, '--max-semi-space-size=8', fileURLToPath(import.meta.url)],
    { env: { ...process.env, [WORK]: JSON.stringify(work) }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let [printed, errors, hung] = ['', '', false];
  child.stdout.on('data', (text: Buffer) => (printed += text.toString()));
  child.stderr.on('data', (text: Buffer) => (errors = (errors + text.toString()).slice(-3000)));
  const at = () => {
    try {
      return Number(readFileSync(work.place, 'utf8') || work.first);
    } catch {
      return work.first;
    }
  };
  let [seen, since, used] = [-1, performance.now(), 0];
  const watch = setInterval(() => {
    const now = at();
    if (now !== seen) [seen, since, used] = [now, performance.now(), processorSeconds(child.pid)];
    const waited = (performance.now() - since) / 1000;
    if (waited < HANG_SECONDS) return;
    if (waited < WAIT_SECONDS && processorSeconds(child.pid) - used < HANG_SECONDS) return;
    hung = true;
    child.kill('SIGKILL');
  }, 500);
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearInterval(watch);
      const line = printed.trim().split('\n').at(-1) ?? '';
      if (!hung && (code === 0 || code === 1) && line.startsWith('{'))
        return resolve(JSON.parse(line) as Ended);
      const kind = hung ? `no end after ${HANG_SECONDS} s` : `a crash (${signal ?? `code ${code}`})`;
      resolve({ next: at() + 1, peak: 0, fault: { kind, detail: errors } });
    });
  });
}

/** What a process has used of processors so far: a loaded machine may leave it little. Where the system does not say, the time that passes. */
function processorSeconds(pid: number | undefined): number {
  try {
    // Behind the name of the program, which may hold anything: fields 14 and 15, in hundredths of a second.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return performance.now() / 1000;
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '10' },
      seed: { type: 'string' },
      only: { type: 'string', multiple: true },
      at: { type: 'string' },
      jobs: { type: 'string', default: '1' },
    },
  });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const chosen = targets.filter(({ name }) => !values.only || values.only.includes(name));
  if (chosen.length === 0) throw new Error(`Readers are: ${targets.map(({ name }) => name).join(', ')}.`);
  process.stdout.write(`seed ${seed}\n`);
  let [inputs, faults] = [0, 0];
  const waiting = [...chosen];
  const workOff = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { name } = next;
      const found = await fuzz(
        name,
        seed,
        Number(values.seconds),
        values.at === undefined ? undefined : Number(values.at),
      );
      inputs += found.inputs;
      faults += found.faults;
      process.stdout.write(
        `${name.padEnd(26)} ${String(found.inputs).padStart(9)} inputs, at most ${Math.round(found.peak / 1e6)} MB more, ${found.faults} faults\n`,
      );
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, workOff));
  process.stdout.write(`${chosen.length} readers, ${inputs} inputs, ${faults} faults\n`);
  process.exitCode = faults > 0 ? 1 : 0;
}

const work = process.env[WORK];
await (work === undefined ? main() : runOne(JSON.parse(work) as Work));
