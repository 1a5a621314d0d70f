/**
 * Plans allocated within six budgets, each beside the highest uniform bit-width within it: both samples.
 * Usage: npm run demo:plans [-- --vit SET] [--llama SET] [--samples N] [--epochs N] [--limit N] [--sensitivity N] [--device cpu]
 * Sets that are not named are calibrated first, by the usual method of each; `--samples` is of those calibrations, `--epochs` of
 * the one that trains.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { allocate } from '../engine/cli/allocate.js';
import { bytes, percentage, table } from '../engine/cli/format.js';
import { progressBar } from '../engine/cli/progress.js';
import { SENSITIVITY_FILE } from '../engine/formats/sensitivity.js';
import type { WorkKind, Jobs } from '../engine/jobs/requests.js';
import { runJob } from '../engine/jobs/run.js';
import { parseGroups } from '../engine/methods/quept/options.js';
import type { DeviceChoice, EvaluationRow } from '../engine/protocol/protocol.js';

const { values: flags } = parseArgs({
  options: {
    vit: { type: 'string' },
    llama: { type: 'string' },
    samples: { type: 'string' },
    epochs: { type: 'string' },
    limit: { type: 'string' },
    sensitivity: { type: 'string' },
    device: { type: 'string', default: 'auto' },
  },
});

const BUDGETS = [2.25, 2.5, 3, 3.5, 4, 5];
const root = fileURLToPath(new URL('..', import.meta.url));
const output = join(root, 'demo-output');
const device = flags.device as DeviceChoice;

interface Sample {
  readonly name: 'vit' | 'llama';
  readonly model: string;
  readonly calibration: string;
  readonly evaluation: string;
  readonly score: string;
  /** The higher the better. */
  readonly worth: (row: EvaluationRow) => number;
  readonly show: (worth: number) => string;
}

const data = (...names: string[]) => join(root, 'samples/data', ...names);
const SAMPLES: readonly Sample[] = [
  {
    name: 'vit',
    model: join(root, 'samples/vit-fashion'),
    calibration: data('fashion-mnist/calibration-images-idx3-ubyte.gz'),
    evaluation: data('fashion-mnist/evaluation-images-idx3-ubyte.gz'),
    score: 'top-1 %',
    worth: (row) => row.top1!,
    show: percentage,
  },
  {
    name: 'llama',
    model: join(root, 'samples/llama-speeches'),
    calibration: data('speeches/calibration.txt'),
    evaluation: data('speeches/evaluation.txt'),
    score: 'perplexity',
    worth: (row) => -row.perplexity!,
    show: (worth) => (-worth).toFixed(3),
  },
];

async function run<K extends WorkKind>(kind: K, request: Jobs[K]['request'], title: string) {
  const bar = progressBar(title);
  return runJob(kind, request, {
    signal: new AbortController().signal,
    note: (line) => process.stderr.write(`${line}\n`),
    status: (status) => bar.update((status as { done: number }).done, ''),
  }).finally(() => bar.stop());
}

async function calibrated({ name, model, calibration }: Sample): Promise<string> {
  const named = flags[name];
  if (named !== undefined) return named;
  const out = join(output, `plans-${name}`);
  await rm(out, { recursive: true, force: true });
  await rm(`${out}.partial`, { recursive: true, force: true });
  const request = {
    model,
    data: calibration,
    out,
    device,
    ...(flags.samples && { samples: Number(flags.samples) }),
    ...(name === 'vit' && {
      options: {
        groups: parseGroups('7,8/5,6/3,4/2'),
        ...(flags.epochs && { epochs: Number(flags.epochs) }),
      },
    }),
  };
  await run('calibrate', request, `Calibrating ${name}`);
  return out;
}

await mkdir(output, { recursive: true });
for (const sample of SAMPLES) {
  const { name, model, calibration, evaluation, score, worth, show } = sample;
  const adapters = await calibrated(sample);
  if (!existsSync(join(adapters, SENSITIVITY_FILE))) {
    const samples = flags.sensitivity && { samples: Number(flags.sensitivity) };
    await run('sensitivity', { model, adapters, data: calibration, device, ...samples }, `Measuring ${name}`);
  }
  const plans: string[] = [];
  for (const averageBits of BUDGETS) {
    const out = join(output, `${name}-${averageBits}.precision.json`);
    const data = {
      data: calibration,
      device,
      ...(flags.sensitivity && { samples: Number(flags.sensitivity) }),
    };
    await allocate(adapters, { averageBits, model, out, ...data }, (request) =>
      run('compare-plans', request, `Measuring plans of ${averageBits} bits`),
    );
    plans.push(out);
  }
  const { rows } = await run(
    'evaluate',
    {
      model,
      adapters: [adapters],
      data: evaluation,
      plans,
      bits: [5, 4, 3, 2],
      device,
      ...(flags.limit && { limit: Number(flags.limit) }),
    },
    `Evaluating ${name}`,
  );
  const labels = BUDGETS.map((budget) => `${name}-${budget}`);
  const uniform = (bits: number) => rows.find((r) => r.bits === bits && !labels.includes(r.label))!;
  const lines = BUDGETS.map((budget, i) => {
    const plan = rows.find((r) => r.label === labels[i])!;
    const beside = uniform(Math.floor(budget));
    const verdict = plan.kl! <= beside.kl! ? 'yes' : 'no';
    return [
      String(budget),
      bytes(plan.bytes),
      Number(plan.bits).toFixed(3),
      show(worth(plan)),
      plan.kl!.toPrecision(4),
      String(beside.bits),
      show(worth(beside)),
      beside.kl!.toPrecision(4),
      verdict,
    ];
  });
  const full = rows.find((r) => r.kind === 'full')!;
  process.stdout.write(`\n${name}: ${full.samples} samples, full precision ${show(worth(full))}.\n\n`);
  const header = ['budget', 'size', 'bits', `plan, ${score}`, 'KL', 'uniform', score, 'KL', 'not worse'];
  process.stdout.write(`${table(header, lines)}\n`);
}
