/** Which rows of an evaluation can be exported. Knows no editor. */
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import { offeredBits, type AdapterSetEntry } from '../adapters/adapter-list.js';

export interface ExportableRow {
  readonly row: EvaluationRow;
  /** Folder of the set. */
  readonly adapters: string;
  readonly bits: number;
}

/**
 * Rows of sets that are there, for the model as it is, at one bit-width. A row knows its set by name alone.
 * @param entries the model's sets @param preferred folders: of two sets with one name the one that is among these is meant
 */
export function exportableRows(
  rows: readonly EvaluationRow[],
  entries: readonly AdapterSetEntry[],
  preferred: readonly string[],
): ExportableRow[] {
  const sets = entries
    .flatMap(({ set }) => (set.readable && set.matches ? [set] : []))
    .sort((a, b) => Number(preferred.includes(b.path)) - Number(preferred.includes(a.path)));
  return rows.flatMap((row) => {
    const { kind, label, bits } = row;
    if (kind !== 'adapters' || bits === 'fp') return [];
    const set = sets.find((one) => one.name === label && offeredBits(one).includes(bits));
    return set ? [{ row, adapters: set.path, bits }] : [];
  });
}
