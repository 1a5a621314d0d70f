/** What the page knows, and how messages and the person change it. No DOM. */
import { priceIndex } from '../../engine/plans/totals.js';
import { bestWithin } from './frontier.js';
import { heatOf, type Heat } from './heat.js';
import type { FrontierPoint, Live, Shown, ShowMeasuring, ShowTable, ShowTried, Table } from './protocol.js';
import { layersOf, linesOf, type Line, type Order } from './rows.js';
import { NOTHING, selectedLines, selectOne, type Meaning, type Selection } from './selection.js';

export interface State {
  readonly shown: ShowTable;
  readonly heat: Heat;
  /** By layer; empty before the first plan. */
  readonly bits: readonly number[];
  /** Edits were asked for that the text does not have yet. */
  readonly pending: boolean;
  /** While the budget is dragged: the plan that letting go would make. */
  readonly preview: readonly number[] | undefined;
  readonly broken: string | undefined;
  readonly problems: readonly string[];
  readonly compared: { readonly name: string; readonly bits: readonly number[] } | undefined;
  /** What measures the layers now, or will. */
  readonly measuring: ShowMeasuring['job'];
  readonly live: Live;
  readonly tried: Omit<ShowTried, 'type'> | undefined;
  readonly filter: string;
  readonly order: Order;
  readonly pinned: ReadonlySet<number>;
  readonly selection: Selection;
  readonly lines: readonly Line[];
  readonly frontier: readonly FrontierPoint[];
}

const CLOSED: Live = { state: 'closed', keep: false, measured: [] };

export function receive(state: State | undefined, message: Shown): State | undefined {
  if (message.type === 'table') {
    const same = state && sameLayers(state.shown.table, message.table);
    const base = same
      ? state
      : {
          ...EMPTY,
          measuring: state?.measuring,
          live: state?.live ?? CLOSED,
          pinned: pinsOf(message.table, message.pinned),
        };
    return withLines({
      ...base,
      shown: message,
      heat: heatOf(message.table?.sensitivity?.costs ?? []),
      frontier: [],
    });
  }
  if (!state) return undefined;
  switch (message.type) {
    case 'plan':
      return withLines({
        ...state,
        bits: message.bits,
        preview: undefined,
        pending: false,
        broken: message.broken,
        problems: message.problems,
      });
    case 'comparison':
      return { ...state, compared: message.other };
    case 'measuring':
      return { ...state, measuring: message.job };
    case 'live':
      return { ...state, live: message.live };
    case 'tried':
      return { ...state, tried: message };
  }
}

const EMPTY: Omit<State, 'shown' | 'heat'> = {
  bits: [],
  preview: undefined,
  pending: false,
  broken: undefined,
  problems: [],
  compared: undefined,
  measuring: undefined,
  live: CLOSED,
  tried: undefined,
  filter: '',
  order: 'model',
  pinned: new Set(),
  selection: NOTHING,
  lines: [],
  frontier: [],
};

const pinsOf = (table: Table | undefined, names: readonly string[]): ReadonlySet<number> =>
  new Set((table?.layers ?? []).flatMap(({ name }, i) => (names.includes(name) ? [i] : [])));

const sameLayers = (a: Table | undefined, b: Table | undefined): boolean =>
  a !== undefined &&
  a.layers.length === b?.layers.length &&
  a.layers.every(({ name }, i) => name === b.layers[i]!.name);

/** Filter, order and pins decide the lines; the layers that were selected stay so. */
export function withLines(state: State): State {
  const { table } = state.shown;
  if (!table || state.bits.length !== table.layers.length) return { ...state, lines: [] };
  const lines = linesOf(table, state.bits, state);
  const key = (line: Line | undefined) => (line?.kind === 'layer' ? line.layer : line?.block);
  if (lines.length === state.lines.length && lines.every((line, i) => key(line) === key(state.lines[i])))
    return { ...state, lines };
  const places = new Map(lines.map((line, i) => [key(line), i]));
  const moved = (i: number) => places.get(key(state.lines[i]));
  const active = moved(state.selection.active) ?? 0;
  const kept = [...state.selection.lines].flatMap((i) => moved(i) ?? []);
  const anchor = moved(state.selection.anchor) ?? active;
  return { ...state, lines, selection: { active, anchor, lines: new Set(kept) } };
}

export const shownBits = ({ preview, bits }: State): readonly number[] => preview ?? bits;

/** The layers of all selected lines, in the order of the lines, each once. */
export const selectedLayers = ({ lines, selection }: State): number[] => [
  ...new Set(selectedLines(selection).flatMap((i) => layersOf(lines[i]))),
];

export type Changes = readonly (readonly [layer: number, bits: number])[];

/** What a key or a cell makes of the plan; no changes where it is so already. */
export function changesOf(state: State, meaning: Meaning): Changes {
  const { table } = state.shown;
  if (!table || state.broken !== undefined) return [];
  const layers = selectedLayers(state);
  switch (meaning.kind) {
    case 'bits':
      return changesTo(state, table, layers, () => meaning.bits);
    case 'digit': {
      const bits = bitsOfDigit(state, table, layers, meaning.digit);
      return bits === undefined ? [] : changesTo(state, table, layers, () => bits);
    }
    case 'step':
      return changesTo(state, table, layers, (i) => {
        const at = priceIndex(table.bits, state.bits[i]!) + meaning.by;
        return table.bits[Math.max(0, Math.min(table.bits.length - 1, at))]!;
      });
    case 'fill':
      return changesTo(state, table, layers, () => state.bits[layers[0]!]!);
    case 'pin':
    case 'select':
      return [];
  }
}

/** The offered bit-width with this whole part; of several the next one, where all of the layers have one of them. */
function bitsOfDigit(
  { bits }: State,
  table: Table,
  layers: readonly number[],
  digit: number,
): number | undefined {
  const meant = table.bits.filter((width) => Math.floor(width) === digit);
  const now = bits[layers[0]!]!;
  const isAgain = layers.every((i) => bits[i] === now);
  return meant[isAgain ? (meant.indexOf(now) + 1) % meant.length : 0];
}

function changesTo(
  state: State,
  table: Table,
  layers: readonly number[],
  wanted: (layer: number) => number,
): Changes {
  const changed = new Map<number, number>();
  for (const i of layers) {
    const bits = wanted(i);
    if (table.bits.includes(bits)) changed.set(i, bits);
  }
  return [...changed].filter(([i, bits]) => state.bits[i] !== bits);
}

/** A cell was pressed: it counts for the whole selection where its line is part of it, else for its line alone. */
export const pressed = (state: State, line: number): State =>
  state.selection.lines.has(line) ? state : { ...state, selection: selectOne(line) };

export function togglePins(state: State, layers: readonly number[]): State {
  const pinned = new Set(state.pinned);
  const on = layers.some((i) => !pinned.has(i));
  for (const i of layers)
    if (on) pinned.add(i);
    else pinned.delete(i);
  return withLines({ ...state, pinned });
}

/** The allocator's plan at this size. */
export function suggestionAt({ frontier }: State, bytes: number): FrontierPoint | undefined {
  return frontier.length > 0 ? frontier[bestWithin(frontier, bytes)] : undefined;
}
