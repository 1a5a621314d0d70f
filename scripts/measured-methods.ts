/** Language models calibrated by several methods and over several sets, and how far each is from full precision. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseWidths } from '../engine/cli/format.js';
import { progressBar } from '../engine/cli/progress.js';
import { openText, type TextSource } from '../engine/data/text/source.js';
import { openTokenizer, type TextTokenizer } from '../engine/data/text/tokenizer.js';
import { evaluationWindows, readWindows } from '../engine/data/text/windows.js';
import { UserError } from '../engine/errors.js';
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
import type { QuantizedSource } from '../engine/execution/source.js';
import { isFile } from '../engine/formats/paths.js';
import { calibrate } from '../engine/methods/calibrate.js';
import type { AnyMethod, CalibrationHooks, CalibrationSet } from '../engine/methods/method.js';
import { listOptions } from '../engine/methods/options.js';
import { methodNamed } from '../engine/methods/registry.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { blocksOf, headOf, type LanguageModel } from '../engine/models/model.js';
import type { Mode } from '../engine/protocol/protocol.js';
import { bytesOf } from '../engine/quantized/form.js';
import type { Programs } from '../engine/runtime/programs.js';
import { withDevice } from '../engine/runtime/with-device.js';
import { calibrateAutoRound } from './methods/autoround.js';
import { calibrateAwq } from './methods/awq.js';

export interface Wanted {
  /**
   * Names of methods, each with its effort, options (`oac:backend=spqr:averageBits=2.3`) and bit-widths of its own (`bits=1`)
   * behind colons or without; or one of those that are there to be compared with, `awq` and `autoround` (`methods/`).
   */
  readonly methods: readonly string[];
  /** A calibration set is named by its first window of the text. */
  readonly sets: readonly number[];
  /** Methods that see the first set alone. */
  readonly once: readonly string[];
  /** Windows of a set. */
  readonly windows: number;
  /** Default: weights alone, which is all that `awq` and `autoround` have. */
  readonly mode?: Mode;
  /** Windows that are measured; default all. */
  readonly limit?: number;
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
  /** Calibrates in a process of its own what of the labels and sets is asked for, where its peak memory is to be known. */
  readonly apart?: (label: string, set: number, out: string) => Promise<void>;
}

export interface Run {
  readonly label: string;
  readonly set: number;
  /** Of every window, nats, by bit-width: those asked for that the method has. */
  readonly kl: ReadonlyMap<number, Float64Array>;
  readonly perplexity: ReadonlyMap<number, number>;
  /** On average per weight of the blocks' layers, everything stored counted that their values need, adapters merged. */
  readonly bits: ReadonlyMap<number, number>;
  /** Of the calibration; not a number where the set was there and it is not known. */
  readonly seconds: number;
  readonly cpu: number;
  /** Peak bytes of the process that calibrated, where it was one of its own. */
  readonly memory?: number;
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

/** Calibrates one label on one set into the folder, where `measureMethods` finds it, with the peak memory of this process. */
export async function calibrateApart(wanted: Wanted & { readonly out: string }): Promise<void> {
  const { model: path, length, threads, out: folder, methods, sets, windows, bits } = wanted;
  const opened = await openCheckpoint(path, length === undefined ? {} : { tokens: length });
  const checkpoint = opened as Checkpoint<LanguageModel>;
  const { tokens } = checkpoint.model;
  const tokenizer = await openTokenizer(checkpoint.folder);
  const [label = '', set = 0] = [methods[0], sets[0]];
  const seen = await windowsOf(await openText(wanted.calibration), tokenizer, tokens, wanted, set + windows);
  const ids = seen.ids.subarray(set * tokens, (set + windows) * tokens);
  const cache = await openSampleCache(Infinity);
  const { mode = 'weight-only', options, isQuiet = false } = wanted;
  const out = outOf(folder, label, set);
  try {
    await withDevice({ device: 'cpu', ...(threads !== undefined && { threads }) }, async (programs) => {
      const asked = { bits, mode, options, ids, out, cache, label, isQuiet, isApart: true };
      const { close } = await calibrated(programs, checkpoint, asked);
      await close();
    });
  } finally {
    cache.close();
    await opened.close();
  }
}

const outOf = (folder: string, label: string, set: number) =>
  join(folder, `${label.replace(/[^\w.]/g, '-')}-${set}`);

async function measure(
  programs: Programs,
  checkpoint: Checkpoint<LanguageModel>,
  wanted: Wanted,
  folder: string,
): Promise<Measured> {
  const { sets, windows, bits, once, mode = 'weight-only', isQuiet = false } = wanted;
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
        const out = outOf(folder, label, set);
        const ids = seen.ids.subarray(set * tokens, (set + windows) * tokens);
        const { options, threads } = wanted;
        const asked = { bits, mode, options, threads, ids, out, cache, label, isQuiet };
        const compared = COMPARED[label];
        if (!compared) await wanted.apart?.(label, set, folder);
        const { sourceAt, close, ...took } = await (compared ?? calibrated)(programs, checkpoint, asked);
        const own = bits.filter((width) => sourceAt(width).offered.includes(width));
        const found = await scoresOf(programs, sourceAt, own, score.of).finally(close);
        runs.push({ label, set, ...found, ...took });
        const means = own.map((width) => `${width}: ${mean(found.kl.get(width)!).toFixed(5)}`);
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
      ? await evaluationWindows(text, tokenizer, { length: own, ...(limit !== undefined && { limit }) })
      : await readWindows(text, tokenizer, { count, length: own });
  if (!isBegun) return found;
  const ids = new Int32Array(found.count * length).fill(tokenizer.bos!);
  for (let w = 0; w < found.count; w++) ids.set(found.ids.subarray(w * own, (w + 1) * own), w * length + 1);
  return { ids, count: found.count };
}

interface Calibration {
  readonly bits: readonly number[];
  readonly mode: Mode;
  readonly options: object;
  /** [windows, tokens] */
  readonly ids: Int32Array;
  readonly out: string;
  readonly cache: SampleCache;
  readonly label: string;
  readonly isQuiet: boolean;
  readonly threads?: number | undefined;
  /** Whether the process does nothing else. */
  readonly isApart?: boolean;
}

const note = (line: string) => process.stderr.write(`${line}\n`);

type Took = Pick<Run, 'seconds' | 'cpu' | 'memory'>;

interface Calibrated extends Took {
  readonly sourceAt: (bits: number) => QuantizedSource;
  readonly close: () => Promise<void>;
}

/** By a method of the engine, as a set that may be there. */
async function calibrated(
  programs: Programs,
  checkpoint: Checkpoint<LanguageModel>,
  asked: Calibration,
): Promise<Calibrated> {
  const { method, given, widths } = methodOf(asked.label);
  const { bits, mode, options, ids, out, cache } = asked;
  const hasOwn = 'averageBits' in given;
  const settings = method.settings(
    checkpoint,
    { mode, ...(!hasOwn && { bits: widths ?? bits }), samples: ids.length / checkpoint.model.tokens },
    { ...knownOf(method, options), ...given },
  );
  const set = settings.samples > 0 && { set: setOf(checkpoint, ids) };
  const took = await timedOnce(out, asked, (hooks) =>
    calibrate(
      programs,
      {
        ...set,
        checkpoint,
        method,
        settings,
        out,
        cache,
        resume: true,
        engineVersion: 'bench',
        distance: meanDivergence,
      },
      hooks,
    ),
  );
  const made = await openAdapterSet(out);
  const source = openSource(programs, checkpoint, made);
  return { ...took, sourceAt: () => source, close: () => made.close() };
}

/** The method that a label names, its options, and bit-widths where it has some of its own. */
function methodOf(label: string) {
  const [name = '', ...rest] = label.split(':');
  const method = methodNamed(name);
  const known = new Map(listOptions(method.options));
  const given: Record<string, unknown> = {};
  let widths: readonly number[] | undefined;
  for (const item of rest) {
    const [key = '', value] = item.split('=');
    if (key === 'bits') widths = parseWidths(value ?? '');
    else if (value === undefined) given.effort = key;
    else if (known.has(key)) given[key] = known.get(key)!.parse(value);
    else throw new UserError(`The method ${name} has no option ${key}.`);
  }
  return { method, given, widths };
}

const GROUP_SIZE = 128;

async function calibratedAwq(
  programs: Programs,
  checkpoint: Checkpoint<LanguageModel>,
  asked: Calibration,
): Promise<Calibrated> {
  const { bits, options, ids, cache } = asked;
  const { groupSize = GROUP_SIZE } = options as { readonly groupSize?: number };
  const set = setOf(checkpoint, ids);
  const { result, ...took } = await timed(asked, (hooks) =>
    calibrateAwq({ programs, checkpoint, set, cache, hooks }, { bits, groupSize: groupSize || -1 }),
  );
  return { ...took, sourceAt: (width) => result.get(width)!, close: () => Promise.resolve() };
}

async function calibratedAutoRound(
  _programs: Programs,
  checkpoint: Checkpoint<LanguageModel>,
  asked: Calibration,
): Promise<Calibrated> {
  const { result, seconds } = await timed(asked, () => calibrateAutoRound(checkpoint, asked));
  const { sources, cpu } = result;
  return { seconds, cpu, sourceAt: (width) => sources.get(width)!, close: () => Promise.resolve() };
}

/** Methods that are none of the engine's. */
const COMPARED: Readonly<Record<string, typeof calibratedAwq>> = {
  awq: calibratedAwq,
  autoround: calibratedAutoRound,
};

function setOf(checkpoint: Checkpoint<LanguageModel>, ids: Int32Array): CalibrationSet {
  const inputs = samplesIn(BigInt64Array.from(ids, BigInt), ids.length / checkpoint.model.tokens);
  return { inputs, name: 'text', fingerprint: createHash('sha256').update(ids).digest('hex') };
}

type Told = Pick<Calibration, 'label' | 'isQuiet' | 'isApart'>;

/** Unless the set is there; what it took lies beside it. */
async function timedOnce(
  out: string,
  told: Told,
  run: (hooks: CalibrationHooks) => Promise<unknown>,
): Promise<Took> {
  const path = `${out}.took.json`;
  if (await isFile(join(out, 'adapter_config.json')))
    return (await isFile(path))
      ? (JSON.parse(await readFile(path, 'utf8')) as Took)
      : { seconds: NaN, cpu: NaN };
  const { result: _, ...found } = await timed(told, run);
  const took = { ...found, ...(told.isApart && { memory: 1024 * process.resourceUsage().maxRSS }) };
  await writeFile(path, JSON.stringify(took));
  return took;
}

async function timed<T>(
  { label, isQuiet }: Told,
  run: (hooks: CalibrationHooks) => Promise<T>,
): Promise<Took & { readonly result: T }> {
  const bar = isQuiet ? undefined : progressBar(label);
  const before = { time: performance.now(), cpu: process.cpuUsage() };
  const result = await run({
    signal,
    note: isQuiet ? () => undefined : note,
    status: ({ done, phase }) => bar?.update(done, phase),
  }).finally(() => bar?.stop());
  const { user, system } = process.cpuUsage(before.cpu);
  return { result, seconds: (performance.now() - before.time) / 1000, cpu: (user + system) / 1e6 };
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
  sourceAt: Calibrated['sourceAt'],
  widths: readonly number[],
  score: MeansOf,
): Promise<Pick<Run, 'kl' | 'perplexity' | 'bits'>> {
  const kl = new Map<number, Float64Array>();
  const perplexity = new Map<number, number>();
  const bits = new Map<number, number>();
  for (const width of widths) {
    const source = sourceAt(width);
    const open = quantizedParts(programs, source, width);
    const found = await score(open, source.checkpoint.model as LanguageModel);
    kl.set(width, found.kl);
    perplexity.set(width, found.perplexity);
    bits.set(width, averageBits(source, width));
  }
  return { kl, perplexity, bits };
}

function averageBits({ checkpoint: { model, listing }, form }: QuantizedSource, width: number): number {
  let [bytes, weights] = [0, 0];
  for (const part of blocksOf(model))
    for (const { name, in: columns, out } of listing(part).linears) {
      bytes += bytesOf(form(part.prefix + name, width));
      weights += columns * out;
    }
  return (8 * bytes) / weights;
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
