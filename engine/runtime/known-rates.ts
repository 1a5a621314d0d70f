/** How fast devices were when the machine had least else to do: the best that was ever measured here, kept for the user. */
import { mkdir } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { writeFileAtomic } from '../formats/atomic.js';
import { cacheFolder } from '../formats/cache-folder.js';
import { integer, mapOf, number, readFields, record } from '../formats/json-fields.js';
import { readJsonFile } from '../formats/json.js';
import { UserError } from '../errors.js';
import type { DeviceReport, Placement, Rates } from '../protocol/protocol.js';
import { listDevices, reportDevice } from './devices.js';

export type KnownDevice = Extract<DeviceReport, { available: true }>;

/** The best of so many measurements is trusted: the first may have met a busy machine. */
const TRIALS = 5;

interface Known extends Rates {
  readonly trials: number;
}

const LEAST = 1e-12;
const rate = number(LEAST);
const FIELDS = {
  devices: mapOf(
    record<Known>({ gflops: rate, gelements: rate, overhead: rate, trials: integer(1) }, 'dropped'),
  ),
};

/**
 * The device that a job runs on, at its rates. The processor is measured a few times, not each time; `auto` measures all. Throws
 * UserError for one that is not available, and CancelledError once `signal` is aborted.
 */
export async function knownDevice(
  { device = 'auto', threads = 0 }: Placement,
  signal?: AbortSignal,
): Promise<KnownDevice> {
  const known = device === 'cpu' ? await knownProcessor(threads) : undefined;
  if (known) return known;
  const measured =
    device === 'auto' ? await listDevices(threads, signal) : [await reportDevice(device, threads, signal)];
  return deviceOf(device, await keepBest(measured, threads));
}

/** The fastest, or the one that is named. Throws UserError where that is not available. */
export function deviceOf(
  wanted: NonNullable<Placement['device']>,
  devices: readonly DeviceReport[],
): KnownDevice {
  const available = devices.filter((d) => d.available);
  const [fastest] = [...available].sort((a, b) => b.gflops - a.gflops);
  const found = wanted === 'auto' ? fastest : available.find(({ kind }) => kind === wanted);
  if (found) return found;
  const report = devices.find(({ kind }) => kind === wanted);
  const reason = report && !report.available ? report.reason : 'it is not known here.';
  throw new UserError(`The device "${wanted}" is not available: ${reason}`);
}

/** The better of what was measured now and what is known, which is kept. What cannot be kept is measured again. */
export async function keepBest(measured: readonly DeviceReport[], threads = 0): Promise<DeviceReport[]> {
  const known = await readKnown();
  const best = measured.map((report) =>
    report.available ? better(report, known[keyOf(report, threads)]) : report,
  );
  const own = best.flatMap((report) => {
    if (!report.available) return [];
    const { gflops, gelements, overhead } = report;
    const key = keyOf(report, threads);
    return [[key, { gflops, gelements, overhead, trials: (known[key]?.trials ?? 0) + 1 }] as const];
  });
  const devices = { ...known, ...Object.fromEntries(own) };
  if (own.length > 0)
    await mkdir(dirname(ratesFile()), { recursive: true })
      .then(() => writeFileAtomic(ratesFile(), JSON.stringify({ devices })))
      .catch(() => undefined);
  return best;
}

async function knownProcessor(threads: number): Promise<KnownDevice | undefined> {
  const device = { kind: 'cpu', name: cpus()[0]?.model.trim() ?? 'processor', available: true } as const;
  const { trials, ...rates } = (await readKnown())[keyOf(device, threads)] ?? { trials: 0 };
  return trials >= TRIALS ? ({ ...device, ...rates } as KnownDevice) : undefined;
}

const ratesFile = () => join(cacheFolder(), 'elastic-precision', 'rates.json');

const keyOf = ({ kind, name }: Pick<KnownDevice, 'kind' | 'name'>, threads: number) =>
  `${kind}, ${name}, ${threads === 0 ? 'all' : threads} threads of ${cpus().length}`;

/** A file that cannot be read is as good as none: nobody's work is in it. */
const readKnown = async (): Promise<Readonly<Record<string, Known>>> =>
  readJsonFile(ratesFile(), { maxBytes: 1 << 20 })
    .then((json) => readFields(json, FIELDS, 'rates.json').devices)
    .catch(() => ({}));

const better = (now: KnownDevice, known: Rates = now): KnownDevice => ({
  ...now,
  gflops: Math.max(now.gflops, known.gflops),
  gelements: Math.max(now.gelements, known.gelements),
  overhead: Math.max(LEAST, Math.min(now.overhead, known.overhead)),
});
