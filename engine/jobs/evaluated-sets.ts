/** The adapter sets of an evaluation, and the bit-widths it has rows for. */
import { basename, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { bitsOf, openAdapterSet, type AdapterSource } from '../formats/adapter-set.js';
import { layerNames } from '../execution/model.js';
import { requireMatch } from '../execution/quantized-model.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { openPlan, type NamedPlan } from './plan-file.js';
import type { EvaluateRequest } from '../protocol/protocol.js';

export interface NamedSet {
  readonly label: string;
  readonly set: AdapterSource;
  readonly plans: readonly NamedPlan[];
}

/** Opens the sets; the caller closes them. Throws UserError for a set of another model, or one that lacks a bit-width asked for. */
export async function openAdapterSets(
  checkpoint: Checkpoint,
  { adapters = [], bits: asked = [], plans = [] }: EvaluateRequest,
): Promise<NamedSet[]> {
  const sets: { label: string; set: AdapterSource; plans: NamedPlan[] }[] = [];
  if (plans.length > 0 && adapters.length === 0)
    throw new UserError('A precision plan needs an adapter set: name it with --adapters.');
  try {
    for (const folder of adapters) {
      const set = await openAdapterSet(folder);
      const named = { label: basename(resolve(folder)), set, plans: [] as NamedPlan[] };
      sets.push(named);
      await requireMatch(checkpoint, set, folder);
      const own = bitsOf(set.config);
      const missing = asked.find((bits) => !own.includes(bits));
      if (missing !== undefined)
        throw new UserError(`${folder} has no ${missing}-bit setting; it has ${own.join(', ')}.`);
      for (const path of plans) named.plans.push(await openPlan(path, layerNames(checkpoint), own));
    }
    return sets;
  } catch (error) {
    await closeAdapterSets(sets);
    throw error;
  }
}

export async function closeAdapterSets(sets: readonly NamedSet[]): Promise<void> {
  for (const { set } of sets) await set.close();
}

/** The bit-widths asked for, or all of the adapter sets, from high to low. Throws UserError where baselines have none. */
export function widthsOf(
  { bits, plans = [], baseline = [] }: EvaluateRequest,
  sets: readonly NamedSet[],
): number[] {
  const asked = bits ?? (plans.length > 0 ? [] : sets).flatMap(({ set }) => bitsOf(set.config));
  const widths = [...new Set(asked)].sort((a, b) => b - a);
  if (baseline.length > 0 && widths.length === 0)
    throw new UserError('Say which bit-widths to evaluate, such as --bits 8,4.');
  if (baseline.length > 0 && baselineWidths(widths).length === 0)
    throw new UserError(
      `A baseline rounds to whole bits, and has nothing beside ${widths.join(', ')}; name some, such as --bits 8,4.`,
    );
  return widths;
}

/** Those of bit-widths that baselines have rows for: the ones that are whole. */
export const baselineWidths = (widths: readonly number[]): number[] => widths.filter(Number.isInteger);

/** A plan's name, with that of its set where there are several. */
export const planLabel = (set: string, plan: NamedPlan, sets: readonly NamedSet[]): string =>
  sets.length > 1 ? `${plan.label} (${set})` : plan.label;
