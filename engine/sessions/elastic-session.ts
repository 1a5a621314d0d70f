/** A model open with its adapter set, beside itself in full precision: switched, asked and measured. */
import { defaultCacheMemory } from '../execution/sample-store.js';
import { UserError } from '../errors.js';
import type { EvaluationHooks } from '../evaluation/rows.js';
import { quantizedBytes } from '../quantized/size.js';
import { layerNames, layerWeights, openPlainModel } from '../execution/model.js';
import { openElasticModel, widthsOf } from '../execution/quantized-model.js';
import { openAdapterSet, openSource, requireMatch } from '../methods/sets.js';
import { openCheckpoint } from '../models/checkpoint.js';
import { averageBits } from '../plans/totals.js';
import type { Prediction, PredictParams } from '../protocol/protocol.js';
import type { Programs } from '../runtime/programs.js';
import { taskOf } from '../tasks/registry.js';
import type { MeasuredRows } from '../tasks/task.js';

/** Hears what a model has gone on with, after each token. */
export type Heard = (of: 'plan' | 'full', text: string) => void;

export interface ElasticSession {
  /** Of the checkpoint. */
  readonly warnings: readonly string[];
  /** @param bits of each layer; resolves to how many layers had to change */
  use(bits: readonly number[]): Promise<number>;
  predict(
    input: PredictParams['input'],
    signal: AbortSignal,
    heard?: Heard,
  ): Promise<{ plan: Prediction; full: Prediction }>;
  /** The model at its present plan, and in full precision. */
  evaluate(data: string, limit: number | undefined, hooks: EvaluationHooks): Promise<MeasuredRows>;
  close(): Promise<void>;
}

/** At the highest bit-width to begin with. Throws UserError where the set is not the model's. */
export async function openElasticSession(
  programs: Programs,
  folder: string,
  adapters: string,
): Promise<ElasticSession> {
  const checkpoint = await openCheckpoint(folder);
  try {
    const task = taskOf(checkpoint);
    const set = await openAdapterSet(adapters);
    try {
      await requireMatch(checkpoint, set, adapters);
      const source = openSource(programs, checkpoint, set);
      const options = { oneByOne: task.name === 'text-generation' };
      const elastic = await openElasticModel(programs, source, defaultCacheMemory() / 2, options);
      const full = await openPlainModel(programs, checkpoint, options);
      const layers = layerNames(checkpoint);
      let bits: readonly number[] = layers.map(() => elastic.bits[0]!);
      await elastic.use(widthsOf(layers, bits));
      const predict = await task.predictor(programs, checkpoint);
      return {
        warnings: checkpoint.warnings,
        use: async (next) => {
          if (next.length !== layers.length)
            throw new UserError(`The model has ${layers.length} layers; bits were given for ${next.length}.`);
          const changed = await elastic.use(widthsOf(layers, next));
          bits = next;
          return changed;
        },
        predict: async (input, signal, heard) => ({
          plan: await predict(input, elastic, signal, (text) => heard?.('plan', text)),
          full: await predict(input, full, signal, (text) => heard?.('full', text)),
        }),
        evaluate: (data, limit, hooks) => {
          const widths = widthsOf(layers, bits);
          const plan = {
            ...{ label: 'plan', kind: 'adapters' as const, widths, model: elastic },
            bits: averageBits(layerWeights(checkpoint), bits),
            bytes: quantizedBytes(source, widths),
          };
          const from = { path: data, ...(limit !== undefined && { limit }) };
          return task.measure(programs, checkpoint, { full, plan }, from, hooks);
        },
        close: async () => {
          elastic.dispose();
          full.dispose();
          await set.close();
          await checkpoint.close();
        },
      };
    } catch (error) {
      await set.close();
      throw error;
    }
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
