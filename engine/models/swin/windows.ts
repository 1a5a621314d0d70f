/** Windows over the patches of a picture, shifted in every other block (Liu et al. 2021, section 3.2). */
import type { Graph, Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { lazyConstant } from '../constants.js';
import type { Grid } from '../vision/patches.js';

export interface Windows {
  readonly grid: Grid;
  /** Patches on a window's side. */
  readonly side: number;
  /** Patches by which windows are moved down and right; 0 or half of the side. */
  readonly shift: number;
}

/** The grid with what fills up its last windows. */
export const paddedGrid = ({ grid, side }: Windows): Grid => ({
  rows: Math.ceil(grid.rows / side) * side,
  columns: Math.ceil(grid.columns / side) * side,
});

/** Whether windows reach beyond the grid. */
export function isPadded(windows: Windows): boolean {
  const { rows, columns } = paddedGrid(windows);
  return rows !== windows.grid.rows || columns !== windows.grid.columns;
}

/** Windows of a picture. */
export const countOf = (windows: Windows): number => {
  const { rows, columns } = paddedGrid(windows);
  return (rows / windows.side) * (columns / windows.side);
};

/**
 * Patches in the order of the grid → in that of the windows, with zeros where these reach beyond it: the grid is filled up first, and
 * moved then, as transformers does it. [batch·patches, features] → [batch·windows·side², features]
 */
export function intoWindows(x: Value, windows: Windows, batch: number): Value {
  const { grid, side, shift } = windows;
  const { rows, columns } = paddedGrid(windows);
  const features = x.shape[1]!;
  const square = op.reshape(x, [batch, grid.rows, grid.columns, features]);
  const full = op.pad(op.pad(square, 1, 0, rows - grid.rows), 2, 0, columns - grid.columns);
  const moved = [1, 2].reduce((value, axis) => rolled(value, axis, shift), full);
  const cut = op.reshape(moved, [batch, rows / side, side, columns / side, side, features]);
  return op.reshape(op.transpose(cut, [0, 1, 3, 2, 4, 5]), [batch * rows * columns, features]);
}

/** The way back, without what filled up the windows. */
export function fromWindows(x: Value, windows: Windows, batch: number): Value {
  const { grid, side, shift } = windows;
  const { rows, columns } = paddedGrid(windows);
  const features = x.shape[1]!;
  const cut = op.reshape(x, [batch, rows / side, columns / side, side, side, features]);
  const moved = op.reshape(op.transpose(cut, [0, 1, 3, 2, 4, 5]), [batch, rows, columns, features]);
  const full = [1, 2].reduce((value, axis) => rolled(value, axis, (value.shape[axis]! - shift) % value.shape[axis]!), moved); // prettier-ignore
  const square = op.slice(op.slice(full, 1, 0, grid.rows), 2, 0, grid.columns);
  return op.reshape(square, [batch * grid.rows * grid.columns, features]);
}

/** The first `by` elements of an axis moved to its end. */
function rolled(x: Value, axis: number, by: number): Value {
  if (by === 0) return x;
  const length = x.shape[axis]!;
  return op.concat([op.slice(x, axis, by, length), op.slice(x, axis, 0, by)], axis);
}

/** What keeps patches apart that a shift brought into one window: the published models have learned with just this. */
const APART = -100;

/** What is added to the scores of patches of one window: [windows, 1, side², side²] → undefined where nothing was moved. */
export function shiftMask(windows: Windows): ((graph: Graph) => Value) | undefined {
  const { side, shift } = windows;
  if (shift === 0) return undefined;
  const { rows, columns } = paddedGrid(windows);
  const [count, each] = [countOf(windows), side * side];
  return lazyConstant([count, 1, each, each], () => {
    /** Which of three bands a row or column of the moved grid came from. */
    const band = (at: number, length: number) => Number(at >= length - side) + Number(at >= length - shift);
    const regionOf = (window: number, patch: number) => {
      const across = columns / side;
      const row = Math.floor(window / across) * side + Math.floor(patch / side);
      const column = (window % across) * side + (patch % side);
      return 3 * band(row, rows) + band(column, columns);
    };
    return Float32Array.from({ length: count * each * each }, (_, i) => {
      const [window, pair] = [Math.floor(i / (each * each)), i % (each * each)];
      const [query, key] = [Math.floor(pair / each), pair % each];
      return regionOf(window, query) === regionOf(window, key) ? 0 : APART;
    });
  });
}
