/** The sensitivity job: from an adapter set and samples to its `sensitivity.json`. */
import { dirname } from 'node:path';
import { defaultCacheMemory } from '../../execution/sample-store.js';
import { readTensorsDigest } from '../../formats/set.js';
import { writeSensitivity, type Sensitivity, type SensitivityIdentity } from '../../formats/sensitivity.js';
import { layerNames } from '../../execution/model.js';
import { estimateSensitivity, savedByEstimate } from '../../execution/estimated-sensitivity.js';
import { measureSensitivity, savedWork, type SensitivityHooks } from '../../execution/sensitivity.js';
import { openSource } from '../../methods/sets.js';
import { version } from '../../version.js';
import { withDevice } from '../../runtime/with-device.js';
import { duration } from '../../time-left.js';
import { announced } from '../announce.js';
import { sensitivityAmounts } from '../forecasts/others.js';
import { peakMemory } from '../memory.js';
import { openMeasured, openSensitivityOutput } from '../sensitivity-file.js';
import type { JobHooks } from '../requests.js';
import { withMeasuring, type Measuring } from './measuring.js';
import type { SensitivityRequest, SensitivityResult } from '../../protocol/protocol.js';

export async function runSensitivity(
  request: SensitivityRequest,
  hooks: JobHooks<'sensitivity'>,
): Promise<SensitivityResult> {
  const output = await openSensitivityOutput(request);
  const { place, finished } = output;
  try {
    if (finished) return finishedResult(place, finished);
    return await withMeasuring(request, dirname(place), hooks, (measuring) =>
      measure(request, place, measuring, hooks),
    );
  } finally {
    await output.release();
  }
}

/** Of a measurement that was there, complete, when it was resumed. */
const finishedResult = (
  out: string,
  { layers, bits, calibration, kind }: Sensitivity,
): SensitivityResult => ({
  out,
  layers: layers.length,
  bits,
  samples: calibration.samples,
  kind,
  saved: 0,
  seconds: 0,
  peakMemory: peakMemory(),
});

async function measure(
  request: SensitivityRequest,
  out: string,
  { original, adapters, task, set, batch, cache }: Measuring,
  hooks: JobHooks<'sensitivity'>,
): Promise<SensitivityResult> {
  const started = performance.now();
  const { family } = original.model;
  const { samples } = set.inputs;
  const bits = [...adapters.config.offered].sort((a, b) => a - b);
  const layers = layerNames(original);
  const { exact = false, resume = false, cacheMemory } = request;
  const placed = await announced(request, resume ? { signal: hooks.signal } : hooks, () =>
    sensitivityAmounts(original, { samples, batch, offered: bits.length, exact }, cacheMemory),
  );
  return withDevice({ ...placed, signal: hooks.signal }, async (programs) => {
    const { device } = programs.runtime;
    const identity: SensitivityIdentity = {
      model: { family, name: original.name, fingerprint: await original.fingerprint() },
      tensors_sha256: await readTensorsDigest(request.adapters),
      calibration: { name: set.name, samples, fingerprint: set.fingerprint },
      kind: request.exact ? 'measured' : 'estimated',
      ...{ bits, layers },
    };
    const { length } = request;
    const settings = { batch, ...(length !== undefined && { length }), device, version };
    const progress = await openMeasured(out, { ...identity, ...settings }, request.resume ?? false);
    const { costs } = progress;
    const source = openSource(programs, original, adapters);
    const announce = announcer(`${layers.length} layers at ${bits.length} bit-widths`, costs.length, hooks);
    const measuring = { source, inputs: set.inputs, batch, cache };
    hooks.status({
      done: costs.length / layers.length,
      phase: `${costs.length}/${layers.length} layers`,
      place: costs.length,
    });
    const heard: SensitivityHooks = {
      signal: hooks.signal,
      status: (done) => {
        announce(done);
        hooks.status({
          done: Math.min(1, done),
          phase: `${costs.length}/${layers.length} layers`,
          place: costs.length,
        });
      },
      measured: progress.add,
    };
    if (request.exact) {
      const keepBlocks = 2 * original.parameters * Float32Array.BYTES_PER_ELEMENT < defaultCacheMemory();
      const exact = { ...measuring, distance: task.distance, keepBlocks };
      await measureSensitivity(programs, exact, costs.length, heard);
    } else {
      const { seed } = adapters.config;
      await estimateSensitivity(programs, { ...measuring, seed }, costs.length, heard);
    }
    // An estimate begins with the last layer.
    const ordered = request.exact ? costs : [...costs].reverse();
    await writeSensitivity(out, { schema_version: 1, engine_version: version, ...identity, costs: ordered });
    await progress.remove();
    const saved = (request.exact ? savedWork : savedByEstimate)(source.checkpoint, bits.length);
    const seconds = (performance.now() - started) / 1000;
    const { kind } = identity;
    return {
      ...{ out, device, layers: layers.length, bits, samples, kind, saved, seconds },
      peakMemory: peakMemory(),
    };
  });
}

/** Says once, from the time that the first share of the work took, how long all of it will; not of a resumed one. */
function announcer(
  what: string,
  known: number,
  { note }: Pick<JobHooks<'sensitivity'>, 'note'>,
): (done: number) => void {
  const started = performance.now();
  let isSaid = known > 0;
  return (done) => {
    if (isSaid || done <= 0) return;
    isSaid = true;
    const seconds = (performance.now() - started) / 1000 / done;
    note(`Measuring ${what} takes about ${duration(seconds)}; it can be stopped and resumed.`);
  };
}
