/** A precision plan's text together with its model's table: bits of the layers, problems, and edits. Knows no editor. */
import { editPlan, editWholePlan, type TextEdit } from '../../engine/plans/edit.js';
import { parsePlan, resolvePlan, type PlanProblem, type PrecisionPlan } from '../../engine/plans/plan.js';
import { priceIndex, totalsOf, type Totals } from '../../engine/plans/totals.js';
import type { PrecisionTable } from '../../engine/protocol/protocol.js';

export interface PlanState {
  readonly text: string;
  /** Of the last text that was a plan. */
  readonly plan: PrecisionPlan | undefined;
  /** Of each layer, by that plan; empty without a table. */
  readonly bits: readonly number[];
  /** Why the text is not a plan now. */
  readonly broken: string | undefined;
  /** Of a text that is not a plan, the one reason; else what the table says against it. */
  readonly problems: readonly PlanProblem[];
}

/** What layers are shown at before there was a plan: the offered bit-width next to it. */
const UNKNOWN_BITS = 4;

/** @param before the state that the text was in, whose plan stays while this text is not one */
export function readDocument(text: string, table: PrecisionTable | undefined, before?: PlanState): PlanState {
  const reading = parsePlan(text);
  const plan = reading.plan ?? before?.plan;
  const names = table?.layers.map(({ name }) => name) ?? [];
  const resolved = table && plan && resolvePlan(plan, names, table.bits, reading.plan && reading.places);
  const unknown = table?.bits[priceIndex(table.bits, UNKNOWN_BITS)] ?? UNKNOWN_BITS;
  return {
    text,
    plan,
    bits: resolved?.bits ?? names.map(() => unknown),
    broken: reading.plan ? undefined : (reading.problems[0]?.message ?? ''),
    problems: reading.plan ? (resolved?.problems ?? []) : reading.problems,
  };
}

export function totalsOfPlan({ bits, plan, broken }: PlanState, table: PrecisionTable): Totals | undefined {
  return plan && broken === undefined ? totalsOf(table, bits) : undefined;
}

/** Edits that give layers, by index, their bits. */
export function editsOfChanges(
  text: string,
  table: PrecisionTable,
  changes: readonly (readonly [layer: number, bits: number])[],
): TextEdit[] {
  const names = table.layers.map(({ name }) => name);
  const wanted = changes.flatMap(([i, bits]): [string, number][] => {
    const name = names[i];
    return name !== undefined && table.bits.includes(bits) ? [[name, bits]] : [];
  });
  return editPlan(text, new Map(wanted), names);
}

/** Edits that give every layer its bits; none where there are not offered ones for each. */
export function editsOfBits(text: string, table: PrecisionTable, bits: readonly number[]): TextEdit[] {
  if (bits.length !== table.layers.length || !bits.every((width) => table.bits.includes(width))) return [];
  return editWholePlan(
    text,
    bits,
    table.layers.map(({ name }) => name),
  );
}

/** The text of a new plan. Paths are relative to its folder, with slashes. */
export const newPlanText = (
  paths: { readonly model: string; readonly adapters?: string },
  bits: number,
): string => `${JSON.stringify({ ...paths, default: bits, layers: {} }, undefined, 2)}\n`;
