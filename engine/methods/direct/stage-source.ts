/** The weights of a stage, as a set of them would have them. */
import { fixedBits, type ActivationForm, type QuantizedSource } from '../../execution/source.js';
import type { LinearEntry } from '../../models/listing.js';
import { blocksOf, type Part } from '../../models/model.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { GridWeight } from '../../quantized/weight.js';
import type { CalibrationContext } from '../method.js';
import { keptReader, type Stage } from './kept.js';
import { ownWidths, type DirectSettings } from './settings.js';
import { formAt, readWeight } from './stored.js';

/** Reads weights of a stage, and of the first those that it has not. */
export function stageReader(
  { checkpoint, progress }: CalibrationContext,
  settings: DirectSettings,
  stage: Stage,
): (part: Part, layer: LinearEntry, bits: number) => Promise<GridWeight> {
  const read = stageTensors({ checkpoint, progress }, settings, stage);
  return (part, layer, bits) => readWeight(settings, layer, bits, read(part, layer.name));
}

function stageTensors(
  { checkpoint, progress }: Pick<CalibrationContext, 'checkpoint' | 'progress'>,
  settings: DirectSettings,
  stage: Stage,
): ReturnType<typeof keptReader> {
  const own = new Set(ownWidths(settings));
  return keptReader(checkpoint.model, progress, (bits) => (own.has(bits) ? stage : 'once'));
}

export function stageSource(
  context: CalibrationContext,
  settings: DirectSettings,
  stage: Stage,
): QuantizedSource {
  const { checkpoint } = context;
  const { activations, kvBits, embeddingBits, headBits } = settings;
  const read = stageReader(context, settings, stage);
  const tensors = stageTensors(context, settings, stage);
  const blocks = blocksOf(checkpoint.model);
  const layers = new Map(
    blocks.flatMap((part) =>
      checkpoint.listing(part).linears.map((layer) => [part.prefix + layer.name, { part, layer }] as const),
    ),
  );
  const gridOf = async (owner: string, bits: number): Promise<ActivationForm> => {
    const part = blocks.find(({ prefix }) => owner.startsWith(prefix))!;
    const numbers = tensors(part, owner.slice(part.prefix.length));
    const [scale] = await numbers('act_scale', bits);
    const [zero] = await numbers('act_zero', bits);
    return { scale: scale!, zero: zero! };
  };
  return {
    offered: ownWidths(settings),
    checkpoint,
    cache: kvBits <= MAX_BITS ? kvBits : undefined,
    fixedBits: fixedBits(checkpoint.model, embeddingBits, headBits),
    form: (name, bits) => formAt(settings, layers.get(name)!.layer, bits),
    weight: (name, bits) => {
      const { part, layer } = layers.get(name)!;
      return read(part, layer, bits);
    },
    activation: (owner, bits) =>
      activations === 'static'
        ? gridOf(owner, bits)
        : Promise.resolve(activations === 'token' ? 'token' : undefined),
  };
}
