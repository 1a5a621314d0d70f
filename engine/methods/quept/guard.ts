/**
 * What calibration does not improve keeps its start: for every bit-width the calibrated model and the one it started from
 * (searched clip, percentile scales, no adapter) are compared on the calibration set, and the better one is kept.
 * At high bit-widths rounding is close to exact, and what is learned for others can cost more than it gains.
 */
import { klDivergence } from '../../divergence.js';
import { CancelledError } from '../../errors.js';
import type { AdapterSetConfig, BitGroup } from '../../formats/adapter-set.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { Model } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { openElasticModel, openPlainModel, type RunnableModel } from './elastic-model.js';
import type { QueptOptions } from './options.js';
import type { NamedTensors } from './state.js';
import type { Samples } from './streams.js';

export interface Guarded {
  /** The groups, those bit-widths that keep their start in groups of their own with gain 0. */
  readonly groups: BitGroup[];
  readonly tensors: NamedTensors;
}

/** How much better training must look: the set it is measured on is the one it has seen. */
const MARGIN = 0.9;

/** Samples compared: enough to tell the means of two divergences apart. */
const SAMPLES = 512;
/** At most so many logits are held at once. */
const LOGITS = 1 << 24;

/**
 * @param learned,started adapter tensors of the whole model under their full names; of `started` those that the start sets
 * @param inputs preprocessed samples of the calibration set, [samples, …]
 */
export async function keepBetter(
  programs: Programs,
  checkpoint: Checkpoint,
  learned: NamedTensors,
  started: NamedTensors,
  inputs: Samples,
  samples: number,
  options: QueptOptions,
  layers: AdapterSetConfig['layers'],
  signal: AbortSignal,
): Promise<Guarded> {
  const { mode, groups, embeddingBits, headBits } = options;
  const config = { mode, embedding_bits: embeddingBits, head_bits: headBits, layers };
  const { model: description } = checkpoint;
  const classes = description.task === 'image-classification' ? description.classes : description.vocabulary;
  const perSample = description.task === 'image-classification' ? classes : classes * description.tokens;
  const count = Math.max(1, Math.min(samples, SAMPLES, Math.floor(LOGITS / perSample)));
  const merged = new Map([...learned, ...started]);
  const models: RunnableModel[] = [];
  try {
    const plain = await openPlainModel(programs, checkpoint);
    models.push(plain);
    const reference = await logitsOf(
      programs,
      description,
      plain,
      inputs,
      samples,
      count,
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
          description,
          model,
          inputs,
          samples,
          count,
          options.batch,
          signal,
        );
        found.set(bits, meanDivergence(reference, logits, classes));
      }
      return found;
    };
    const [after, before] = [await divergences(learned), await divergences(merged, 0)];
    const keptStart = (bits: number) => !(after.get(bits)! < MARGIN * before.get(bits)!);

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

/** Logits of the first `count` of the set's samples, sample after sample. */
async function logitsOf(
  { runtime }: Programs,
  model: Model,
  runnable: RunnableModel,
  inputs: Samples,
  samples: number,
  count: number,
  batch: number,
  signal: AbortSignal,
): Promise<Float32Array> {
  const sampleSize = inputs.length / samples;
  const size = Math.min(batch, count);
  let logits: Float32Array | undefined;
  for (let start = 0; start < count; start += size) {
    if (signal.aborted) throw new CancelledError();
    // The last batch goes back to be whole; what it computes again is the same.
    const from = Math.min(start, count - size);
    const x = runtime.tensor(
      inputs.subarray(from * sampleSize, (from + size) * sampleSize),
      model.stem.inputShape(size),
    );
    const found = await runnable.run(x, size);
    logits ??= new Float32Array((found.length / size) * count);
    logits.set(found, (found.length / size) * from);
  }
  return logits!;
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
