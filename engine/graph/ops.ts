/**
 * One function an ONNX operator (opset 20), named as the operator. Each infers its output's shape and throws on inputs
 * that do not fit; an attribute that is not a parameter here is not supported.
 */
import { STOP_GRADIENT, sizeOf, type DType, type Shape, type Value } from './ir.js';
import type { Operator, OperatorAttributes } from './operators.js';

const show = (shape: Shape) => `[${shape.join(', ')}]`;

function single<Op extends Operator>(
  op: Op,
  inputs: readonly (Value | undefined)[],
  attributes: OperatorAttributes[Op],
  shape: Shape,
  type: DType = 'float32',
): Value {
  return inputs.find((v) => v)!.graph.add(op, inputs, attributes, [{ type, shape }])[0]!;
}

/** The shape that NumPy broadcasting gives. */
export function broadcastShape(...shapes: readonly Shape[]): Shape {
  const rank = Math.max(...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, axis) => {
    const lengths = shapes.map((s) => s[axis - rank + s.length] ?? 1);
    const n = lengths.find((m) => m !== 1) ?? 1;
    if (lengths.some((m) => m !== 1 && m !== n))
      throw new Error(`Shapes ${shapes.map(show).join(' and ')} do not broadcast.`);
    return n;
  });
}

/** A non-negative axis. */
export function axisOf(axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (positive < 0 || positive >= rank) throw new Error(`Axis ${axis} is outside a tensor of rank ${rank}.`);
  return positive;
}

const axesInput = (x: Value, axes: readonly number[]) =>
  x.graph.constant(BigInt64Array.from(axes, BigInt), [axes.length]);

// Element-wise, with broadcasting.
type Binary = 'Add' | 'Sub' | 'Mul' | 'Div' | 'Min' | 'Max' | 'Equal' | 'GreaterOrEqual';
const sameType = (op: string, a: Value, b: Value) => {
  if (a.type !== b.type) throw new Error(`${op} of ${a.type} and ${b.type}.`);
};
const binary = (op: Binary, a: Value, b: Value, type = a.type) => {
  sameType(op, a, b);
  return single(op, [a, b], {}, broadcastShape(a.shape, b.shape), type);
};
export const add = (a: Value, b: Value) => binary('Add', a, b);
export const sub = (a: Value, b: Value) => binary('Sub', a, b);
export const mul = (a: Value, b: Value) => binary('Mul', a, b);
export const div = (a: Value, b: Value) => binary('Div', a, b);
export const min = (a: Value, b: Value) => binary('Min', a, b);
export const max = (a: Value, b: Value) => binary('Max', a, b);
/** bool: whether elements are equal. */
export const equal = (a: Value, b: Value) => binary('Equal', a, b, 'bool');
/** bool: whether a ≥ b. */
export const greaterOrEqual = (a: Value, b: Value) => binary('GreaterOrEqual', a, b, 'bool');
/** `a` where the bool `condition` holds, else `b`. */
export function where(condition: Value, a: Value, b: Value): Value {
  if (condition.type !== 'bool') throw new Error(`Where on ${condition.type}.`);
  sameType('Where', a, b);
  return single('Where', [condition, a, b], {}, broadcastShape(condition.shape, a.shape, b.shape), a.type);
}

// Element-wise, one input.
type Unary =
  | 'Abs'
  | 'Erf'
  | 'Exp'
  | 'Log'
  | 'Neg'
  | 'Reciprocal'
  | 'Relu'
  | 'Round'
  | 'Sigmoid'
  | 'Sign'
  | 'Sqrt'
  | 'Tanh';
const unary = (op: Unary, x: Value) => single(op, [x], {}, x.shape, x.type);
export const abs = (x: Value) => unary('Abs', x);
export const erf = (x: Value) => unary('Erf', x);
export const exp = (x: Value) => unary('Exp', x);
export const log = (x: Value) => unary('Log', x);
export const neg = (x: Value) => unary('Neg', x);
export const reciprocal = (x: Value) => unary('Reciprocal', x);
export const relu = (x: Value) => unary('Relu', x);
/** Rounds half to even. Its gradient passes straight through. */
export const round = (x: Value) => unary('Round', x);
export const sigmoid = (x: Value) => unary('Sigmoid', x);
export const sign = (x: Value) => unary('Sign', x);
export const sqrt = (x: Value) => unary('Sqrt', x);
export const tanh = (x: Value) => unary('Tanh', x);
/** The exact Gaussian error linear unit, x·Φ(x). */
export const gelu = (x: Value) => single('Gelu', [x], { approximate: 'none' }, x.shape);
export const cast = (x: Value, to: 'float32' | 'uint8') =>
  single('Cast', [x], { to: to === 'float32' ? 1 : 2 }, x.shape, to);
/** Elements limited to [lo, hi]: numbers or float32 scalars of shape []. */
export function clip(x: Value, lo: number | Value, hi: number | Value): Value {
  const bound = (b: number | Value) => {
    if (typeof b === 'number') return x.graph.scalar(b);
    if (b.shape.length > 0) throw new Error(`Clip to a bound of shape ${show(b.shape)}.`);
    return b;
  };
  return single('Clip', [x, bound(lo), bound(hi)], {}, x.shape);
}
/** The same tensor, with no gradient through it. */
export const stopGradient = (x: Value) => single(STOP_GRADIENT, [x], {}, x.shape, x.type);

// Shape.
/** The same elements in order, in another shape. */
export function reshape(x: Value, shape: Shape): Value {
  if (show(shape) === show(x.shape)) return x;
  if (sizeOf(shape) !== sizeOf(x.shape)) throw new Error(`Reshape of ${show(x.shape)} to ${show(shape)}.`);
  // Without allowzero, a length 0 would mean "as in the input".
  return single(
    'Reshape',
    [x, axesInput(x, shape)],
    shape.includes(0) ? { allowzero: 1 } : {},
    shape,
    x.type,
  );
}
/** Axis `i` of the result is axis `perm[i]` of `x`. */
export function transpose(x: Value, perm: readonly number[]): Value {
  if (perm.length !== x.shape.length || x.shape.some((_, axis) => !perm.includes(axis)))
    throw new Error(`Transpose of ${show(x.shape)} by ${show(perm)}.`);
  return single(
    'Transpose',
    [x],
    { perm },
    perm.map((axis) => x.shape[axis]!),
    x.type,
  );
}
export function expand(x: Value, shape: Shape): Value {
  if (show(shape) === show(x.shape)) return x;
  return single('Expand', [x, axesInput(x, shape)], {}, broadcastShape(x.shape, shape), x.type);
}
export function concat(values: readonly Value[], axis: number): Value {
  const first = values[0];
  if (!first) throw new Error('Concat of nothing.');
  for (const v of values) sameType('Concat', first, v);
  if (values.length === 1) return first;
  const at = axisOf(axis, first.shape.length);
  for (const v of values)
    if (v.shape.length !== first.shape.length || v.shape.some((n, i) => i !== at && n !== first.shape[i]))
      throw new Error(`Concat of ${values.map((x) => show(x.shape)).join(' and ')} on axis ${axis}.`);
  const length = values.reduce((sum, v) => sum + v.shape[at]!, 0);
  return single(
    'Concat',
    values,
    { axis: at },
    first.shape.map((n, i) => (i === at ? length : n)),
    first.type,
  );
}
/** A GPU kernel binds every output as a buffer; 8 buffers are what every WebGPU adapter grants, one of them the input. */
const MAX_SPLIT = 7;

/** Consecutive parts of `x` along `axis`, of the given lengths, which cover it. Many parts are split in several steps. */
export function split(x: Value, lengths: readonly number[], axis: number): readonly Value[] {
  const at = axisOf(axis, x.shape.length);
  if (lengths.reduce((a, b) => a + b, 0) !== x.shape[at])
    throw new Error(`Split of ${show(x.shape)} into ${show(lengths)} on axis ${axis}.`);
  if (lengths.length === 1) return [x];
  if (lengths.length > MAX_SPLIT) {
    const groups = Array.from({ length: Math.ceil(lengths.length / MAX_SPLIT) }, (_, g) =>
      lengths.slice(g * MAX_SPLIT, (g + 1) * MAX_SPLIT),
    );
    const pieces = split(
      x,
      groups.map((group) => group.reduce((a, b) => a + b, 0)),
      at,
    );
    return groups.flatMap((group, g) => split(pieces[g]!, group, at));
  }
  const outputs = lengths.map((n) => ({ type: x.type, shape: x.shape.map((m, i) => (i === at ? n : m)) }));
  return x.graph.add('Split', [x, axesInput(x, lengths)], { axis: at }, outputs);
}
/** Elements [start, end) of one axis. */
export function slice(x: Value, axis: number, start: number, end: number): Value {
  const at = axisOf(axis, x.shape.length);
  const length = x.shape[at]!;
  if (start < 0 || end > length || start > end)
    throw new Error(`Slice [${start}, ${end}) of ${show(x.shape)} on axis ${axis}.`);
  if (start === 0 && end === length) return x;
  const ends = [[start], [end], [at]].map((v) => axesInput(x, v));
  return single(
    'Slice',
    [x, ...ends],
    {},
    x.shape.map((n, i) => (i === at ? end - start : n)),
    x.type,
  );
}
/** Zeros before and after the elements of one axis. */
export function pad(x: Value, axis: number, before: number, after: number): Value {
  const rank = x.shape.length;
  const at = axisOf(axis, rank);
  if (before < 0 || after < 0) throw new Error(`Pad of ${before} and ${after}.`);
  if (before === 0 && after === 0) return x;
  const pads = Array.from({ length: 2 * rank }, (_, i) => (i === at ? before : i === rank + at ? after : 0));
  return single(
    'Pad',
    [x, axesInput(x, pads)],
    { mode: 'constant' },
    x.shape.map((n, i) => (i === at ? n + before + after : n)),
    x.type,
  );
}
/** The `k` largest elements along the last axis, in descending order. */
export function topK(x: Value, k: number): Value {
  if (!(k <= x.shape.at(-1)!)) throw new Error(`TopK ${k} of ${show(x.shape)}.`);
  const shape = [...x.shape.slice(0, -1), k];
  const outputs = [
    { type: x.type, shape },
    { type: 'int64' as const, shape },
  ];
  return x.graph.add('TopK', [x, axesInput(x, [k])], { axis: x.shape.length - 1 }, outputs)[0]!;
}
/** Rows of `x` (first axis) at the int64 `indices` of shape [n]. */
export function gather(x: Value, indices: Value): Value {
  if (x.shape.length === 0 || indices.type !== 'int64')
    throw new Error(`Gather of ${show(x.shape)} at ${indices.type}.`);
  return single('Gather', [x, indices], { axis: 0 }, [...indices.shape, ...x.shape.slice(1)], x.type);
}

// Reductions.
type Reduction = 'ReduceSum' | 'ReduceMean' | 'ReduceMax' | 'ReduceMin';
function reduce(op: Reduction, x: Value, axes: readonly number[], keepDims: boolean): Value {
  const over = [...new Set(axes.map((a) => axisOf(a, x.shape.length)))].sort((a, b) => a - b);
  // To ONNX, no axes means all of them.
  if (over.length === 0) return x;
  const shape = x.shape
    .map((n, i) => (over.includes(i) ? 1 : n))
    .filter((_, i) => keepDims || !over.includes(i));
  return single(op, [x, axesInput(x, over)], { keepdims: keepDims ? 1 : 0 }, shape, x.type);
}
export const reduceSum = (x: Value, axes: readonly number[], keepDims = true) =>
  reduce('ReduceSum', x, axes, keepDims);
export const reduceMean = (x: Value, axes: readonly number[], keepDims = true) =>
  reduce('ReduceMean', x, axes, keepDims);
export const reduceMax = (x: Value, axes: readonly number[], keepDims = true) =>
  reduce('ReduceMax', x, axes, keepDims);
export const reduceMin = (x: Value, axes: readonly number[], keepDims = true) =>
  reduce('ReduceMin', x, axes, keepDims);

// Matrix products and normalisation.
/** Matrix product over the last two axes; leading axes broadcast. */
export function matMul(a: Value, b: Value): Value {
  const [m, k] = a.shape.slice(-2);
  const [l, n] = b.shape.slice(-2);
  if (a.shape.length < 2 || b.shape.length < 2 || k !== l)
    throw new Error(`MatMul of ${show(a.shape)} and ${show(b.shape)}.`);
  return single('MatMul', [a, b], {}, [
    ...broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2)),
    m!,
    n!,
  ]);
}
/** a·b + c on matrices, a and b transposed where asked; c broadcasts to the result. */
export function gemm(
  a: Value,
  b: Value,
  options: { transA?: boolean; transB?: boolean; c?: Value } = {},
): Value {
  const { transA = false, transB = false, c } = options;
  const [m, k] = transA ? [a.shape[1], a.shape[0]] : a.shape;
  const [l, n] = transB ? [b.shape[1], b.shape[0]] : b.shape;
  if (a.shape.length !== 2 || b.shape.length !== 2 || k !== l)
    throw new Error(`Gemm of ${show(a.shape)}${transA ? 'ᵀ' : ''} and ${show(b.shape)}${transB ? 'ᵀ' : ''}.`);
  if (c && show(broadcastShape(c.shape, [m!, n!])) !== show([m!, n!]))
    throw new Error(`Gemm of shape ${show([m!, n!])} and a term of shape ${show(c.shape)}.`);
  return single('Gemm', c ? [a, b, c] : [a, b], { transA: transA ? 1 : 0, transB: transB ? 1 : 0 }, [m!, n!]);
}
/** Integers of a weight [N, K] as `matMulNBits` reads them. */
export interface PackedWeight {
  readonly bits: number;
  /** Columns that share a scale: a power of two from 16 on. */
  readonly groupSize: number;
  readonly columns: number;
  /** uint8 [N, ⌈K / groupSize⌉, groupSize · bits / 8]: row by row, the first integer of a byte lowest. */
  readonly integers: Value;
  /** [N · ⌈K / groupSize⌉]. */
  readonly scales: Value;
  /** uint8 [N · ⌈⌈K / groupSize⌉ · bits / 8⌉], each row packed like the integers. */
  readonly zeros: Value;
}
/**
 * a·Ŵᵀ on the last axis, ŵ = scale · (integer − zero); an operator of ONNX Runtime's own. It has no gradient.
 * @param options whether `a` may be rounded to 8 bits in blocks, which is what fast kernels do
 */
export function matMulNBits(
  a: Value,
  weight: PackedWeight,
  options: { readonly roundsInput?: boolean } = {},
): Value {
  const { bits, groupSize, columns, integers, scales, zeros } = weight;
  const [rows, groups] = integers.shape as readonly [number, number];
  const expected = [rows, Math.ceil(columns / groupSize), (groupSize * bits) / 8];
  if (a.shape.at(-1) !== columns || show(integers.shape) !== show(expected))
    throw new Error(`MatMulNBits of ${show(a.shape)} and integers of shape ${show(integers.shape)}.`);
  if (
    show(scales.shape) !== show([rows * groups]) ||
    zeros.shape[0] !== rows * Math.ceil((groups * bits) / 8)
  )
    throw new Error(`MatMulNBits with ${show(scales.shape)} scales and ${show(zeros.shape)} bytes of zeros.`);
  return single(
    'MatMulNBits',
    [a, integers, scales, zeros],
    { K: columns, N: rows, bits, block_size: groupSize, ...(options.roundsInput && { accuracy_level: 4 }) },
    [...a.shape.slice(0, -1), rows],
  );
}
/**
 * (a − aZero)·(b − bZero) of integers on matrices, without rounding; it has no gradient.
 * @param a uint8 [M, K]; its zero point a scalar
 * @param b int8 or uint8 [K, N]; its zero points [N], absent for 0
 * @returns int32 [M, N]
 */
export function matMulInteger(a: Value, b: Value, aZero: Value, bZero?: Value): Value {
  const [m, k] = a.shape;
  const [l, n] = b.shape;
  if (a.shape.length !== 2 || b.shape.length !== 2 || k !== l)
    throw new Error(`MatMulInteger of ${show(a.shape)} and ${show(b.shape)}.`);
  if (a.type !== 'uint8' || (b.type !== 'uint8' && b.type !== 'int8'))
    throw new Error(`MatMulInteger of ${a.type} and ${b.type}.`);
  sameType('MatMulInteger', a, aZero);
  if (bZero) sameType('MatMulInteger', b, bZero);
  if (aZero.shape.length > 0 || (bZero && show(bZero.shape) !== show([n!])))
    throw new Error(`MatMulInteger with zero points ${show(aZero.shape)} and ${show(bZero?.shape ?? [])}.`);
  return single('MatMulInteger', [a, b, aZero, bZero], {}, [m!, n!], 'int32');
}
export const softmax = (x: Value, axis = -1) =>
  single('Softmax', [x], { axis: axisOf(axis, x.shape.length) }, x.shape);
/** Normalises the last axis to mean 0 and variance 1, then applies `weight` and `bias` of that axis' length. */
export function layerNormalization(x: Value, weight: Value, bias: Value, epsilon: number): Value {
  for (const { shape } of [weight, bias])
    if (show(shape) !== show(x.shape.slice(-1)))
      throw new Error(`LayerNormalization of ${show(x.shape)} by ${show(shape)}.`);
  return single('LayerNormalization', [x, weight, bias], { axis: -1, epsilon: { float: epsilon } }, x.shape);
}
/** Convolution of [N, C, H, W] by [O, C, h, w] without padding; `stride` on both axes. */
export function conv(x: Value, weight: Value, bias: Value, stride: number): Value {
  const [n, c, h, w] = x.shape;
  const [o, c2, kh, kw] = weight.shape;
  if (x.shape.length !== 4 || weight.shape.length !== 4 || c !== c2 || show(bias.shape) !== show([o!]))
    throw new Error(`Conv of ${show(x.shape)} by ${show(weight.shape)}.`);
  const out = (length: number, kernel: number) => Math.floor((length - kernel) / stride) + 1;
  return single('Conv', [x, weight, bias], { kernel_shape: [kh!, kw!], strides: [stride, stride] }, [
    n!,
    o!,
    out(h!, kh!),
    out(w!, kw!),
  ]);
}
