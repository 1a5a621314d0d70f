/** The loops of the direct method that are no products of matrices, on vectors of numbers. */
import {
  add,
  and,
  andNot,
  atLeast,
  F64,
  f32x4,
  f64x2,
  get,
  I32,
  int,
  less,
  load,
  loadBytes,
  loadInt,
  quarter,
  repeatWhile,
  set,
  store,
  storeBytes,
  subtract,
  times,
  V128,
  when,
  type Code,
  type WasmFunction,
} from '../../backends/wasm.js';
import { compileKernels, numbered, type Room } from '../../backends/kernels.js';

/** Rows of a weight on its way to codes are filled up to a multiple. */
export const TILE = 32;
const VECTOR = 16;
const FLOAT = 4;

/**
 * Σ cost · (ŵ − w)² over `count` elements, an even number: w float32 at `data`, `cost` float64; ŵ = s(q − z), q = clamp(round(w
 * / s + inner) + outer, 0, last), of which one is z and the other 0.
 */
function gridError(): WasmFunction {
  const own = numbered(
    { data: I32, cost: I32, count: I32, scale: F64, inner: F64, outer: F64, last: F64 },
    { end: I32, sum: V128, s: V128, i: V128, o: V128, z: V128, most: V128, zero: V128, x: V128 },
  );
  const { data, cost, count, scale, inner, outer, last, end, sum, s, i, o, z, most, zero, x } = own.of;
  const code = f64x2.add(f64x2.nearest(f64x2.add(f64x2.div(get(x), get(s)), get(i))), get(o));
  const limited = f64x2.least(f64x2.most(code, get(zero)), get(most));
  const error = f64x2.sub(f64x2.mul(get(s), f64x2.sub(limited, get(z))), get(x));
  return {
    ...own,
    name: 'gridError',
    result: F64,
    body: [
      set(end, add(get(data), times(get(count), int(FLOAT)))),
      set(s, f64x2.splat(get(scale))),
      set(i, f64x2.splat(get(inner))),
      set(o, f64x2.splat(get(outer))),
      set(z, f64x2.add(get(i), get(o))),
      set(most, f64x2.splat(get(last))),
      repeatWhile(less(get(data), get(end)), [
        set(x, f64x2.loadFloats(get(data))),
        set(x, error),
        set(sum, f64x2.add(get(sum), f64x2.mul(load(get(cost)), f64x2.mul(get(x), get(x))))),
        set(data, add(get(data), int(2 * FLOAT))),
        set(cost, add(get(cost), int(4 * FLOAT))),
      ]),
      f64x2.sum(sum),
    ],
  };
}

/** Rows of a turn of a sweep, in vectors of four, their bytes, and columns whose sums it adds up side by side. */
const VECTORS = [0, 1, 2, 3];
const SIDE_BY_SIDE = 2;
export const TURN = VECTORS.length * VECTOR;

/**
 * Gives columns their codes from the last of a panel to the first: that nearest to w − e + (before_j + Σ_{k>j} corner_jk ·
 * change_k) / corner_jj within first and first + span, and at most last. Arrays are float32, [columns, rows] except `first`
 * and `codes`, which are bytes, `corner` [columns, stride] and scales and zero points, of which the column j's begin
 * `groups[j]` bytes (int32) behind `scale` and `zero`; rows are a multiple of TILE. `errors` e = w − ŵ are replaced, and so
 * are `codes`; `change`, TURN bytes for each column, is room.
 */
function sweepPanel(): WasmFunction {
  const own = numbered(
    {
      ...{ columns: I32, rowBytes: I32, stride: I32, groups: I32, corner: I32 },
      ...{
        weight: I32,
        before: I32,
        errors: I32,
        first: I32,
        codes: I32,
        scale: I32,
        zero: I32,
        change: I32,
      },
      ...{ span: I32, last: I32, halves: I32 },
    },
    {
      ...{
        t: I32,
        j: I32,
        at: I32,
        end: I32,
        from: I32,
        next: I32,
        to: I32,
        group: I32,
        offset: I32,
        byte: I32,
      },
      ...{ factor: V128, other: V128, pivot: V128, s: V128, z: V128, w: V128, old: V128, x: V128, low: V128 },
      ...{ a0: V128, a1: V128, a2: V128, a3: V128, b0: V128, b1: V128, b2: V128, b3: V128 },
      ...{ mask: V128, above: V128, most: V128 },
    },
  );
  const l = own.of;
  /** Of the later column, and of that before it. */
  const sums = [
    [l.a0, l.a1, l.a2, l.a3],
    [l.b0, l.b1, l.b2, l.b3],
  ] as const;
  const place = (array: number, by: number): Code => add(get(array), get(by));
  const zeros = f32x4.splat([0x43, 0, 0, 0, 0]);
  const floatOf = (local: number): Code => f32x4.splat([get(local), 0xb2]);
  const round = (sum: number, i: number): Code => {
    const offset = VECTOR * i;
    const quotient = f32x4.add(f32x4.div(get(l.x), get(l.s)), and(get(l.z), get(l.mask)));
    const code = f32x4.add(f32x4.nearest(quotient), andNot(get(l.z), get(l.mask)));
    return [
      set(l.s, load(place(l.scale, l.group), offset)),
      set(l.z, load(place(l.zero, l.group), offset)),
      set(l.w, load(place(l.weight, l.offset), offset)),
      set(l.old, load(place(l.errors, l.offset), offset)),
      set(l.x, f32x4.div(f32x4.add(load(place(l.before, l.offset), offset), get(sum)), get(l.pivot))),
      set(l.x, f32x4.add(f32x4.sub(get(l.w), get(l.old)), get(l.x))),
      set(l.low, loadBytes(place(l.first, l.byte), 4 * i)),
      set(
        l.x,
        f32x4.least(
          f32x4.most(code, get(l.low)),
          f32x4.least(f32x4.add(get(l.low), get(l.above)), get(l.most)),
        ),
      ),
      storeBytes(place(l.codes, l.byte), get(l.x), 4 * i),
      set(l.x, f32x4.sub(get(l.w), f32x4.mul(get(l.s), f32x4.sub(get(l.x), get(l.z))))),
      store(place(l.errors, l.offset), get(l.x), offset),
      store(get(l.to), f32x4.sub(get(l.x), get(l.old)), offset),
    ];
  };
  const addTo = (sum: number, factor: number): Code =>
    set(sum, f32x4.add(get(sum), f32x4.mul(get(factor), get(l.x))));
  /** Gives the column `by` after `j` its codes; its row of `corner` is at `at`, and its changes go to `to`. */
  const roundColumn = (own: readonly number[], by: number): Code => [
    set(l.pivot, f32x4.loadSplat(add(get(l.at), times(get(l.j), int(FLOAT))), by * FLOAT)),
    set(l.mask, [get(l.halves), 0xfd, 0x11]),
    set(l.above, floatOf(l.span)),
    set(l.most, floatOf(l.last)),
    set(l.group, add(loadInt(add(get(l.groups), times(get(l.j), int(4))), by * 4), get(l.t))),
    set(l.offset, add(times(add(get(l.j), int(by)), get(l.rowBytes)), get(l.t))),
    set(l.byte, quarter(get(l.offset))),
    ...own.map(round),
  ];
  /** The `count` columns before `j`, of which sums over all after them come first. */
  const columnsBefore = (count: number): Code => [
    set(l.j, subtract(get(l.j), int(count))),
    set(l.at, add(get(l.corner), times(add(get(l.j), int(count - 1)), get(l.stride)))),
    set(l.from, add(get(l.at), times(add(get(l.j), int(count)), int(FLOAT)))),
    set(l.next, subtract(get(l.from), get(l.stride))),
    set(l.end, add(get(l.at), times(get(l.columns), int(FLOAT)))),
    set(l.offset, add(get(l.change), times(add(get(l.j), int(count)), int(TURN)))),
    set(l.to, subtract(get(l.offset), int(TURN))),
    ...sums.slice(0, count).flatMap((own) => own.map((sum) => set(sum, zeros))),
    when(
      less(get(l.from), get(l.end)),
      repeatWhile(less(get(l.from), get(l.end)), [
        set(l.factor, f32x4.loadSplat(get(l.from))),
        count > 1 ? set(l.other, f32x4.loadSplat(get(l.next))) : [],
        ...VECTORS.map((i): Code => [
          set(l.x, load(get(l.offset), VECTOR * i)),
          addTo(sums[0][i]!, l.factor),
          count > 1 ? addTo(sums[1][i]!, l.other) : [],
        ]),
        set(l.from, add(get(l.from), int(FLOAT))),
        set(l.next, add(get(l.next), int(FLOAT))),
        set(l.offset, add(get(l.offset), int(TURN))),
      ]),
    ),
    roundColumn(sums[0], count - 1),
    count > 1
      ? [
          set(l.at, subtract(get(l.at), get(l.stride))),
          set(l.other, f32x4.loadSplat(add(get(l.at), times(get(l.j), int(FLOAT))), FLOAT)),
          ...VECTORS.map((i): Code => [set(l.x, load(get(l.to), VECTOR * i)), addTo(sums[1][i]!, l.other)]),
          set(l.to, subtract(get(l.to), int(TURN))),
          roundColumn(sums[1], 0),
        ]
      : [],
  ];
  const whileLeft = (count: number): Code =>
    when(atLeast(get(l.j), int(count)), repeatWhile(atLeast(get(l.j), int(count)), columnsBefore(count)));
  return {
    ...own,
    name: 'sweepPanel',
    body: [
      repeatWhile(less(get(l.t), get(l.rowBytes)), [
        set(l.j, get(l.columns)),
        whileLeft(SIDE_BY_SIDE),
        whileLeft(1),
        set(l.t, add(get(l.t), int(TURN))),
      ]),
    ],
  };
}

interface Exports {
  readonly gridError: (
    data: number,
    cost: number,
    count: number,
    scale: number,
    inner: number,
    outer: number,
    last: number,
  ) => number;
  readonly sweepPanel: (...parameters: readonly number[]) => void;
}

export type Kernels = Exports & Room;

let compiled: (() => Kernels) | undefined;
const openOwn = (): Kernels => (compiled ??= compileKernels<Exports>([gridError(), sweepPanel()]))();

let opened: Kernels | undefined;
export const kernels = (): Kernels => (opened ??= openOwn());

/** Kernels whose memory nobody shares, until they are given back. */
const spare: Kernels[] = [];
export const takeKernels = (): Kernels => spare.pop() ?? openOwn();

/** Larger memories are not kept for others. */
const SPARE_BYTES = 1 << 27;
export function giveBack(own: Kernels): void {
  if (own.reserve([]).buffer.byteLength <= SPARE_BYTES) spare.push(own);
}
