/** What the page knows, and how messages and the person change it. No DOM. */
import type { Sorting } from '../common/controls.js';
import { referencesOf, type Reference } from './differences.js';
import { metricsOf, type Metric } from './metrics.js';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import type {
  Choices,
  PlanChoice,
  Progress,
  SetChoice,
  Setup,
  Show,
  StringKey,
  Strings,
  View,
} from './protocol.js';
import { rowKey } from './series.js';
import { INITIAL } from './table.js';

export interface State {
  readonly view: View;
  readonly strings: Strings;
  /** What the form says, sent only by *Evaluate*. */
  readonly form: Setup | undefined;
  readonly sorting: Sorting;
  /** The person's choice; undefined while it is the task's main one. */
  readonly metric: Metric['key'] | undefined;
  /** What the table's rows are held against, by its key; undefined for full precision. */
  readonly reference: string | undefined;
}

export function receive(state: State | undefined, message: Show | Progress): State | undefined {
  switch (message.type) {
    case 'show':
      return {
        view: message.view,
        strings: message.strings,
        form: message.view.setup,
        sorting: state?.sorting ?? INITIAL,
        metric: state?.metric,
        reference: state?.reference,
      };
    case 'progress':
      return state && { ...state, view: { ...state.view, run: message.run } };
  }
}

/** Whether the result is shown, and not a run: one that goes on, or ended early but has rows. */
export const showsResult = (view: View): boolean =>
  view.result !== undefined && (view.run === undefined || (!isActive(view) && view.run.rows.length === 0));

export const shownRows = (view: View): readonly EvaluationRow[] =>
  (showsResult(view) ? view.result : view.run)?.rows ?? [];

export const isActive = ({ run }: View): boolean => run?.state === 'queued' || run?.state === 'running';

/** Rows that a run has gone on from, now but not before: their scores are worth saying. */
export function settledRows(
  before: readonly EvaluationRow[],
  after: readonly EvaluationRow[],
): EvaluationRow[] {
  const known = new Set(before.slice(0, -1).map(rowKey));
  return after.slice(0, -1).filter((row) => !known.has(rowKey(row)));
}

export function currentMetric({ view, metric }: State): Metric | undefined {
  const metrics = metricsOf(shownRows(view), view.result?.task ?? view.model.task);
  return metrics.find(({ key }) => key === metric) ?? metrics[0];
}

/** What the table's rows are held against; undefined for full precision. */
export const currentReference = ({ view, reference }: State): Reference | undefined =>
  referencesOf(shownRows(view)).find(({ key }) => key === reference);

export const chosenSets = (form: Setup): SetChoice[] => form.sets.filter((set) => set.chosen && !set.problem);

/** Bit-widths that any set has, high to low. */
export const offeredBits = ({ sets }: Setup): number[] =>
  [...new Set(sets.flatMap((set) => (set.problem ? [] : set.bits)))].sort((a, b) => b - a);

/** Those that a chosen set has; without one, all. Every set is run at its own. */
export function availableBits(form: Setup): number[] {
  const sets = chosenSets(form);
  return offeredBits(form).filter((bits) => sets.length === 0 || sets.some((set) => set.bits.includes(bits)));
}

/** All bit-widths of a set that is chosen are, too, where none of them was. */
export function chooseSet(form: Setup, id: string, chosen: boolean): Setup {
  const next: Setup = {
    ...form,
    sets: form.sets.map((set) => (set.id === id ? { ...set, chosen } : set)),
  };
  const { bits } = next.sets.find((set) => set.id === id)!;
  if (!chosen || bits.some((width) => form.bits.includes(width))) return next;
  return bits.reduce((all, width) => chooseBits(all, width, true), next);
}

export const chooseBaseline = (form: Setup, name: string, chosen: boolean): Setup => ({
  ...form,
  baselines: form.baselines.map((one) => (one.name === name ? { ...one, chosen } : one)),
});

export const choosePlan = (form: Setup, id: string, chosen: boolean): Setup => ({
  ...form,
  plans: form.plans.map((plan) => (plan.id === id ? { ...plan, chosen } : plan)),
});

/** Plans that can be run: those that name no set, or one that is chosen. */
export function runnablePlans(form: Setup): PlanChoice[] {
  const sets = chosenSets(form).map(({ id }) => id);
  return form.plans.filter(({ set }) => set === undefined || sets.includes(set));
}

const wantedPlans = (form: Setup): string[] =>
  runnablePlans(form).flatMap(({ id, chosen }) => (chosen ? [id] : []));

/** Whether a chosen baseline is calibrated on data that has to be named. */
export const needsBaselineData = ({ baselines }: Setup): boolean =>
  baselines.some(({ chosen, needsData }) => chosen && needsData);

const chosenBaselines = ({ baselines }: Setup): string[] =>
  baselines.flatMap(({ name, chosen }) => (chosen ? [name] : []));

export const chooseBits = (form: Setup, bits: number, chosen: boolean): Setup => ({
  ...form,
  bits: [...form.bits.filter((other) => other !== bits), ...(chosen ? [bits] : [])].sort((a, b) => b - a),
});

/** What still keeps the form from being sent. */
export function missing(form: Setup): StringKey | undefined {
  if (chosenSets(form).length === 0) return 'needSets';
  if (form.data === undefined) return 'needData';
  if (wantedPlans(form).length === 0 && !chosenSets(form).every((set) => hasWanted(form, set)))
    return 'needBits';
  if (needsBaselineData(form) && form.baselineData === undefined) return 'needBaselineData';
  if (Number.isNaN(form.limit)) return 'samplesInvalid';
  if (Number.isNaN(form.length)) return 'lengthInvalid';
  return undefined;
}

const hasWanted = (form: Setup, { bits }: SetChoice): boolean =>
  wantedBits(form).some((width) => bits.includes(width));

const wantedBits = (form: Setup): number[] => availableBits(form).filter((bits) => form.bits.includes(bits));

/** What is to be evaluated. */
export const choicesOf = (form: Setup): Choices => ({
  sets: chosenSets(form).map(({ id }) => id),
  bits: wantedBits(form),
  plans: wantedPlans(form),
  baselines: chosenBaselines(form),
  ...(form.limit !== undefined && { limit: form.limit }),
  ...(form.length !== undefined && { length: form.length }),
});

/** What the form says, also where it cannot be evaluated yet. */
export const draftOf = (form: Setup): Choices => ({
  sets: form.sets.filter((set) => set.chosen).map(({ id }) => id),
  bits: form.bits,
  plans: form.plans.filter((plan) => plan.chosen).map(({ id }) => id),
  baselines: chosenBaselines(form),
  ...(form.limit !== undefined && !Number.isNaN(form.limit) && { limit: form.limit }),
  ...(form.length !== undefined && !Number.isNaN(form.length) && { length: form.length }),
});
