/** The adapter sets and baselines of an evaluation, and the bit-widths it has rows for. */
import { basename, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { quantizedParts, type Widths } from '../execution/quantized-model.js';
import { openAdapterSet, openSource, requireMatch, sizedModel, type AdapterSet } from '../methods/sets.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { EvaluateRequest, RowHead } from '../protocol/protocol.js';
import { quantizedBytes, storedAverage } from '../quantized/size.js';
import type { Programs } from '../runtime/programs.js';
import { openPlan, type NamedPlan } from './plan-file.js';
import type { TextCandidate } from './rows.js';

export interface NamedSet {
  readonly label: string;
  readonly kind: Exclude<RowHead['kind'], 'full'>;
  readonly set: AdapterSet;
  readonly plans: readonly NamedPlan[];
}

/** Opens the sets; the caller closes them. Throws UserError for a set of another model or without any of the bit-widths asked for, and for one that none has. */
export async function openAdapterSets(checkpoint: Checkpoint, request: EvaluateRequest): Promise<NamedSet[]> {
  const { adapters = [], exports = [] } = request;
  const asked = [...(request.bits ?? []), ...exports.flatMap(({ bits }) => bits ?? [])];
  const plans = plansOf(request);
  const sets: NamedSet[] = [];
  if (plans.length > 0 && adapters.length === 0)
    throw new UserError('A precision plan needs an adapter set: name it with --adapters.');
  try {
    for (const folder of adapters) {
      const set = await openAdapterSet(folder);
      const opened: NamedPlan[] = [];
      sets.push({ label: basename(resolve(folder)), kind: 'adapters', set, plans: opened });
      await requireMatch(checkpoint, set, folder);
      const { offered } = set.config;
      if (asked.length > 0 && !asked.some((bits) => offered.includes(bits)))
        throw new UserError(`${folder} has no ${asked[0]}-bit setting; it has ${offered.join(', ')}.`);
      for (const { path, tie } of plans) opened.push(await openPlan(path, checkpoint, offered, tie));
    }
    const missing = asked.find((bits) => !sets.some(({ set }) => set.config.offered.includes(bits)));
    if (missing !== undefined && sets.length > 0) throw new UserError(noneHas(missing, sets));
    return sets;
  } catch (error) {
    await closeAdapterSets(sets);
    throw error;
  }
}

function noneHas(bits: number, sets: readonly NamedSet[]): string {
  const offered = [...new Set(sets.flatMap(({ set }) => set.config.offered))].sort((a, b) => b - a);
  const who = sets.length === 1 ? `${sets[0]!.label} has no` : 'No adapter set has a';
  return `${who} ${bits}-bit setting; ${sets.length === 1 ? 'it has' : 'they have'} ${offered.join(', ')}.`;
}

export async function closeAdapterSets(sets: readonly NamedSet[]): Promise<void> {
  for (const { set } of sets) await set.close();
}

/** The plans asked for, and those of exports, each once. */
function plansOf({ plans = [], exports = [] }: EvaluateRequest): Pick<NamedPlan, 'path' | 'tie'>[] {
  const all = [
    ...plans.map((path) => ({ path, tie: false })),
    ...exports.flatMap(({ plan, tie = false }) => (plan === undefined ? [] : [{ path: plan, tie }])),
  ];
  return all.filter((one, i) => all.findIndex(({ path, tie }) => path === one.path && tie === one.tie) === i);
}

/** The bit-widths asked for and those of exports, or all of the adapter sets, from high to low. Throws UserError where baselines have none. */
export function widthsOf(
  { bits, plans = [], baseline = [], exports = [] }: EvaluateRequest,
  sets: readonly NamedSet[],
): number[] {
  const named = plans.length > 0 || exports.length > 0;
  const asked = bits ?? (named ? [] : sets).flatMap(({ set }) => set.config.offered);
  const verified = exports.flatMap((one) => one.bits ?? []);
  const widths = [...new Set([...asked, ...verified])].sort((a, b) => b - a);
  if (widths.length > 0 && sets.length === 0 && baseline.length === 0)
    throw new UserError(
      `Nothing is quantized to ${widths.join(', ')} bits: name an adapter set with --adapters, or a method to compare with, such as --baseline rounding.`,
    );
  if (baseline.length > 0 && widths.length === 0)
    throw new UserError('Say which bit-widths to evaluate, such as --bits 8,4.');
  if (baseline.length > 0 && baselineWidths(widths).length === 0)
    throw new UserError(
      `A baseline rounds to whole bits, and has nothing beside ${widths.join(', ')}; name some, such as --bits 8,4.`,
    );
  return widths;
}

/** Those of bit-widths that baselines may have rows for: the ones that are whole; each has those of them that it takes. */
export const baselineWidths = (widths: readonly number[]): number[] => widths.filter(Number.isInteger);

/** A row to be: what it says of its model, and the bits of the layers. */
export interface SetRow {
  readonly head: RowHead & { readonly bits: number };
  readonly widths: Widths;
}

/** The rows of a set: its bit-widths among those of the evaluation, from high to low, then its plans. */
export function rowsOf(
  checkpoint: Checkpoint,
  { label, kind, set, plans }: NamedSet,
  sets: readonly NamedSet[],
  widths: readonly number[],
): SetRow[] {
  const sized = sizedModel(checkpoint, set.config);
  const method = set.config.method.name;
  const row = (name: string, bits: number, own: Widths): SetRow => ({
    head: {
      ...{ label: name, kind, method, bits },
      averageBits: storedAverage(sized, own),
      bytes: quantizedBytes(sized, own),
    },
    widths: own,
  });
  const named = sets.filter((other) => other.kind === 'adapters').length > 1;
  return [
    ...widths.filter((bits) => set.config.offered.includes(bits)).map((bits) => row(label, bits, bits)),
    ...plans.map((plan) => row(named ? `${plan.label} (${label})` : plan.label, plan.bits, plan.widths)),
  ];
}

/** A row of a language model, to be run part by part. */
export const textCandidate = (
  programs: Programs,
  { set }: NamedSet,
  { head, widths }: SetRow,
): TextCandidate => ({
  ...head,
  build: (built) => {
    const source = openSource(programs, built, set);
    return { model: source.checkpoint.model, open: quantizedParts(programs, source, widths) };
  },
});
