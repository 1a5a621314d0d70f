/**
 * Calibrates a sample model once, by the usual method for it, and compares it with baselines at every bit-width.
 * Usage: npm run demo, or demo:text for the language model [-- --device cpu] [--seed N] [--paper]
 *        [--method NAME] [--mode weight-activation] [--groups 7,8/5,6/3,4/2] [--epochs N] [--limit N]
 * `--paper` also calibrates by the paper's own recipe, for comparison. `--groups` and `--epochs` are of QuEPT.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  divergence,
  ERROR_NOTE,
  formatDifferences,
  formatStatus,
  percentage,
  table,
  withError,
} from '../engine/cli/format.js';
import { progressBar } from '../engine/cli/progress.js';
import { duration } from '../engine/time-left.js';
import type {
  CalibrateRequest,
  DeviceChoice,
  EvaluateRequest,
  EvaluationRow,
} from '../engine/protocol/protocol.js';
import { runJob } from '../engine/jobs/run.js';
import { parseGroups } from '../engine/methods/quept/options.js';
import { methodNamed } from '../engine/methods/registry.js';
import { usualMethodFor } from '../engine/methods/usual.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const data = (...names: string[]) => join(root, 'samples', 'data', ...names);

interface Sample {
  readonly model: string;
  readonly mode: NonNullable<CalibrateRequest['mode']>;
  readonly calibration: string;
  /** Where QuEPT's own are not meant. */
  readonly quept: {
    readonly groups?: string;
    readonly samples?: number;
    readonly options: { readonly epochs?: number; readonly batch?: number };
  };
  readonly evaluation: Pick<EvaluateRequest, 'data' | 'baseline' | 'limit'>;
  /** What is counted, and how well the full model does. */
  readonly title: (full: EvaluationRow) => string;
  readonly scores: readonly { readonly name: string; readonly of: (row: EvaluationRow) => string }[];
}

const PICTURES: Sample = {
  model: 'vit-fashion',
  mode: 'weight-activation',
  calibration: data('fashion-mnist', 'calibration-images-idx3-ubyte.gz'),
  quept: { groups: '7,8/5,6/3,4/2', options: {} },
  evaluation: {
    data: data('fashion-mnist', 'evaluation-images-idx3-ubyte.gz'),
    baseline: ['rounding'],
  },
  title: (full) => `${full.samples} held-out pictures. Full precision: ${percentage(full.top1)} % top-1.`,
  scores: [
    { name: 'top-1 %', of: (row) => withError(row.top1, row.scoreError, 100) },
    { name: 'KL (nats)', of: (row) => divergence(row.kl) },
  ],
};

const TEXT: Sample = {
  model: 'llama-speeches',
  mode: 'weight-only',
  calibration: data('speeches', 'calibration.txt'),
  quept: { samples: 256, options: { epochs: 8, batch: 8 } },
  evaluation: { data: data('speeches', 'evaluation.txt'), baseline: ['rounding', 'gptq'], limit: 200 },
  title: (full) =>
    `${full.samples} held-out windows. Full precision: perplexity ${full.perplexity?.toFixed(2)}.`,
  scores: [
    {
      name: 'perplexity',
      of: (row) => withError(row.perplexity, row.scoreError),
    },
    { name: 'KL (nats)', of: (row) => divergence(row.kl) },
  ],
};

const { values: flags } = parseArgs({
  options: {
    text: { type: 'boolean', default: false },
    device: { type: 'string', default: 'auto' },
    seed: { type: 'string', default: '0' },
    method: { type: 'string' },
    mode: { type: 'string' },
    groups: { type: 'string' },
    epochs: { type: 'string' },
    limit: { type: 'string' },
    paper: { type: 'boolean', default: false },
  },
});
const sample = flags.text ? TEXT : PICTURES;
const mode = (flags.mode as Sample['mode'] | undefined) ?? sample.mode;
const model = join(root, 'samples', sample.model);
const device = flags.device as DeviceChoice;
const { signal } = new AbortController();
const note = (line: string) => process.stderr.write(`${line}\n`);
const started = performance.now();

const adapters: string[] = [];
for (const recipe of flags.paper ? (['default', 'paper'] as const) : (['default'] as const)) {
  const method =
    recipe === 'default' && flags.method !== undefined
      ? methodNamed(flags.method)
      : await usualMethodFor(model, { mode, recipe });
  const name = [
    sample.model,
    ...(recipe === 'default' && flags.method !== undefined ? [flags.method] : []),
    ...(mode === sample.mode ? [] : [mode]),
    recipe === 'default' ? 'elastic' : recipe,
  ];
  const out = join(root, 'demo-output', name.join('-'));
  await rm(out, { recursive: true, force: true });
  await rm(`${out}.partial`, { recursive: true, force: true });
  const bar = progressBar(`Calibrating (${method.words.title})`);
  const request: CalibrateRequest = {
    model,
    mode,
    out,
    recipe,
    device,
    data: sample.calibration,
    seed: Number(flags.seed),
    method: method.name,
    ...(method.name === 'quept' && ofQuept()),
  };
  const result = await runJob('calibrate', request, {
    signal,
    note,
    status: (status) => bar.update(status.done, formatStatus(status)),
  });
  bar.stop();
  note(
    `Calibrated once on ${result.samples} samples (${result.device}) in ${duration(result.seconds)}: ${out}`,
  );
  adapters.push(out);
}

function ofQuept(): Pick<CalibrateRequest, 'samples' | 'options'> {
  const { samples, options } = sample.quept;
  const groups = flags.groups ?? (mode === sample.mode ? sample.quept.groups : undefined);
  return {
    ...(samples !== undefined && { samples }),
    options: {
      ...options,
      ...(groups && { groups: parseGroups(groups) }),
      ...(flags.epochs && { epochs: Number(flags.epochs) }),
    },
  };
}

const bar = progressBar('Evaluating');
const { task, rows } = await runJob(
  'evaluate',
  {
    ...{ model, adapters, device, baselineData: sample.calibration },
    ...sample.evaluation,
    ...(mode === 'weight-activation' && { baseline: ['rounding'] }),
    ...(flags.limit && { limit: Number(flags.limit) }),
  },
  { signal, note, status: ({ done }) => bar.update(done, '') },
);
bar.stop();

const full = rows.find((r) => r.bits === 'fp')!;
const labels = [...new Set(rows.filter((r) => r.bits !== 'fp').map((r) => r.label))];
const lines = [...new Set(rows.flatMap((r) => (r.bits === 'fp' ? [] : [r.bits])))].map((bits) => [
  `${bits}`,
  ...labels.flatMap((label) => {
    const row = rows.find((r) => r.bits === bits && r.label === label);
    return sample.scores.map(({ of }) => (row ? of(row) : '–'));
  }),
]);
const what = mode === 'weight-only' ? 'weights only' : 'weights and activations';
process.stdout.write(`\n${sample.model}, ${what}, ${sample.title(full)}\n\n`);
const columns = labels.flatMap((label) =>
  sample.scores.map(({ name }, i) => (i === 0 ? `${label} ${name}` : name)),
);
process.stdout.write(`${table(['bits', ...columns], lines)}\n${ERROR_NOTE}\n\n`);
process.stdout.write(`${formatDifferences({ task, rows })}\n\n`);
note(`Done in ${duration((performance.now() - started) / 1000)}.`);
