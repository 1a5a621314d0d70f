/** The adapter sets of an evaluation, and the bit-widths it has rows for. */
import { basename, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { bitsOf, openAdapterSet, type AdapterSource } from '../formats/adapter-set.js';
import { requireMatch } from '../methods/quept/elastic-model.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { EvaluateRequest } from './requests.js';

export interface NamedSet {
  readonly label: string;
  readonly set: AdapterSource;
}

/** Opens the sets; the caller closes them. Throws UserError for a set of another model, or one that lacks a bit-width asked for. */
export async function openAdapterSets(
  checkpoint: Checkpoint,
  { adapters = [], bits: asked = [] }: EvaluateRequest,
): Promise<NamedSet[]> {
  const sets: NamedSet[] = [];
  try {
    for (const folder of adapters) {
      const set = await openAdapterSet(folder);
      sets.push({ label: basename(resolve(folder)), set });
      await requireMatch(checkpoint, set, folder);
      const own = bitsOf(set.config);
      const missing = asked.find((bits) => !own.includes(bits));
      if (missing !== undefined)
        throw new UserError(`${folder} has no ${missing}-bit setting; it has ${own.join(', ')}.`);
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
export function widthsOf({ bits, baseline = [] }: EvaluateRequest, sets: readonly NamedSet[]): number[] {
  const asked = bits ?? sets.flatMap(({ set }) => bitsOf(set.config));
  const widths = [...new Set(asked)].sort((a, b) => b - a);
  if (baseline.length > 0 && widths.length === 0)
    throw new UserError('Say which bit-widths to evaluate, such as --bits 8,4.');
  return widths;
}
