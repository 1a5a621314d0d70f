/**
 * Calibrates the sample Vision Transformer once and compares it with plain rounding at every bit-width.
 * Usage: npm run demo [-- --device cpu] [--seed N] [--paper] [--groups 7,8/5,6/3,4/2] [--epochs N] [--limit N]
 * `--paper` also calibrates by the paper's own recipe, for comparison.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { divergence, formatLosses, percentage, table } from '../engine/cli/format.js';
import { duration, progressBar } from '../engine/cli/progress.js';
import type { DeviceChoice } from '../engine/jobs/requests.js';
import { runJob } from '../engine/jobs/run.js';
import { parseGroups } from '../engine/methods/quept/options.js';

const { values: flags } = parseArgs({
  options: {
    device: { type: 'string', default: 'auto' },
    seed: { type: 'string', default: '0' },
    groups: { type: 'string', default: '7,8/5,6/3,4/2' },
    epochs: { type: 'string' },
    limit: { type: 'string' },
    paper: { type: 'boolean', default: false },
  },
});

const root = fileURLToPath(new URL('..', import.meta.url));
const model = join(root, 'samples/vit-fashion');
const data = join(root, 'samples/data/fashion-mnist');
const calibrationData = join(data, 'calibration-images-idx3-ubyte.gz');
const groups = parseGroups(flags.groups);
const device = flags.device as DeviceChoice;
const { signal } = new AbortController();
const note = (line: string) => process.stderr.write(`${line}\n`);
const started = performance.now();

const adapters: string[] = [];
for (const recipe of flags.paper ? (['default', 'paper'] as const) : (['default'] as const)) {
  const out = join(root, 'demo-output', recipe === 'default' ? 'elastic' : 'elastic-paper');
  await rm(out, { recursive: true, force: true });
  await rm(`${out}.partial`, { recursive: true, force: true });
  const bar = progressBar(recipe === 'default' ? 'Calibrating' : 'Calibrating by the paper');
  const request = {
    model,
    data: calibrationData,
    out,
    groups,
    recipe,
    device,
    seed: Number(flags.seed),
    ...(flags.epochs && { epochs: Number(flags.epochs) }),
  };
  const result = await runJob('calibrate', request, {
    signal,
    note,
    status: (status) => {
      const loss = formatLosses(status);
      bar.update(status.done, `block ${status.block + 1}/${status.blocks}${loss ? `, loss ${loss}` : ''}`);
    },
  });
  bar.stop();
  note(
    `Calibrated once on ${result.samples} pictures (${result.device}) in ${duration(result.seconds)}: ${out}`,
  );
  adapters.push(out);
}

const bar = progressBar('Evaluating');
const { rows } = await runJob(
  'evaluate',
  {
    ...{ model, adapters, device, baseline: ['rtn'] as const, baselineData: calibrationData },
    data: join(data, 'evaluation-images-idx3-ubyte.gz'),
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
    const row = rows.find((r) => r.bits === bits && r.label === label)!;
    return [percentage(row.top1), divergence(row.kl)];
  }),
]);
process.stdout.write(
  `\nvit-fashion, weights and activations, ${full.samples} held-out pictures. Full precision: ${percentage(full.top1)} % top-1.\n\n`,
);
process.stdout.write(
  `${table(['bits', ...labels.flatMap((label) => [`${label} top-1 %`, 'KL (nats)'])], lines)}\n\n`,
);
note(`Done in ${duration((performance.now() - started) / 1000)}.`);
