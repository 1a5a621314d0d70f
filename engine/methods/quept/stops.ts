/**
 * When learning stops (docs/METHOD.md, section 4): groups that train the same directions stop together, once their loss on
 * samples that nothing is trained on has stopped falling, and keep the values with which it was least, their start included.
 * They stop from high to low bits, since low groups use what high ones have learned: the loss of a group counts from when
 * everything that it uses stands still.
 */
import type { AdapterLayout } from './adapters.js';
import type { FlatState } from './state.js';
import { isApart, type Apart } from './step.js';

/** Epochs without a smaller loss after which learning stops (docs/METHOD.md, section 4). */
const PATIENCE = 2;

/** Groups that stop together, and the directions that they train: from, and to before. */
export interface Unit {
  readonly groups: readonly number[];
  readonly from: number;
  readonly to: number;
}

export function unitsOf({ groups }: Pick<AdapterLayout, 'groups'>, apart: Apart): Unit[] {
  const units: { groups: number[]; from: number; to: number }[] = [];
  for (const [g, { rank }] of groups.entries()) {
    const last = units.at(-1);
    if (!last || isApart(apart, g, groups.length)) units.push({ groups: [g], from: last?.to ?? 0, to: rank });
    else {
      last.groups.push(g);
      last.to = rank;
    }
  }
  return units;
}

/** Of the elements of `lora`, 1 for those of the directions that are trained after the first `from`, 0 for others. */
export function trainedFrom({ layers, rank }: AdapterLayout, from: number): Float32Array {
  const marks: Float32Array[] = [];
  for (const { in: columns, out } of layers) {
    marks.push(Float32Array.from({ length: rank * columns }, (_, i) => Number(i >= from * columns)));
    marks.push(Float32Array.from({ length: out * rank }, (_, i) => Number(i % rank >= from)));
  }
  const all = new Float32Array(marks.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const mark of marks) {
    all.set(mark, at);
    at += mark.length;
  }
  return all;
}

/** What a calibration that goes on has to know. */
export interface StopState {
  /** Units that have stopped. */
  readonly stopped: number;
  /** Epochs since the loss was least. */
  readonly waited: number;
  /** Of the next unit, where its loss counts already. */
  readonly best?: { readonly score: number; readonly state: FlatState } | undefined;
}

export interface Stops {
  /** The groups that still learn, from high to low; none when all have stopped. */
  live(): readonly number[];
  /** The first direction that is still trained. */
  firstDirection(): number;
  /** @returns the state to go on with: as it was, or with the best values of what has stopped */
  afterEpoch(state: FlatState): Promise<FlatState>;
  /** @returns the state with the best values of everything */
  atEnd(state: FlatState): Promise<FlatState>;
  snapshot(): StopState;
}

/** @param measure how bad groups are on the samples held out, smaller being better */
export function stopsOf(
  layout: AdapterLayout,
  apart: Apart,
  start: FlatState,
  measure: (state: FlatState, groups: readonly number[]) => Promise<number>,
  from: StopState = { stopped: 0, waited: 0 },
): Stops {
  const units = unitsOf(layout, apart);
  let { stopped, waited, best } = from;

  /** Whether the state is the best so far of the unit. */
  const look = async (whole: FlatState, unit: Unit) => {
    const state = new Map([...whole].filter(([name]) => start.has(name)));
    if (!best) {
      const begun = withValues(layout, state, unit, start);
      best = { score: await measure(begun, unit.groups), state: begun };
      waited = 0;
    }
    const score = await measure(state, unit.groups);
    if (score < best.score) [best, waited] = [{ score, state }, 0];
    else waited++;
  };
  const settle = (state: FlatState, unit: Unit): FlatState => {
    const settled = withValues(layout, state, unit, best!.state);
    [stopped, waited, best] = [stopped + 1, 0, undefined];
    return settled;
  };

  return {
    live: () => units.slice(stopped).flatMap(({ groups }) => groups),
    firstDirection: () => units[stopped]?.from ?? layout.rank,
    afterEpoch: async (state) => {
      let next = state;
      for (let unit = units[stopped]; unit; unit = units[stopped]) {
        await look(next, unit);
        if (waited < PATIENCE) break;
        next = settle(next, unit);
      }
      return next;
    },
    atEnd: async (state) => {
      let next = state;
      for (let unit = units[stopped]; unit; unit = units[stopped]) {
        if (!best) await look(next, unit);
        next = settle(next, unit);
      }
      return next;
    },
    snapshot: () => ({ stopped, waited, best }),
  };
}

/** The state with a unit's values from another: its groups' clip logits and scales, and the directions that they train. */
function withValues(layout: AdapterLayout, state: FlatState, unit: Unit, from: FlatState): FlatState {
  const next: FlatState = new Map(state);
  for (const g of unit.groups)
    for (const name of [`clip.${g}`, `scale.${g}`]) if (from.has(name)) next.set(name, from.get(name)!);
  const [lora, other] = [state.get('lora'), from.get('lora')];
  if (!lora || !other) return next;
  const [own, below] = [trainedFrom(layout, unit.from), trainedFrom(layout, unit.to)];
  next.set(
    'lora',
    lora.map((x, i) => (own[i] === 1 && below[i] === 0 ? other[i]! : x)),
  );
  return next;
}
