/**
 * How close estimates come to what work takes, on both samples: calibrations by every method, evaluations of QuEPT's sets, and
 * sensitivities.
 * Usage: npm run bench:estimate [-- --epochs N] [--methods gptq,oac]
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { bytes, table } from '../engine/cli/format.js';
import { duration } from '../engine/time-left.js';
import type { CalibrateResult } from '../engine/protocol/protocol.js';
import type { Forecast } from '../engine/jobs/requests.js';
import { runJob } from '../engine/jobs/run.js';

const { values: flags } = parseArgs({
  options: {
    epochs: { type: 'string', default: '2' },
    methods: { type: 'string', default: 'quept,direct,gptq,oac,sliderquant,adpq' },
  },
});
const methods = flags.methods.split(',');
const root = fileURLToPath(new URL('..', import.meta.url));
const samples = join(root, 'samples');
const cli = fileURLToPath(new URL('cli.js', import.meta.url));
const pictures = join(samples, 'data/fashion-mnist/calibration-images-idx3-ubyte.gz');
const text = join(samples, 'data/speeches/calibration.txt');
const cases = [
  { name: 'pictures', model: 'vit-fashion', data: pictures, samples: 256, batch: 32 },
  { name: 'pictures, four times as many', model: 'vit-fashion', data: pictures, samples: 1024, batch: 32 },
  { name: 'text, weights', model: 'llama-speeches', data: text, samples: 64, batch: 8 },
  {
    name: 'text, rotated',
    model: 'llama-speeches',
    data: text,
    samples: 64,
    batch: 8,
    mode: 'weight-activation',
  },
] as const;
/** Of other methods, each once for all bit-widths that it usually has. */
const others = [
  { method: 'direct', options: { effort: 'quick' } },
  { method: 'direct' },
  { method: 'direct', options: { effort: 'high' } },
  { method: 'direct', picture: true },
  { method: 'gptq' },
  { method: 'gptq', picture: true },
  { method: 'oac' },
  { method: 'oac', options: { backend: 'spqr', averageBits: [2.3] } },
  { method: 'oac', options: { backend: 'billm' } },
  { method: 'sliderquant' },
  { method: 'adpq' },
] as const;

const hooks = {
  signal: new AbortController().signal,
  status: () => undefined,
  note: (line: string) => process.stderr.write(`${line}\n`),
};
const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
const rows: string[][] = [];
try {
  for (const [i, { name, model, data, samples: count, batch, ...rest }] of cases.entries()) {
    if (!methods.includes('quept')) break;
    // Anew each time: other work on the machine slows both.
    const devices = await runJob('devices', {}, hooks);
    const settings = { model: join(samples, model), data, samples: count, method: 'quept' };
    const own = { batch, epochs: Number(flags.epochs) };
    const request = { ...settings, ...rest, device: 'cpu' as const, options: own };
    const guess = await runJob('estimate', { request, devices }, hooks);
    const options = Object.entries({ ...settings, ...rest, ...own, model: undefined }).flatMap(
      ([key, value]) => (value === undefined ? [] : [`--${key}`, String(value)]),
    );
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...[cli, 'calibrate', settings.model, ...options, '--device', 'cpu', '--json'],
      ...['--out', join(folder, `${i}`)],
    ]);
    compare(name, guess, JSON.parse(stdout) as CalibrateResult);
    const measured = { model: settings.model, data, device: 'cpu' as const };
    const adapters = join(folder, `${i}`);
    let forecast: Forecast | undefined;
    const heard = { ...hooks, announce: (said: Forecast) => Promise.resolve(void (forecast = said)) };
    const evaluated = await runJob('evaluate', { ...measured, adapters: [adapters], limit: 200 }, heard);
    compare(`${name}: evaluation`, forecast!, evaluated);
    compare(`${name}: sensitivity`, forecast!, await runJob('sensitivity', { ...measured, adapters }, heard));
  }
  for (const [i, one] of others.entries())
    if (methods.includes(one.method)) await calibrated(one, `other-${i}`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** A calibration, with as many samples as the method takes; in a process of its own, for its memory. */
async function calibrated(one: (typeof others)[number], name: string): Promise<void> {
  const { method } = one;
  const [own, isPicture] = ['options' in one ? one.options : {}, 'picture' in one];
  const model = join(samples, isPicture ? 'vit-fashion' : 'llama-speeches');
  const devices = await runJob('devices', {}, hooks);
  const count =
    method === 'adpq' ? {} : { data: isPicture ? pictures : text, samples: isPicture ? 512 : 128 };
  const request = { model, method, device: 'cpu' as const, options: own, ...count };
  const guess = await runJob('estimate', { request, devices }, hooks);
  const options = Object.entries({ method, ...own, ...count }).flatMap(([key, value]) => [
    `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    String(value),
  ]);
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...[cli, 'calibrate', model, ...options, '--device', 'cpu', '--json'],
    ...['--out', join(folder, name)],
  ]);
  const words = [method, ...Object.values(own).map(String), isPicture ? 'pictures' : 'text'];
  compare(words.join(' '), guess, JSON.parse(stdout) as CalibrateResult);
}

function compare(
  name: string,
  guess: Pick<Forecast, 'seconds' | 'bytes'>,
  took: Pick<CalibrateResult, 'seconds' | 'peakMemory'>,
): void {
  rows.push([
    name,
    ...[duration(guess.seconds), duration(took.seconds), (guess.seconds / took.seconds).toFixed(2)],
    ...[bytes(guess.bytes), bytes(took.peakMemory), (guess.bytes / took.peakMemory).toFixed(2)],
  ]);
}
const header = ['work', 'estimated', 'took', 'ratio', 'estimated', 'at most', 'ratio'];
process.stdout.write(`${table(header, rows)}\n`);
