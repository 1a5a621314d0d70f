/**
 * What calibration does not improve keeps its start: for every bit-width the calibrated model and the one it started from
 * (searched clip, percentile scales, no adapter) are compared on the calibration set, and the better one is kept.
 * At high bit-widths rounding is close to exact, and what is learned for others can cost more than it gains.
 */
import { klDivergence } from '../../divergence.js';
import { CancelledError } from '../../errors.js';
import type { BitGroup } from '../../formats/adapter-set.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { Programs } from '../../runtime/programs.js';
import { openElasticModel, openPlainModel, type RunnableModel } from './elastic-model.js';
import type { QueptOptions } from './options.js';
import type { NamedTensors } from './state.js';

export interface Guarded {
  /** The groups, those bit-widths that keep their start in groups of their own with gain 0. */
  readonly groups: BitGroup[];
  readonly tensors: NamedTensors;
}

/** Samples compared: enough to tell the means of two divergences apart. */
const SAMPLES = 512;

/**
 * @param learned,started adapter tensors of the whole model under their full names; of `started` those that the start sets
 * @param inputs preprocessed samples of the calibration set, [samples, …]
 */
export async function keepBetter(
  programs: Programs,
  checkpoint: Checkpoint,
  learned: NamedTensors,
  started: NamedTensors,
  inputs: Float32Array,
  samples: number,
  options: QueptOptions,
  signal: AbortSignal,
): Promise<Guarded> {
  const { groups, embeddingBits, headBits } = options;
  const merged = new Map([...learned, ...started]);
  const config = { bit_groups: groups, embedding_bits: embeddingBits, head_bits: headBits };
  const models: RunnableModel[] = [];
  try {
    const plain = await openPlainModel(programs, checkpoint);
    models.push(plain);
    const reference = await logitsOf(
      programs,
      checkpoint,
      plain,
      inputs,
      Math.min(samples, SAMPLES),
      options.batch,
      signal,
    );
    const divergences = async (tensors: NamedTensors, gain?: 0) => {
      const ungained = groups.map((group) => ({ ...group, gain: gain ?? group.gain }));
      const model = await openElasticModel(programs, checkpoint, {
        config: { ...config, bit_groups: ungained },
        tensors,
      });
      models.push(model);
      const found = new Map<number, number>();
      for (const bits of model.bits) {
        await model.use(bits);
        const logits = await logitsOf(
          programs,
          checkpoint,
          model,
          inputs,
          Math.min(samples, SAMPLES),
          options.batch,
          signal,
        );
        found.set(bits, meanDivergence(reference, logits, checkpoint.model.classes));
      }
      return found;
    };
    const [after, before] = [await divergences(learned), await divergences(merged, 0)];
    const keptStart = (bits: number) => before.get(bits)! <= after.get(bits)!;

    const tensors = new Map(learned);
    for (const [name, tensor] of started)
      if (keptStart(Number(name.split('.').at(-1)))) tensors.set(name, tensor);
    return { groups: groups.flatMap((group) => splitGroup(group, keptStart)), tensors };
  } finally {
    for (const model of models) model.dispose();
  }
}

/** The group in runs of bit-widths, high to low, that keep their start or do not. */
function splitGroup(group: BitGroup, keptStart: (bits: number) => boolean): BitGroup[] {
  const runs: { bits: number[]; kept: boolean }[] = [];
  for (const bits of [...group.bits].sort((a, b) => b - a)) {
    const kept = keptStart(bits);
    if (runs.at(-1)?.kept === kept) runs.at(-1)!.bits.unshift(bits);
    else runs.push({ bits: [bits], kept });
  }
  return runs.map(({ bits, kept }) => ({ ...group, bits, gain: kept ? 0 : group.gain }));
}

async function logitsOf(
  { runtime }: Programs,
  { model }: Checkpoint,
  runnable: RunnableModel,
  inputs: Float32Array,
  samples: number,
  batch: number,
  signal: AbortSignal,
): Promise<Float32Array> {
  const sampleSize = model.image.channels * model.image.height * model.image.width;
  const logits = new Float32Array(samples * model.classes);
  for (let start = 0; start < samples; start += batch) {
    if (signal.aborted) throw new CancelledError();
    // The last batch goes back to be whole; what it computes again is the same.
    const from = Math.max(0, Math.min(start, samples - batch));
    const count = Math.min(batch, samples);
    const x = runtime.tensor(
      inputs.subarray(from * sampleSize, (from + count) * sampleSize),
      model.stem.inputShape(count),
    );
    logits.set(await runnable.run(x, count), from * model.classes);
  }
  return logits;
}

function meanDivergence(reference: Float32Array, logits: Float32Array, classes: number): number {
  const count = reference.length / classes;
  let sum = 0;
  for (let i = 0; i < count; i++)
    sum += klDivergence(
      reference.subarray(i * classes, (i + 1) * classes),
      logits.subarray(i * classes, (i + 1) * classes),
    );
  return sum / count;
}
