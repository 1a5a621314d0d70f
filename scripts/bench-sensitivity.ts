/**
 * Costs of layers estimated by gradients beside those measured by running the model, and what either takes beside the
 * calibration of the set: processor seconds of one run.
 * Usage: npm run bench:sensitivity [-- --model FOLDER --data PATH] [--method NAME] [--mode weight-activation] [--bits 8,7,6,5,4,3,2]
 *        [--samples N] [--length N] [--windows 128] [--no-exact] [--threads N]
 * `--samples` are of the costs, `--windows` of the calibration. Default: both samples, each calibrated by its usual method.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parseWidths, table } from '../engine/cli/format.js';
import { readSensitivity } from '../engine/formats/sensitivity.js';
import type { Jobs, WorkKind } from '../engine/jobs/requests.js';
import { runJob } from '../engine/jobs/run.js';

const { values: flags } = parseArgs({
  allowNegative: true,
  options: {
    model: { type: 'string' },
    data: { type: 'string' },
    method: { type: 'string' },
    mode: { type: 'string' },
    bits: { type: 'string', default: '8,7,6,5,4,3,2' },
    samples: { type: 'string' },
    length: { type: 'string' },
    windows: { type: 'string', default: '128' },
    exact: { type: 'boolean', default: true },
    threads: { type: 'string' },
  },
});
const samples = fileURLToPath(new URL('../samples', import.meta.url));
const models =
  flags.model !== undefined && flags.data !== undefined
    ? [{ model: flags.model, data: flags.data }]
    : [
        { model: join(samples, 'llama-speeches'), data: join(samples, 'data/speeches/calibration.txt') },
        {
          model: join(samples, 'vit-fashion'),
          data: join(samples, 'data/fashion-mnist/calibration-images-idx3-ubyte.gz'),
        },
      ];
const common = {
  device: 'cpu' as const,
  ...(flags.length !== undefined && { length: Number(flags.length) }),
  ...(flags.threads !== undefined && { threads: Number(flags.threads) }),
};

/** Processor seconds of a job. */
async function run<K extends WorkKind>(kind: K, request: Jobs[K]['request']): Promise<number> {
  const before = process.cpuUsage();
  await runJob(kind, request, {
    signal: new AbortController().signal,
    note: () => undefined,
    status: () => undefined,
  });
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
try {
  for (const { model, data } of models) {
    const adapters = join(folder, basename(model));
    const calibration = await run('calibrate', {
      ...{ model, data, out: adapters, samples: Number(flags.windows), ...common },
      ...(flags.method !== undefined && { method: flags.method }),
      ...(flags.mode !== undefined && { mode: flags.mode as 'weight-activation' }),
      bits: parseWidths(flags.bits),
    });
    const request = { model, data, adapters, ...common };
    const costsOf = async (exact: boolean) => {
      const out = `${adapters}-${exact ? 'measured' : 'estimated'}.json`;
      const own = { ...request, out, exact, ...(flags.samples && { samples: Number(flags.samples) }) };
      return { seconds: await run('sensitivity', own), ...(await readSensitivity(out)) };
    };
    const estimated = await costsOf(false);
    print(`${basename(model)}: processor seconds, and costs of ${estimated.layers.length} layers`);
    print(`calibration ${calibration.toFixed(1)}, estimate ${estimated.seconds.toFixed(1)}`);
    if (!flags.exact) continue;
    const measured = await costsOf(true);
    print(`measurement ${measured.seconds.toFixed(1)}\n`);
    const rows = estimated.bits.map((bits, b) => {
      const logs = measured.costs.map((row, l) => Math.log(estimated.costs[l]![b]! / row[b]!));
      const mean = logs.reduce((sum, x) => sum + x, 0) / logs.length;
      const spread = Math.sqrt(logs.reduce((sum, x) => sum + (x - mean) ** 2, 0) / logs.length);
      return [String(bits), Math.exp(mean).toFixed(2), `${(100 * Math.expm1(spread)).toFixed(0)} %`];
    });
    print(`${table(['bits', 'estimated / measured', 'spread over layers'], rows)}\n`);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
