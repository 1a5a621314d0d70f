/** Language models calibrated by several methods and over several sets, and how far each is from full precision. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { progressBar } from '../engine/cli/progress.js';
import { openText, type TextSource } from '../engine/data/text/source.js';
import { openTokenizer, type TextTokenizer } from '../engine/data/text/tokenizer.js';
import { evaluationWindows, readWindows } from '../engine/data/text/windows.js';
import { pairedError } from '../engine/evaluation/paired-error.js';
import { NOT_SCORED, tokenScores, type TokenScores } from '../engine/evaluation/token-losses.js';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import type { RunnablePart } from '../engine/execution/part.js';
import { plainParts, type OpenPart } from '../engine/execution/part-by-part.js';
import { quantizedParts } from '../engine/execution/quantized-model.js';
import {
  openSampleCache,
  samplesIn,
  type SampleCache,
  type SampleStore,
} from '../engine/execution/sample-store.js';
import { isFile } from '../engine/formats/paths.js';
import { calibrate } from '../engine/methods/calibrate.js';
import type { AnyMethod } from '../engine/methods/method.js';
import { methodNamed } from '../engine/methods/registry.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { headOf, type LanguageModel } from '../engine/models/model.js';
import type { Programs } from '../engine/runtime/programs.js';
import { withDevice } from '../engine/runtime/with-device.js';

export interface Wanted {
  /** Names of methods, each with its effort behind a colon or without. */
  readonly methods: readonly string[];
  /** A calibration set is named by its first window of the text. */
  readonly sets: readonly number[];
  /** Methods that see the first set alone. */
  readonly once: readonly string[];
  /** Windows of a set. */
  readonly windows: number;
  /** Windows that are measured. */
  readonly limit: number;
  /** From high to low. */
  readonly bits: readonly number[];
  /** Tokens of a window; default the model's context. */
  readonly length?: number;
  /** Whether every window begins with the token that begins a text. */
  readonly isBegun: boolean;
  /** Of every method that has them. */
  readonly options: object;
  readonly model: string;
  readonly calibration: string;
  readonly evaluation: string;
  readonly threads?: number;
  /** Whether nothing is said on the way. */
  readonly isQuiet?: boolean;
  /** Keeps the sets, and takes those that are there. Default: a folder for the time being. */
  readonly out?: string;
}

export interface Run {
  readonly label: string;
  readonly set: number;
  /** Of every window, nats, by bit-width. */
  readonly kl: ReadonlyMap<number, Float64Array>;
  readonly perplexity: ReadonlyMap<number, number>;
  /** Of the calibration; not a number where the set was there. */
  readonly seconds: number;
  readonly cpu: number;
}

export interface Measured {
  readonly name: string;
  /** Windows measured, and tokens of each. */
  readonly count: number;
  readonly length: number;
  /** In full precision. */
  readonly perplexity: number;
  readonly runs: readonly Run[];
}

const { signal } = new AbortController();

export async function measureMethods(wanted: Wanted): Promise<Measured> {
  const { model: path, length, threads, out } = wanted;
  const opened = await openCheckpoint(path, length === undefined ? {} : { tokens: length });
  const folder = out ?? (await mkdtemp(join(tmpdir(), 'elastic-precision-')));
  await mkdir(folder, { recursive: true });
  try {
    return await withDevice({ device: 'cpu', ...(threads !== undefined && { threads }) }, (programs) =>
      measure(programs, opened as Checkpoint<LanguageModel>, wanted, folder),
    );
  } finally {
    if (out === undefined) await rm(folder, { recursive: true, force: true });
    await opened.close();
  }
}

async function measure(
  programs: Programs,
  checkpoint: Checkpoint<LanguageModel>,
  wanted: Wanted,
  folder: string,
): Promise<Measured> {
  const { sets, windows, bits, once, isQuiet = false } = wanted;
  const { tokens } = checkpoint.model;
  const tokenizer = await openTokenizer(checkpoint.folder);
  const text = await openText(wanted.calibration);
  const seen = await windowsOf(text, tokenizer, tokens, wanted, Math.max(...sets) + windows);
  const scored = await windowsOf(await openText(wanted.evaluation), tokenizer, tokens, wanted);
  const cache = await openSampleCache(Infinity);
  const score = await openScores(programs, checkpoint, scored, cache);
  const runs: Run[] = [];
  try {
    for (const [at, set] of sets.entries())
      for (const label of wanted.methods) {
        if (at > 0 && once.includes(label)) continue;
        const [name = '', effort] = label.split(':');
        const out = join(folder, `${label.replace(':', '-')}-${set}`);
        const method = methodNamed(name);
        const options = { ...knownOf(method, wanted.options), ...(effort !== undefined && { effort }) };
        const ids = seen.ids.subarray(set * tokens, (set + windows) * tokens);
        const took = await calibrated(programs, checkpoint, method, {
          bits,
          options,
          ids,
          out,
          cache,
          label,
          isQuiet,
        });
        const found = await scoresOf(programs, checkpoint, out, bits, score.of);
        runs.push({ label, set, ...found, ...took });
        const means = bits.map((width) => `${width}: ${mean(found.kl.get(width)!).toFixed(5)}`);
        if (!isQuiet) note(`${label}, windows from ${set}: ${means.join(', ')}`);
      }
  } finally {
    score.end();
    cache.close();
  }
  const { perplexity } = score;
  return { name: checkpoint.name, count: scored.count, length: tokens, perplexity, runs };
}

/** Of the options asked for, those that the method has. */
const knownOf = (method: AnyMethod, options: object): object =>
  Object.fromEntries(Object.entries(options).filter(([key]) => key in method.options));

interface Windows {
  /** [count, length] */
  readonly ids: Int32Array;
  readonly count: number;
}

/** @param count default as many as there are, up to the limit */
async function windowsOf(
  text: TextSource,
  tokenizer: TextTokenizer,
  length: number,
  { isBegun, limit }: Wanted,
  count?: number,
): Promise<Windows> {
  const own = isBegun ? length - 1 : length;
  const found =
    count === undefined
      ? await evaluationWindows(text, tokenizer, { length: own, limit })
      : await readWindows(text, tokenizer, { count, length: own });
  if (!isBegun) return found;
  const ids = new Int32Array(found.count * length).fill(tokenizer.bos!);
  for (let w = 0; w < found.count; w++) ids.set(found.ids.subarray(w * own, (w + 1) * own), w * length + 1);
  return { ids, count: found.count };
}

interface Calibration {
  readonly bits: readonly number[];
  readonly options: object;
  /** [windows, tokens] */
  readonly ids: Int32Array;
  readonly out: string;
  readonly cache: SampleCache;
  readonly label: string;
  readonly isQuiet: boolean;
}

const note = (line: string) => process.stderr.write(`${line}\n`);

async function calibrated(
  programs: Programs,
  checkpoint: Checkpoint<LanguageModel>,
  method: AnyMethod,
  { bits, options, ids, out, cache, label, isQuiet }: Calibration,
): Promise<Pick<Run, 'seconds' | 'cpu'>> {
  if (await isFile(join(out, 'adapter_config.json'))) return { seconds: NaN, cpu: NaN };
  const windows = ids.length / checkpoint.model.tokens;
  const settings = method.settings(checkpoint, { mode: 'weight-only', bits, samples: windows }, options);
  const inputs = samplesIn(BigInt64Array.from(ids, BigInt), windows);
  const fingerprint = createHash('sha256').update(ids).digest('hex');
  const set = { inputs, name: 'text', fingerprint };
  const bar = isQuiet ? undefined : progressBar(label);
  const before = { time: performance.now(), cpu: process.cpuUsage() };
  await calibrate(
    programs,
    {
      ...(settings.samples > 0 && { set }),
      ...{ checkpoint, method, settings, out, cache },
      resume: true,
      engineVersion: 'bench',
      distance: meanDivergence,
    },
    { signal, note: isQuiet ? () => undefined : note, status: ({ done, phase }) => bar?.update(done, phase) },
  );
  bar?.stop();
  const { user, system } = process.cpuUsage(before.cpu);
  return { seconds: (performance.now() - before.time) / 1000, cpu: (user + system) / 1e6 };
}

/** Runs the windows through a model; of KL, where a head for the reference is given. */
type Score = (model: LanguageModel, open: OpenPart, head?: RunnablePart) => Promise<TokenScores>;
type MeansOf = (open: OpenPart, model: LanguageModel) => Promise<{ kl: Float64Array; perplexity: number }>;

/** Scores models against this one, which it runs first. */
async function openScores(
  programs: Programs,
  checkpoint: Checkpoint<LanguageModel>,
  { ids, count }: Windows,
  cache: SampleCache,
): Promise<{ readonly of: MeansOf; readonly perplexity: number; readonly end: () => void }> {
  const { model } = checkpoint;
  const length = model.tokens;
  const next = Int32Array.from(ids, (_, at) => (at % length === length - 1 ? NOT_SCORED : ids[at + 1]!));
  const store: SampleStore = cache.store(count, headOf(model).size);
  const score: Score = (own, open, head) =>
    tokenScores(
      programs,
      {
        ...{ model: own, open },
        texts: { ids, next, count, length },
        limits: { memory: 1 << 30 },
        ...(head ? { reference: { store, head } } : { keep: store }),
      },
      { signal },
    );
  /** Of each window, over its tokens that are scored. */
  const meansOf = (values: Float32Array) =>
    Float64Array.from({ length: count }, (_, w) => {
      const own = values.subarray(w * length, (w + 1) * length);
      return own.reduce((sum, x) => sum + x, 0) / (length - 1);
    });
  const plain = plainParts(programs, checkpoint);
  const perplexityOf = ({ losses }: TokenScores) => Math.exp(mean(meansOf(losses)));
  const perplexity = perplexityOf(await score(model, plain));
  const head = await plain(model.head);
  return {
    perplexity,
    of: async (open, own) => {
      const found = await score(own, open, head);
      return { kl: meansOf(found.divergences), perplexity: perplexityOf(found) };
    },
    end: () => head.dispose(),
  };
}

async function scoresOf(
  programs: Programs,
  checkpoint: Checkpoint,
  out: string,
  bits: readonly number[],
  score: MeansOf,
): Promise<Pick<Run, 'kl' | 'perplexity'>> {
  const kl = new Map<number, Float64Array>();
  const perplexity = new Map<number, number>();
  const set = await openAdapterSet(out);
  try {
    const source = openSource(programs, checkpoint, set);
    for (const width of bits) {
      const open = quantizedParts(programs, source, width);
      const found = await score(open, source.checkpoint.model as LanguageModel);
      kl.set(width, found.kl);
      perplexity.set(width, found.perplexity);
    }
  } finally {
    await set.close();
  }
  return { kl, perplexity };
}

export function mean(values: Iterable<number> & { readonly length: number }): number {
  let sum = 0;
  for (const x of values) sum += x;
  return sum / values.length;
}

/** The mean, and the standard deviation where there are several. */
export function withSpread(values: readonly number[], digits: number): string {
  const center = mean(values);
  if (values.length < 2) return center.toFixed(digits);
  const variance = values.reduce((sum, x) => sum + (x - center) ** 2, 0) / (values.length - 1);
  return `${center.toFixed(digits)} ±${Math.sqrt(variance).toFixed(digits)}`;
}

/**
 * The difference of means, and its standard error over windows.
 * @param pairs of runs on the same windows, the KL of each
 */
export function pairedDifference(
  pairs: readonly { readonly own: Float64Array; readonly other: Float64Array }[],
): { readonly change: number; readonly error: number; readonly other: number } {
  const windowMeans = (pick: 'own' | 'other') =>
    pairs[0]![pick].map((_, w) => mean(pairs.map((pair) => pair[pick][w]!)));
  const [own, other] = [windowMeans('own'), windowMeans('other')];
  return { change: mean(own) - mean(other), error: pairedError(own, other) ?? NaN, other: mean(other) };
}
