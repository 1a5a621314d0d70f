/**
 * Calibration methods beside each other on the language model: divergence at every bit-width over several calibration sets,
 * differences in pairs, and what each took in the same run.
 * Usage: npm run bench:methods [-- --methods rounding,gptq,quept,direct:quick,direct] [--sets 0,256,512]
 *        [--windows 128] [--limit 200] [--bits 8,7,6,5,4,3,2] [--once quept] [--options '{"groupSize":0}'] [--length 128]
 *        [--model FOLDER --calibration FILE --evaluation FILE] [--against quept] [--threads N]
 * A set is its first window of the calibration text; methods of `--once` see the first set alone. `--options` are for every
 * method that has them.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parseWidths, table } from '../engine/cli/format.js';
import { progressBar } from '../engine/cli/progress.js';
import { openText } from '../engine/data/text/source.js';
import { openTokenizer } from '../engine/data/text/tokenizer.js';
import { evaluationWindows, readWindows } from '../engine/data/text/windows.js';
import { pairedError } from '../engine/evaluation/paired-error.js';
import { NOT_SCORED, tokenScores } from '../engine/evaluation/token-losses.js';
import { meanDivergence } from '../engine/execution/logit-divergence.js';
import { plainParts, type OpenPart } from '../engine/execution/part-by-part.js';
import { quantizedParts } from '../engine/execution/quantized-model.js';
import { openSampleCache, samplesIn } from '../engine/execution/sample-store.js';
import { calibrate } from '../engine/methods/calibrate.js';
import { methodNamed } from '../engine/methods/registry.js';
import { openAdapterSet, openSource } from '../engine/methods/sets.js';
import { openCheckpoint } from '../engine/models/checkpoint.js';
import { headOf, type LanguageModel } from '../engine/models/model.js';
import { withDevice } from '../engine/runtime/with-device.js';
import { duration } from '../engine/time-left.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const speeches = join(root, 'samples', 'data', 'speeches');
const { values: flags } = parseArgs({
  options: {
    methods: { type: 'string', default: 'rounding,gptq,quept,direct:quick,direct' },
    sets: { type: 'string', default: '0,256,512' },
    windows: { type: 'string', default: '128' },
    limit: { type: 'string', default: '200' },
    bits: { type: 'string', default: '8,7,6,5,4,3,2' },
    once: { type: 'string', default: 'quept' },
    options: { type: 'string', default: '{}' },
    against: { type: 'string', default: 'quept' },
    length: { type: 'string' },
    model: { type: 'string', default: join(root, 'samples', 'llama-speeches') },
    calibration: { type: 'string', default: join(speeches, 'calibration.txt') },
    evaluation: { type: 'string', default: join(speeches, 'evaluation.txt') },
    threads: { type: 'string' },
  },
});
const bits = parseWidths(flags.bits).sort((a, b) => b - a);
const sets = flags.sets.split(',').map(Number);
const windows = Number(flags.windows);
const { signal } = new AbortController();
const note = (line: string) => process.stderr.write(`${line}\n`);

/** A method and its effort, where that is named. */
const asked = flags.methods.split(',').map((label) => {
  const [name = '', effort] = label.split(':');
  return { label, method: methodNamed(name), ...(effort !== undefined && { effort }) };
});

interface Run {
  readonly label: string;
  readonly set: number;
  /** Of every window, by bit-width. */
  readonly kl: ReadonlyMap<number, Float64Array>;
  readonly perplexity: ReadonlyMap<number, number>;
  readonly seconds: number;
  readonly cpu: number;
}

const opened = await openCheckpoint(
  flags.model,
  flags.length === undefined ? {} : { tokens: Number(flags.length) },
);
const checkpoint = opened as typeof opened & { readonly model: LanguageModel };
const { model } = checkpoint;
const tokenizer = await openTokenizer(checkpoint.folder);
const calibrationText = await openText(flags.calibration);
const all = await readWindows(calibrationText, tokenizer, {
  count: Math.max(...sets) + windows,
  length: model.tokens,
});
const texts = await evaluationWindows(await openText(flags.evaluation), tokenizer, {
  length: model.tokens,
  limit: Number(flags.limit),
});
const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
const runs: Run[] = [];
let fullPerplexity = NaN;
try {
  await withDevice(
    { device: 'cpu', ...(flags.threads !== undefined && { threads: Number(flags.threads) }) },
    async (programs) => {
      const cache = await openSampleCache(Infinity);
      const reference = cache.store(texts.count, headOf(model).size);
      const next = Int32Array.from(texts.ids, (_, at) =>
        at % texts.length === texts.length - 1 ? NOT_SCORED : texts.ids[at + 1]!,
      );
      const meansOf = (values: Float32Array) =>
        Float64Array.from(
          { length: texts.count },
          (_, w) =>
            values.subarray(w * texts.length, (w + 1) * texts.length).reduce((sum, x) => sum + x, 0) /
            (texts.length - 1),
        );
      const score = (own: LanguageModel, open: OpenPart, head?: Awaited<ReturnType<OpenPart>>) =>
        tokenScores(
          programs,
          {
            model: own,
            open,
            texts: { ...texts, next },
            limits: { memory: 1 << 30 },
            ...(head ? { reference: { store: reference, head } } : { keep: reference }),
          },
          { signal },
        );
      const plain = plainParts(programs, checkpoint);
      fullPerplexity = Math.exp(mean(meansOf((await score(model, plain)).losses)));
      const head = await plain(model.head);
      for (const [at, start] of sets.entries())
        for (const { label, method, effort } of asked) {
          if (at > 0 && flags.once.split(',').includes(label)) continue;
          const given = {
            ...Object.fromEntries(
              Object.entries(JSON.parse(flags.options) as object).filter(([key]) => key in method.options),
            ),
            ...(effort !== undefined && { effort }),
          };
          const settings = method.settings(
            checkpoint,
            { mode: 'weight-only', bits, samples: windows },
            given,
          );
          const ids = all.ids.subarray(start * model.tokens, (start + windows) * model.tokens);
          const inputs = samplesIn(BigInt64Array.from(ids, BigInt), windows);
          const set = { inputs, name: calibrationText.name, fingerprint: '0'.repeat(64) };
          const out = join(folder, `${label.replace(':', '-')}-${start}`);
          const bar = progressBar(`${label}, windows from ${start}`);
          const before = { time: performance.now(), cpu: process.cpuUsage() };
          await calibrate(
            programs,
            {
              checkpoint,
              method,
              settings,
              out,
              cache,
              resume: false,
              engineVersion: 'bench',
              ...(settings.samples > 0 && { set }),
              distance: meanDivergence,
            },
            { signal, note, status: ({ done, phase }) => bar.update(done, phase) },
          );
          bar.stop();
          const { user, system } = process.cpuUsage(before.cpu);
          const seconds = (performance.now() - before.time) / 1000;
          const own = await openAdapterSet(out);
          const source = openSource(programs, checkpoint, own);
          const kl = new Map<number, Float64Array>();
          const perplexity = new Map<number, number>();
          for (const width of bits) {
            const built = source.checkpoint.model as LanguageModel;
            const found = await score(built, quantizedParts(programs, source, width), head);
            kl.set(width, meansOf(found.divergences));
            perplexity.set(width, Math.exp(mean(meansOf(found.losses))));
          }
          await own.close();
          runs.push({ label, set: start, kl, perplexity, seconds, cpu: (user + system) / 1e6 });
          note(
            `${label}, windows from ${start}: ${bits.map((b) => `${b}: ${mean(kl.get(b)!).toFixed(5)}`).join(', ')}`,
          );
        }
      head.dispose();
      cache.close();
    },
  );
} finally {
  await rm(folder, { recursive: true, force: true });
  await checkpoint.close();
}

print(
  `${checkpoint.name}, ${texts.count} windows of ${texts.length} tokens; ${windows} calibration windows from ${sets.join(', ')}. Full precision: perplexity ${fullPerplexity.toFixed(2)}.`,
);
print('KL in nats, mean over calibration sets ± their standard deviation:');
print(
  table(
    ['method', ...bits.map(String), 'seconds', 'CPU seconds'],
    asked.map(({ label }) => {
      const own = runs.filter((run) => run.label === label);
      const cells = bits.map((width) => {
        const values = own.map(({ kl }) => mean(kl.get(width)!));
        return withSpread(values, width > 4 ? 5 : 4);
      });
      return [
        label,
        ...cells,
        duration(mean(own.map((r) => r.seconds))),
        mean(own.map((r) => r.cpu)).toFixed(1),
      ];
    }),
  ),
);
print('Perplexity:');
print(
  table(
    ['method', ...bits.map(String)],
    asked.map(({ label }) => {
      const own = runs.filter((run) => run.label === label);
      return [label, ...bits.map((width) => mean(own.map((r) => r.perplexity.get(width)!)).toFixed(2))];
    }),
  ),
);
for (const against of [...new Set([flags.against, 'rounding'])].filter((name) =>
  runs.some((r) => r.label === name),
)) {
  print(
    `KL less that of ${against}, in pairs on the same windows (standard error over windows); sets that both have seen:`,
  );
  print(
    table(
      ['method', ...bits.map(String)],
      asked
        .filter(({ label }) => label !== against)
        .map(({ label }) => [label, ...bits.map((width) => difference(label, against, width))]),
    ),
  );
}

function difference(label: string, against: string, width: number): string {
  const pairs = runs
    .filter((run) => run.label === label)
    .flatMap((run) => {
      const other = runs.find((r) => r.label === against && r.set === run.set);
      return other ? [{ own: run.kl.get(width)!, other: other.kl.get(width)! }] : [];
    });
  if (pairs.length === 0) return '–';
  const windowMeans = (pick: 'own' | 'other') =>
    Float64Array.from({ length: texts.count }, (_, w) => mean(pairs.map((pair) => pair[pick][w]!)));
  const [own, other] = [windowMeans('own'), windowMeans('other')];
  const change = mean(own) - mean(other);
  return `${change < 0 ? '' : '+'}${change.toPrecision(2)} ±${(pairedError(own, other) ?? NaN).toPrecision(1)}`;
}

function withSpread(values: readonly number[], digits: number): string {
  const center = mean(values);
  if (values.length < 2) return center.toFixed(digits);
  const variance = values.reduce((sum, x) => sum + (x - center) ** 2, 0) / (values.length - 1);
  return `${center.toFixed(digits)} ±${Math.sqrt(variance).toFixed(digits)}`;
}

function mean(values: Iterable<number> & { readonly length: number }): number {
  let sum = 0;
  for (const x of values) sum += x;
  return sum / values.length;
}

function print(text: string): void {
  process.stdout.write(`${text}\n\n`);
}
