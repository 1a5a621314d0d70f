/** The sensitivity job: from an adapter set and samples to its `sensitivity.json`. */
import { dirname } from 'node:path';
import { defaultCacheMemory, openSampleCache, type SampleCache } from '../../execution/sample-store.js';
import { bitsOf, openAdapterSet, readTensorsDigest, type AdapterSource } from '../../formats/adapter-set.js';
import { writeSensitivity, type SensitivityIdentity } from '../../formats/sensitivity.js';
import { layerNames } from '../../execution/model.js';
import { requireMatch, rotatedFor, tensorsOf } from '../../execution/quantized-model.js';
import { measureSensitivity, savedWork } from '../../execution/sensitivity.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { version } from '../../version.js';
import { readCalibrationSet } from '../calibration-set.js';
import { withDevice } from '../device.js';
import { peakMemory } from '../memory.js';
import { openMeasured, sensitivityPath } from '../sensitivity-file.js';
import type { JobHooks } from '../requests.js';
import type { SensitivityRequest, SensitivityResult } from '../../protocol/protocol.js';

/** Enough to tell layers apart: a mean over pictures, or over all tokens of so many windows. */
const SAMPLES = { 'image-classification': 128, 'text-generation': 32 };
const BATCH = { 'image-classification': 32, 'text-generation': 2 };

export async function runSensitivity(
  request: SensitivityRequest,
  hooks: JobHooks<'sensitivity'>,
): Promise<SensitivityResult> {
  const out = sensitivityPath(request);
  const checkpoint = await openCheckpoint(request.model);
  const cache = await openSampleCache(request.cacheMemory ?? defaultCacheMemory(), dirname(out));
  try {
    const set = await openAdapterSet(request.adapters);
    try {
      await requireMatch(checkpoint, set, request.adapters);
      return await measure(request, out, checkpoint, set, cache, hooks);
    } finally {
      await set.close();
    }
  } finally {
    cache.close();
    await checkpoint.close();
  }
}

async function measure(
  request: SensitivityRequest,
  out: string,
  original: Checkpoint,
  { config, tensors }: AdapterSource,
  cache: SampleCache,
  hooks: JobHooks<'sensitivity'>,
): Promise<SensitivityResult> {
  const started = performance.now();
  const { task, family } = original.model;
  const batch = request.batch ?? BATCH[task];
  const draw = { samples: request.samples ?? SAMPLES[task], seed: config.seed, batch };
  const { set } = await readCalibrationSet(original, request.data, draw, cache, hooks.signal);
  const { samples } = set.inputs;
  const bits = bitsOf(config).sort((a, b) => a - b);
  const layers = layerNames(original);
  return withDevice(request, async (programs) => {
    const { device } = programs.runtime;
    const identity: SensitivityIdentity = {
      model: { family, name: original.name, fingerprint: await original.fingerprint() },
      tensors_sha256: await readTensorsDigest(request.adapters),
      calibration: { name: set.name, samples, fingerprint: set.fingerprint },
      ...{ bits, layers },
    };
    const progress = await openMeasured(
      out,
      { ...identity, batch, device, version },
      request.resume ?? false,
    );
    const { costs } = progress;
    const checkpoint = rotatedFor(programs, original, config);
    const adaptersOf = (part: Parameters<typeof tensorsOf>[1]) => tensorsOf(tensors, part);
    const keepBlocks = 2 * original.parameters * Float32Array.BYTES_PER_ELEMENT < defaultCacheMemory();
    const settings = { checkpoint, config, adaptersOf, bits, inputs: set.inputs, batch, cache, keepBlocks };
    await measureSensitivity(programs, settings, costs.length, {
      signal: hooks.signal,
      status: (done) =>
        hooks.status({
          done: Math.min(1, done),
          phase: `${costs.length}/${layers.length} layers`,
          place: costs.length,
        }),
      measured: progress.add,
    });
    await writeSensitivity(out, { schema_version: 1, engine_version: version, ...identity, costs });
    await progress.remove();
    const saved = savedWork(checkpoint, bits.length);
    const seconds = (performance.now() - started) / 1000;
    return { out, device, layers: layers.length, bits, samples, saved, seconds, peakMemory: peakMemory() };
  });
}
