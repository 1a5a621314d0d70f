/** What counted work comes to on a device (docs/METHOD.md, section 10). */
import type { Work } from '../../graph/work.js';
import type { Rates } from '../../protocol/protocol.js';
import type { KnownDevice } from '../../runtime/known-rates.js';
import type { Forecast } from '../requests.js';

/**
 * What counted work does not say, as `npm run bench:estimate` found it on a CPU: a process with its compiled graphs, before it
 * holds a tensor; its start; how much longer graphs take than their operators at the measured rates; and an element of a loop on
 * the host.
 */
const PROCESS_BYTES = 300e6;
const STARTUP_SECONDS = 3;
const SLOWDOWN = 1.5;
/** Passes of samples alone take less than their operators one by one: some are fused, and what they share lies in caches. */
export const PASSES_SLOWDOWN = 0.8;
const HOST_SECONDS = 4e-9;

export interface Amounts {
  readonly work: Work;
  /** Elements that loops on the host go over. */
  readonly looked: number;
  /** Memory beside the process's own. */
  readonly bytes: number;
  readonly disk: number;
  /** How much longer it takes than its operators; default as a calibration. */
  readonly slowdown?: number;
}

/**
 * Seconds: matrix products over the device's measured rate of them, all other elements over the measured rate of additions, and
 * the measured overhead of running an operator for each.
 */
export const secondsOf = (
  { work, looked, slowdown = SLOWDOWN }: Omit<Amounts, 'bytes' | 'disk'>,
  rates: Rates,
): number =>
  STARTUP_SECONDS +
  slowdown *
    (work.flops / (rates.gflops * 1e9) +
      work.elements / (rates.gelements * 1e9) +
      work.operators * rates.overhead) +
  HOST_SECONDS * looked;

export const peakOf = ({ bytes }: Pick<Amounts, 'bytes'>): number => PROCESS_BYTES + bytes;

export const forecastOf = (amounts: Amounts, device: KnownDevice): Forecast => ({
  seconds: secondsOf(amounts, device),
  bytes: peakOf(amounts),
  disk: amounts.disk,
  device: device.kind,
});
