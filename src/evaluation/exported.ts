/** Which rows of an evaluation can be exported. Knows no editor. */
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import { offeredBits, type AdapterSetEntry } from '../adapters/adapter-list.js';
import type { PlanFile } from '../plans/plan-files.js';

/** A row of a set at one of its bit-widths, or by a precision plan. */
export type ExportableRow = { readonly row: EvaluationRow } & (
  | {
      /** Folder of the set. */
      readonly adapters: string;
      readonly bits: number;
    }
  | {
      /** File of the plan. */
      readonly plan: string;
    }
);

/**
 * Rows of sets that are there, for the model as it is, at one bit-width or by a plan that names such a set. A row knows its set
 * and its plan by name alone.
 * @param entries the model's sets @param preferred folders: of two sets with one name the one that is among these is meant
 */
export function exportableRows(
  rows: readonly EvaluationRow[],
  entries: readonly AdapterSetEntry[],
  preferred: readonly string[],
  plans: readonly PlanFile[] = [],
): ExportableRow[] {
  const sets = entries
    .flatMap(({ set }) => (set.readable && set.matches ? [set] : []))
    .sort((a, b) => Number(preferred.includes(b.path)) - Number(preferred.includes(a.path)));
  return rows.flatMap((row): ExportableRow[] => {
    const { kind, label, bits } = row;
    if (kind !== 'adapters' || bits === 'fp') return [];
    const set = sets.find((one) => one.name === label && offeredBits(one).includes(bits));
    if (set) return [{ row, adapters: set.path, bits }];
    const plan = plans.find(({ name, paths: { adapters } }) => {
      const own = sets.find(({ path }) => path === adapters);
      // With the set's name where several were evaluated.
      return own && (label === name || label === `${name} (${own.name})`);
    });
    return plan ? [{ row, plan: plan.path }] : [];
  });
}
