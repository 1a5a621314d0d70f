/** Square matrices in float64 that are small enough for the host: the Cholesky factor, and the inverse of a triangle. */
import { numbered, openKernels, type Room } from './kernels.js';
import {
  add,
  f64x2,
  get,
  I32,
  less,
  load,
  loadDouble,
  repeatWhile,
  set,
  store,
  times,
  V128,
  type WasmFunction,
} from './wasm.js';

/** Columns that are gone through side by side: four vectors of two. */
const TILE = 8;
const DOUBLE = 8;

/**
 * Of a symmetric matrix U, upper triangular with UᵀU = A, and its inverse; undefined where a pivot is not positive.
 * @param a [n, n], of which the upper triangle is read
 */
export function factorSquare(
  a: Float64Array,
  n: number,
): { readonly upper: Float64Array; readonly inverse: Float64Array } | undefined {
  const side = Math.ceil(n / TILE) * TILE;
  const { subtractRows, reserve } = kernels();
  const { buffer, at } = reserve([n * side, n * side, n].map((size) => size * DOUBLE));
  const [upperAt, inverseAt, sharesAt] = at as [number, number, number];
  const upper = new Float64Array(buffer, upperAt, n * side).fill(0);
  const inverse = new Float64Array(buffer, inverseAt, n * side).fill(0);
  const shares = new Float64Array(buffer, sharesAt, n);
  const rowBytes = side * DOUBLE;
  for (let i = 0; i < n; i++) upper.set(a.subarray(i * n, (i + 1) * n), i * side);

  for (let k = 0; k < n; k++) {
    for (let j = k - (k % TILE); k > 0 && j < n; j += TILE)
      subtractRows(
        upperAt + (k * side + j) * DOUBLE,
        upperAt + k * DOUBLE,
        rowBytes,
        upperAt + j * DOUBLE,
        rowBytes,
        k,
      );
    const pivot = Math.sqrt(upper[k * side + k]!);
    if (!(pivot > 0 && pivot < Infinity)) return undefined;
    for (let j = k; j < n; j++) upper[k * side + j]! /= pivot;
  }

  for (let row = n - 1; row >= 0; row--) {
    const pivot = upper[row * side + row]!;
    for (let k = row + 1; k < n; k++) shares[k] = upper[row * side + k]! / pivot;
    inverse[row * side + row] = 1 / pivot;
    for (let j = row - (row % TILE); j < n; j += TILE) {
      const count = Math.min(n, j + TILE) - row - 1;
      if (count > 0)
        subtractRows(
          inverseAt + (row * side + j) * DOUBLE,
          sharesAt + (row + 1) * DOUBLE,
          DOUBLE,
          inverseAt + ((row + 1) * side + j) * DOUBLE,
          rowBytes,
          count,
        );
    }
  }
  return { upper: unpadded(upper, n, side), inverse: unpadded(inverse, n, side) };
}

/** The upper triangle, zeros below it. */
function unpadded(square: Float64Array, n: number, side: number): Float64Array {
  const found = new Float64Array(n * n);
  for (let i = 0; i < n; i++) found.set(square.subarray(i * side + i, i * side + n), i * n + i);
  return found;
}

/**
 * target −= Σ_i share_i · row_i for TILE numbers of `count` rows, one after another: shares lie `stride` bytes apart, rows
 * `rowBytes`.
 */
function subtractRows(): WasmFunction {
  const own = numbered(
    { target: I32, share: I32, stride: I32, row: I32, rowBytes: I32, count: I32 },
    { end: I32, factor: V128, a0: V128, a1: V128, a2: V128, a3: V128 },
  );
  const { target, share, stride, row, rowBytes, count, end, factor, a0, a1, a2, a3 } = own.of;
  const sums = [a0, a1, a2, a3];
  return {
    ...own,
    name: 'subtractRows',
    body: [
      set(end, add(get(row), times(get(count), get(rowBytes)))),
      ...sums.map((sum, i) => set(sum, load(get(target), 2 * DOUBLE * i))),
      repeatWhile(less(get(row), get(end)), [
        set(factor, f64x2.splat(loadDouble(get(share)))),
        ...sums.map((sum, i) =>
          set(sum, f64x2.sub(get(sum), f64x2.mul(get(factor), load(get(row), 2 * DOUBLE * i)))),
        ),
        set(share, add(get(share), get(stride))),
        set(row, add(get(row), get(rowBytes))),
      ]),
      ...sums.map((sum, i) => store(get(target), get(sum), 2 * DOUBLE * i)),
    ],
  };
}

interface Exports {
  readonly subtractRows: (
    target: number,
    share: number,
    stride: number,
    row: number,
    rowBytes: number,
    count: number,
  ) => void;
}

let opened: (Exports & Room) | undefined;
const kernels = (): Exports & Room => (opened ??= openKernels<Exports>([subtractRows()]));
