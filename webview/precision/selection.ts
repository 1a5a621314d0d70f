/** Which lines are selected, and what a key means. No DOM. */

/** Positions are indices of lines. */
export interface Selection {
  /** The line that has the focus. */
  readonly active: number;
  /** Where a range begins. */
  readonly anchor: number;
  readonly lines: ReadonlySet<number>;
}

export const NOTHING: Selection = { active: 0, anchor: 0, lines: new Set() };

export const selectOne = (line: number): Selection => ({
  active: line,
  anchor: line,
  lines: new Set([line]),
});

export const extendTo = ({ anchor }: Selection, line: number): Selection => {
  const [from, to] = anchor < line ? [anchor, line] : [line, anchor];
  return { active: line, anchor, lines: new Set(Array.from({ length: to - from + 1 }, (_, i) => from + i)) };
};

export function toggle({ lines }: Selection, line: number): Selection {
  const next = new Set(lines);
  if (!next.delete(line)) next.add(line);
  return { active: line, anchor: line, lines: next };
}

export const selectAll = ({ active }: Selection, count: number): Selection => ({
  active,
  anchor: 0,
  lines: new Set(Array.from({ length: count }, (_, i) => i)),
});

/** A pointer's choice. */
export function pick(
  now: Selection,
  line: number,
  keys: { readonly shift: boolean; readonly ctrl: boolean },
) {
  if (keys.shift) return extendTo(now, line);
  return keys.ctrl ? toggle(now, line) : selectOne(line);
}

export interface Key {
  readonly key: string;
  readonly shift: boolean;
  /** Control, or Command on a Mac. */
  readonly ctrl: boolean;
}

export type Meaning =
  | { readonly kind: 'select'; readonly selection: Selection }
  | { readonly kind: 'bits'; readonly bits: number }
  /** The offered bit-widths whose whole part it is, one after another. */
  | { readonly kind: 'digit'; readonly digit: number }
  /** One offered width up or down. */
  | { readonly kind: 'step'; readonly by: 1 | -1 }
  | { readonly kind: 'fill' }
  | { readonly kind: 'pin' };

/** What a key does to `count` lines of which `page` are in view; undefined where it does nothing here. */
export function meaningOf(
  now: Selection,
  { key, shift, ctrl }: Key,
  count: number,
  page: number,
): Meaning | undefined {
  const move = (to: number): Meaning => {
    const line = Math.max(0, Math.min(count - 1, to));
    const moved = { ...now, active: line };
    return { kind: 'select', selection: shift ? extendTo(now, line) : ctrl ? moved : selectOne(line) };
  };
  if (count === 0) return undefined;
  switch (key) {
    case 'ArrowDown':
      return move(now.active + 1);
    case 'ArrowUp':
      return move(now.active - 1);
    case 'PageDown':
      return move(now.active + page);
    case 'PageUp':
      return move(now.active - page);
    case 'Home':
      return move(0);
    case 'End':
      return move(count - 1);
    case 'ArrowRight':
      return { kind: 'step', by: 1 };
    case 'ArrowLeft':
      return { kind: 'step', by: -1 };
    case 'Enter':
      return { kind: 'fill' };
    case ' ':
      return { kind: 'select', selection: ctrl ? toggle(now, now.active) : selectOne(now.active) };
    case 'Escape':
      return { kind: 'select', selection: selectOne(now.active) };
  }
  if (ctrl) {
    if (key.toLowerCase() === 'a') return { kind: 'select', selection: selectAll(now, count) };
    return key.toLowerCase() === 'd' ? { kind: 'fill' } : undefined;
  }
  if (/^[1-9]$/.test(key)) return { kind: 'digit', digit: Number(key) };
  return key.toLowerCase() === 'p' ? { kind: 'pin' } : undefined;
}

/** The selected lines from top to bottom, and the active one alone where none is. */
export const selectedLines = ({ lines, active }: Selection): number[] =>
  lines.size > 0 ? [...lines].sort((a, b) => a - b) : [active];
