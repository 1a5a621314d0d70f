/** Of each bit-width the stage whose weights measured best on samples that none of them has seen. */
import { divergences } from '../../execution/divergences.js';
import { quantizedParts } from '../../execution/quantized-model.js';
import type { ModelInputs } from '../../execution/sample-store.js';
import type { CalibrationContext } from '../method.js';
import type { Stage } from './kept.js';
import { ownWidths, type DirectSettings } from './settings.js';
import { stageSource } from './stage-source.js';
import { batchOf } from '../walk.js';

/**
 * The divergence from full precision of each stage's weights, at every bit-width that several stages have; nothing is
 * measured where there is one.
 * @returns the best stage of each of these bit-widths
 */
export async function chooseStages(
  context: CalibrationContext,
  settings: DirectSettings,
  stages: readonly Stage[],
  inputs: ModelInputs,
  status: (done: number) => void,
): Promise<ReadonlyMap<number, Stage>> {
  const chosen = new Map<number, Stage>();
  if (stages.length === 1) return chosen;
  const { programs, checkpoint, cache, distance, hooks } = context;
  const widths = ownWidths(settings);
  const batch = batchOf(checkpoint.model, inputs.samples);
  const tried = widths.flatMap((bits) => stages.map((stage) => ({ bits, stage })));
  const costs = await divergences(
    programs,
    { checkpoint, inputs, batch, cache, distance },
    tried.map(({ bits, stage }) => quantizedParts(programs, stageSource(context, settings, stage), bits)),
    { signal: hooks.signal, status },
  );
  const least = new Map<number, number>();
  for (const [i, { bits, stage }] of tried.entries())
    if (!least.has(bits) || costs[i]! < least.get(bits)!) {
      least.set(bits, costs[i]!);
      chosen.set(bits, stage);
    }
  return chosen;
}
