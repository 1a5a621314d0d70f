/** The sensitivity job: from an adapter set and samples to its `sensitivity.json`. */
import { dirname } from 'node:path';
import { defaultCacheMemory, openSampleCache, type SampleCache } from '../../execution/sample-store.js';
import { readTensorsDigest } from '../../formats/set.js';
import { writeSensitivity, type SensitivityIdentity } from '../../formats/sensitivity.js';
import { layerNames } from '../../execution/model.js';
import { measureSensitivity, savedWork } from '../../execution/sensitivity.js';
import { openAdapterSet, openSource, requireMatch, type AdapterSet } from '../../methods/sets.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { version } from '../../version.js';
import { withDevice } from '../../runtime/with-device.js';
import { taskOf } from '../../tasks/registry.js';
import type { Task } from '../../tasks/task.js';
import { peakMemory } from '../memory.js';
import { openMeasured, sensitivityPath } from '../sensitivity-file.js';
import type { JobHooks } from '../requests.js';
import type { SensitivityRequest, SensitivityResult } from '../../protocol/protocol.js';

export async function runSensitivity(
  request: SensitivityRequest,
  hooks: JobHooks<'sensitivity'>,
): Promise<SensitivityResult> {
  const out = sensitivityPath(request);
  const checkpoint = await openCheckpoint(request.model);
  const cache = await openSampleCache(request.cacheMemory ?? defaultCacheMemory(), dirname(out));
  try {
    const task = taskOf(checkpoint);
    const set = await openAdapterSet(request.adapters);
    try {
      await requireMatch(checkpoint, set, request.adapters);
      return await measure(request, out, task, checkpoint, set, cache, hooks);
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
  task: Task,
  original: Checkpoint,
  adapters: AdapterSet,
  cache: SampleCache,
  hooks: JobHooks<'sensitivity'>,
): Promise<SensitivityResult> {
  const started = performance.now();
  const { family } = original.model;
  const usual = task.sensitivity;
  const batch = request.batch ?? usual.batch;
  const draw = { samples: request.samples ?? usual.samples, seed: adapters.config.seed, batch };
  const { set } = await task.read(original, request.data, draw, cache, hooks.signal);
  const { samples } = set.inputs;
  const bits = [...adapters.config.offered].sort((a, b) => a - b);
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
    const source = openSource(programs, original, adapters);
    const keepBlocks = 2 * original.parameters * Float32Array.BYTES_PER_ELEMENT < defaultCacheMemory();
    const { distance } = task;
    const settings = { source, distance, inputs: set.inputs, batch, cache, keepBlocks };
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
    const saved = savedWork(source.checkpoint, bits.length);
    const seconds = (performance.now() - started) / 1000;
    return { out, device, layers: layers.length, bits, samples, saved, seconds, peakMemory: peakMemory() };
  });
}
