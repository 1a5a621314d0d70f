/** A calibration by any method: progress opened, the method run, the adapter set written. */
import { UserError } from '../errors.js';
import type { Distance } from '../execution/logit-divergence.js';
import type { SampleCache } from '../execution/sample-store.js';
import type { SetConfig } from '../formats/set-config.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Programs } from '../runtime/programs.js';
import type { AnyMethod, CalibrationHooks, CalibrationSet, CommonSettings } from './method.js';
import { openProgress } from './progress.js';
import { writeAdapterSet } from './sets.js';

export interface CalibrationRequest {
  readonly checkpoint: Checkpoint;
  /** Absent where the settings want no samples. */
  readonly set?: CalibrationSet;
  readonly method: AnyMethod;
  /** As `method.settings` made them. */
  readonly settings: CommonSettings;
  /** The folder of the adapter set; progress is kept in `<out>.partial` until it is complete. */
  readonly out: string;
  /** Whether to go on with what `<out>.partial` holds. */
  readonly resume: boolean;
  readonly cache: SampleCache;
  /** How far a run of the model is from another, in its task. */
  readonly distance: Distance;
  readonly engineVersion: string;
}

/** Calibrates a model and writes its adapter set; returns the set's config. */
export async function calibrate(
  programs: Programs,
  request: CalibrationRequest,
  hooks: CalibrationHooks,
): Promise<SetConfig> {
  const { checkpoint, set, method, settings, out, resume, cache, distance, engineVersion } = request;
  if (set?.inputs.samples === 0)
    throw new UserError(`${set.name}: no sample could be read; calibration needs some.`);
  const fingerprint = await checkpoint.fingerprint();
  const identity = {
    engine_version: engineVersion,
    method: method.name,
    model: fingerprint,
    ...(set && { calibration: set.fingerprint, samples: set.inputs.samples }),
    device: programs.runtime.device,
    options: { ...settings },
  };
  const progress = await openProgress(out, identity, resume);
  const context = { programs, checkpoint, ...(set && { set }), cache, distance, progress, hooks };
  const { method: own, tensors, kv_bits, ...artefact } = await method.calibrate(context, settings);
  const config: SetConfig = {
    schema_version: 2,
    engine_version: engineVersion,
    mode: settings.mode,
    model: { family: checkpoint.model.family, fingerprint, name: checkpoint.name },
    ...(set && {
      calibration: { fingerprint: set.fingerprint, samples: set.inputs.samples, name: set.name },
    }),
    seed: settings.seed,
    offered: settings.offered,
    ...artefact,
    ...(kv_bits !== undefined && { kv_bits }),
    method: { name: method.name, ...own },
  };
  await writeAdapterSet(out, config, tensors);
  await progress.end();
  return config;
}
