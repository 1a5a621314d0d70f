/** A model over many samples with the weights of one part in memory at a time, activations lying in a store between parts. */
import { everySample, type ModelInputs, type SampleStore } from './sample-store.js';
import { CancelledError } from '../errors.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Model, Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { openPlainPart, type RunnablePart } from './part.js';
/** Opens a part of a model at some precision, ready to run; whoever asks for it disposes of it. */
export type OpenPart = (part: Part) => Promise<RunnablePart>;

/** The parts as the checkpoint has them. */
export const plainParts =
  (programs: Programs, checkpoint: Checkpoint): OpenPart =>
  async (part) =>
    openPlainPart(programs, part, await checkpoint.read(part));

export interface PassHooks {
  readonly signal: AbortSignal;
  /** @param done 0 to 1 */
  readonly status?: (done: number) => void;
}

/**
 * Runs a part on the samples at `indices` of `source` and writes each output to its sample's place in `into`, which may be
 * the source. The last batch is filled up by repetition.
 */
export async function runSamples(
  { runtime }: Programs,
  part: Part,
  runnable: RunnablePart,
  source: ModelInputs,
  into: SampleStore,
  indices: readonly number[],
  batch: number,
  { signal, status }: PassHooks,
): Promise<void> {
  const elements = batch * source.size;
  const buffer = part.inputType === 'int64' ? new BigInt64Array(elements) : new Float32Array(elements);
  for (let start = 0; start < indices.length; start += batch) {
    if (signal.aborted) throw new CancelledError();
    const picked = indices.slice(start, start + batch);
    const filler = Array<number>(batch - picked.length).fill(picked[0]!);
    source.read([...picked, ...filler], buffer as never);
    const output = await runnable.run(runtime.tensor(buffer, part.inputShape(batch)), batch);
    const data = await runtime.read(output);
    into.write(picked, data.subarray(0, picked.length * into.size));
    output.dispose();
    status?.(Math.min(1, (start + batch) / indices.length));
  }
}

/**
 * Stem and blocks, one after another, on as many of the inputs as `into` has samples; it ends up with what the head reads,
 * [tokens · width] a sample.
 */
export async function passBlocks(
  programs: Programs,
  model: Model,
  open: OpenPart,
  inputs: ModelInputs,
  into: SampleStore,
  batch: number,
  { signal, status }: PassHooks,
): Promise<void> {
  const parts = [model.stem, ...model.blocks];
  for (const [i, part] of parts.entries()) {
    const runnable = await open(part);
    await runSamples(programs, part, runnable, i === 0 ? inputs : into, into, everySample(into), batch, {
      signal,
      status: (done) => status?.((i + done) / parts.length),
    }).finally(() => runnable.dispose());
  }
}
