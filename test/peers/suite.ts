/** A differential test: random cases, each answered by a reference library and by the engine. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createRandom, type Random } from '../../engine/data/random.js';
import { UserError } from '../../engine/errors.js';

/** What `scripts/peers.mjs` sets. Without a Python, every case counts as skipped. */
const { PEERS_PYTHON: python, PEERS_SEED, PEERS_CASES, PEERS_REPORT: report } = process.env;

/** A case is plain JSON; `seed` is what the reference draws weights and the like by. */
export interface Case {
  readonly seed: number;
}

export interface Suite<C extends Case, A> {
  readonly name: string;
  /** The reference, a file in this folder that ends with `serve(answer)` (reference.py). */
  readonly python: string;
  /** How many cases are drawn where nobody says otherwise. */
  readonly cases: number;
  /** A valid case. */
  make(this: void, random: Draw, seed: number): C;
  /**
   * Compares the engine with the reference's answer. Throws what is wrong; a UserError (other than where the reference refuses
   * too) is the engine's refusal, of which there may be few.
   * @param folder an empty folder of this case's, which the reference was told too, as `folder`
   */
  check(this: void, given: C, answer: A, folder: string): Promise<void>;
  /** The largest share of refusals among the cases drawn. Default 0.1. */
  readonly mostRefused?: number;
}

/** Answers that the reference has ready before the engine asks for them. */
const AHEAD = 4;
/** Failures that are printed whole. */
const PRINTED = 20;

/**
 * Declares the test of a suite. It runs the cases kept in kept/<name>.jsonl, one per line, which failed once, and then those drawn
 * by the run's seed. A failing case is printed as the line to keep.
 */
export function peerSuite<C extends Case, A>(suite: Suite<C, A>): void {
  const cases = casesOf(suite);
  test.skipIf(python === undefined)(
    suite.name,
    async () => {
      const { passed, failures, refusals } = await compare(suite, cases);
      record({ suite: suite.name, passed, failed: failures.length, skipped: 0 });
      const reasons = countReasons(refusals);
      process.stderr.write(
        `${suite.name}: ${cases.length} cases, ${refusals.length} refused, ${failures.length} failed\n${reasons}`,
      );
      expect(failures.slice(0, PRINTED).join('\n'), `${failures.length} cases of ${suite.name}`).toBe('');
      expect(refusals.length / cases.length, 'the share of refusals').toBeLessThanOrEqual(
        suite.mostRefused ?? 0.1,
      );
    },
    3_600_000,
  );
  if (python === undefined) record({ suite: suite.name, passed: 0, failed: 0, skipped: cases.length });
}

/** The bytes that `floats` of reference.py made. */
export function floats(text: string): Float32Array {
  const bytes = Buffer.from(text, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** Throws unless values differ by at most `tolerance` of the largest reference value, and `more`. */
export function expectClose(
  found: ArrayLike<number>,
  reference: ArrayLike<number>,
  tolerance: number,
  what: string,
  more = 0,
): void {
  if (found.length !== reference.length)
    throw new Error(`${what}: ${found.length} values beside ${reference.length} of the reference`);
  let [largest, worst] = [0, 0];
  for (let i = 0; i < reference.length; i++) {
    largest = Math.max(largest, Math.abs(reference[i]!));
    // A difference that is NaN stays.
    worst = Math.max(worst, Math.abs(found[i]! - reference[i]!));
  }
  if (!(worst <= tolerance * largest + more))
    throw new Error(`${what}: off by ${(worst / largest).toPrecision(2)} of the largest reference value`);
}

/** Random choices. */
export interface Draw extends Random {
  /** True with this probability; default one half. */
  chance(this: void, probability?: number): boolean;
  pick<T>(this: void, items: readonly T[]): T;
  /** A whole number from `least` to `most`. */
  whole(this: void, least: number, most: number): number;
}

export function drawFrom(random: Random): Draw {
  return {
    ...random,
    chance: (probability = 0.5) => random.next() < probability,
    pick: (items) => items[random.integer(items.length)]!,
    whole: (least, most) => least + random.integer(most - least + 1),
  };
}

function casesOf<C extends Case, A>({ name, cases, make }: Suite<C, A>): C[] {
  const count = PEERS_CASES === undefined ? cases : Number(PEERS_CASES);
  const seed = Number(PEERS_SEED ?? 1);
  const file = fileURLToPath(new URL(`kept/${name}.jsonl`, import.meta.url));
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  const kept = lines.filter((line) => line.trim() !== '').map((line) => JSON.parse(line) as C);
  const drawn = Array.from({ length: count }, (_, i) => {
    const random = createRandom(seed, name, i);
    return make(drawFrom(random), random.integer(2 ** 32));
  });
  return [...kept, ...drawn];
}

async function compare<C extends Case, A>(suite: Suite<C, A>, cases: readonly C[]) {
  const root = await mkdtemp(join(tmpdir(), 'elastic-precision-peers-'));
  const reference = openReference<A>(suite.python);
  const folderOf = (i: number) => join(root, String(i));
  const ask = (i: number) => {
    mkdirSync(folderOf(i));
    const answer = reference.ask({ ...cases[i]!, folder: folderOf(i) });
    // Whoever waits for it hears of an error; nobody may.
    answer.catch(() => undefined);
    return answer;
  };
  const failures: string[] = [];
  const refusals: string[] = [];
  const waiting = new Map<number, Promise<A>>();
  let passed = 0;
  try {
    for (const [i, given] of cases.entries()) {
      for (let ahead = i; ahead < Math.min(i + AHEAD, cases.length); ahead++)
        if (!waiting.has(ahead)) waiting.set(ahead, ask(ahead));
      const answer = await waiting.get(i)!;
      waiting.delete(i);
      try {
        await suite.check(given, answer, folderOf(i));
        passed++;
      } catch (error) {
        if (error instanceof UserError && !error.message.includes('\n')) {
          refusals.push(error.message);
          passed++;
        } else failures.push(`${describe(error)}\n  ${JSON.stringify(given)}`);
      }
      await rm(folderOf(i), { recursive: true, force: true });
    }
  } finally {
    reference.close();
    await rm(root, { recursive: true, force: true });
  }
  return { passed, failures, refusals };
}

const describe = (error: unknown) =>
  error instanceof UserError || !(error instanceof Error)
    ? String(error)
    : error.stack!.split('\n').slice(0, 3).join('\n');

export interface Reference<A> {
  /** Answers come in the order of questions. */
  ask(this: void, question: unknown): Promise<A>;
  close(this: void): void;
}

/** One process serves all cases of a suite: loading the libraries takes seconds. */
export function openReference<A>(file: string): Reference<A> {
  const script = fileURLToPath(new URL(file, import.meta.url));
  const child: ChildProcessWithoutNullStreams = spawn(python!, [script], {
    env: { ...process.env, OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1', TOKENIZERS_PARALLELISM: 'false' },
  });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4000);
    if (process.env.PEERS_DEBUG) process.stderr.write(chunk);
  });
  const waiting: { resolve: (answer: A) => void; reject: (error: Error) => void }[] = [];
  createInterface({ input: child.stdout }).on('line', (line) =>
    waiting.shift()!.resolve(JSON.parse(line) as A),
  );
  let ended: Error | undefined;
  child.on('close', (code, signal) => {
    ended = new Error(`The reference ${file} ended with ${signal ?? `code ${code}`}:\n${errors}`);
    for (const { reject } of waiting.splice(0)) reject(ended);
  });
  child.stdin.on('error', () => undefined);
  return {
    ask: (question) =>
      new Promise((resolve, reject) => {
        if (ended) {
          reject(ended);
          return;
        }
        waiting.push({ resolve, reject });
        child.stdin.write(`${JSON.stringify(question)}\n`);
      }),
    close: () => child.stdin.end(),
  };
}

/** Refusals by what they say, numbers and names aside. */
function countReasons(refusals: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const refusal of refusals) {
    const reason = refusal.replace(/^[^:]*: /, '').replace(/\d+(\.\d+)?(e[-+]?\d+)?/g, 'N');
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([reason, count]) => `  ${count} × ${reason}\n`)
    .join('');
}

export function record(
  counts: Readonly<Record<'passed' | 'failed' | 'skipped', number>> & { suite: string },
): void {
  if (report !== undefined) appendFileSync(report, `${JSON.stringify(counts)}\n`);
}
