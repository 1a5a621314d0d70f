/**
 * Reverse mode: a table from operator to vector-Jacobian product.
 *
 * Every row is a function of the node and the cotangent of its output; it says for each of the node's inputs how its
 * cotangent is computed. A gradient is itself made of the operators of `ops.ts`.
 */
import {
  reachable,
  STOP_GRADIENT,
  type GradientRule,
  type Node,
  type NodeOf,
  type Shape,
  type Value,
} from './ir.js';
import type { Operator, OperatorAttributes } from './operators.js';
import * as op from './ops.js';

/**
 * What builds the cotangents of a node's inputs, which is called for those that are needed: each in the shape of its
 * input, or in one that broadcasting made of that. One that is left out is zero.
 */
type Cotangents = readonly ((() => Value) | undefined)[];

/** @param cotangents of the node's outputs, one of them there at least */
type Row<Op extends Operator> = (node: NodeOf<Op>, cotangents: readonly (Value | undefined)[]) => Cotangents;

/** What a row for an operator with one output is given. */
interface Reverse<Op extends Operator> {
  readonly inputs: readonly (Value | undefined)[];
  readonly y: Value;
  /** The cotangent of `y`. */
  readonly g: Value;
  readonly attributes: OperatorAttributes[Op];
}

const rule =
  <Op extends Operator>(row: (reverse: Reverse<Op>) => Cotangents): Row<Op> =>
  ({ inputs, outputs, attributes }, cotangents) =>
    row({ inputs, y: outputs[0]!, g: cotangents[0]!, attributes });

/** Sums a cotangent over the axes along which an input of shape `shape` was broadcast. */
export function sumTo(g: Value, shape: Shape): Value {
  const lead = g.shape.length - shape.length;
  const axes = g.shape.flatMap((n, i) => (i < lead || (shape[i - lead] === 1 && n !== 1) ? [i] : []));
  return op.reshape(axes.length > 0 ? op.reduceSum(g, axes) : g, shape);
}

const scalar = (like: Value, x: number) => like.graph.scalar(x);
const lastTwoSwapped = (x: Value) => {
  const axes = x.shape.map((_, i) => i);
  return op.transpose(x, [...axes.slice(0, -2), axes.length - 1, axes.length - 2]);
};
/**
 * gᵀ as a tensor of its own. ONNX Runtime multiplies by it about a sixth faster on the CPU than by an argument that it is
 * told to transpose; the reshapes keep it from making the one into the other.
 */
function transposed(g: Value): Value {
  const [rows, columns] = g.shape as readonly [number, number];
  return op.reshape(op.transpose(op.reshape(g, [1, rows, columns]), [0, 2, 1]), [columns, rows]);
}
const keptShape = (full: Shape, reduced: Shape): Shape => {
  if (reduced.length === full.length) return reduced;
  throw new Error('Gradients of reductions need kept dimensions.');
};
const axesWhere = (full: Shape, kept: Shape) => full.flatMap((n, i) => (kept[i] !== n ? [i] : []));
/** Spreads the cotangent of a maximum or minimum over the extreme entries, evenly among ties. */
const toExtremes = ({ inputs: [x], y, g }: Reverse<'ReduceMax' | 'ReduceMin'>): Cotangents => [
  () => {
    const kept = op.reshape(y, keptShape(x!.shape, y.shape));
    const hit = op.cast(op.equal(x!, kept), 'float32');
    const ties = op.reduceSum(hit, axesWhere(x!.shape, kept.shape));
    return op.mul(hit, op.div(op.reshape(g, kept.shape), ties));
  },
];
const nothing = (): Cotangents => [];

/** Operator → vector-Jacobian product. Rows that give a zero gradient everywhere are empty lists. */
export const vjpTable: { readonly [Op in Operator]?: Row<Op> } = {
  Add: rule(({ g }) => [() => g, () => g]),
  Sub: rule(({ g }) => [() => g, () => op.neg(g)]),
  Mul: rule(({ inputs: [a, b], g }) => [() => op.mul(g, b!), () => op.mul(g, a!)]),
  Div: rule(({ inputs: [, b], y, g }) => [() => op.div(g, b!), () => op.neg(op.div(op.mul(g, y), b!))]),
  Where: rule(({ inputs: [condition], g }) => [
    undefined,
    () => op.where(condition!, g, scalar(g, 0)),
    () => op.where(condition!, scalar(g, 0), g),
  ]),
  Abs: rule(({ inputs: [x], g }) => [() => op.mul(g, op.sign(x!))]),
  Neg: rule(({ g }) => [() => op.neg(g)]),
  Exp: rule(({ y, g }) => [() => op.mul(g, y)]),
  Log: rule(({ inputs: [x], g }) => [() => op.div(g, x!)]),
  Sqrt: rule(({ y, g }) => [() => op.div(op.mul(g, scalar(g, 0.5)), y)]),
  Reciprocal: rule(({ y, g }) => [() => op.neg(op.mul(g, op.mul(y, y)))]),
  // 0 at 0, as elsewhere.
  Relu: rule(({ y, g }) => [() => op.mul(g, op.sign(y))]),
  Sigmoid: rule(({ y, g }) => [() => op.mul(g, op.mul(y, op.sub(scalar(g, 1), y)))]),
  Tanh: rule(({ y, g }) => [() => op.mul(g, op.sub(scalar(g, 1), op.mul(y, y)))]),
  Erf: rule(({ inputs: [x], g }) => [
    () => op.mul(g, op.mul(scalar(g, 2 / Math.sqrt(Math.PI)), op.exp(op.neg(op.mul(x!, x!))))),
  ]),
  // Φ(x) + x·φ(x) with u = x/√2: ½ + ½·erf(u) + u·exp(−u²)/√π, the last factor inside the exponent.
  Gelu: rule(({ inputs: [x], g }) => [
    () => {
      const u = op.mul(x!, scalar(g, Math.SQRT1_2));
      const cdf = op.add(op.mul(op.erf(u), scalar(g, 0.5)), scalar(g, 0.5));
      const density = op.exp(op.sub(scalar(g, -0.5 * Math.log(Math.PI)), op.mul(u, u)));
      return op.mul(g, op.add(cdf, op.mul(u, density)));
    },
  ]),
  // Straight through (docs/METHOD.md, section 3).
  Round: rule(({ g }) => [() => g]),
  Sign: nothing,
  Equal: nothing,
  GreaterOrEqual: nothing,
  Cast: nothing,
  [STOP_GRADIENT]: nothing,
  // The bounds are constants to the gradient; at a bound it still passes.
  Clip: rule(({ inputs: [x], y, g }) => [() => op.mul(g, op.cast(op.equal(x!, y), 'float32'))]),
  Reshape: rule(({ inputs: [x], g }) => [() => op.reshape(g, x!.shape)]),
  Transpose: rule(({ g, attributes: { perm } }) => {
    const inverse = perm.map((_, axis) => perm.indexOf(axis));
    return [() => op.transpose(g, inverse)];
  }),
  Expand: rule(({ g }) => [() => g]),
  Concat: rule(({ inputs, g, attributes: { axis } }) => {
    const lengths = inputs.map((x) => x!.shape[axis]!);
    return op.split(g, lengths, axis).map((part) => () => part);
  }),
  Split: ({ outputs, attributes: { axis } }, cotangents) => {
    const zeros = (y: Value) => op.expand(scalar(y, 0), y.shape);
    return [
      () =>
        op.concat(
          outputs.map((y, i) => cotangents[i] ?? zeros(y)),
          axis,
        ),
    ];
  },
  Slice: rule(({ inputs: [x, start, , axes], y, g }) => {
    const at = Number(integersOf(axes!)[0]);
    const before = Number(integersOf(start!)[0]);
    return [() => op.pad(g, at, before, x!.shape[at]! - before - y.shape[at]!)];
  }),
  Pad: rule(({ inputs: [x, pads], g }) => {
    const before = integersOf(pads!);
    const sliced = (from: Value, n: number, axis: number) =>
      op.slice(from, axis, Number(before[axis]), Number(before[axis]) + n);
    return [() => x!.shape.reduce(sliced, g)];
  }),
  ReduceSum: rule(({ inputs: [x], y, g }) => [
    () => op.expand(op.reshape(g, keptShape(x!.shape, y.shape)), x!.shape),
  ]),
  ReduceMean: rule(({ inputs: [x], y, g }) => {
    const kept = keptShape(x!.shape, y.shape);
    const count = axesWhere(x!.shape, kept).reduce((product, axis) => product * x!.shape[axis]!, 1);
    return [() => op.expand(op.mul(op.reshape(g, kept), scalar(g, 1 / count)), x!.shape)];
  }),
  ReduceMax: rule(toExtremes),
  ReduceMin: rule(toExtremes),
  MatMul: rule(({ inputs: [a, b], g }) => [
    () => op.matMul(g, lastTwoSwapped(b!)),
    () => op.matMul(lastTwoSwapped(a!), g),
  ]),
  Gemm: rule(({ inputs: [a, b], g, attributes }) => {
    const [transA, transB] = [attributes.transA === 1, attributes.transB === 1];
    return [
      () => (transA ? op.gemm(b!, g, { transA: transB, transB: true }) : op.gemm(g, b!, { transB: !transB })),
      () => (transB ? op.gemm(transposed(g), a!, { transB: transA }) : op.gemm(a!, g, { transA: !transA })),
      () => g,
    ];
  }),
  Softmax: rule(({ y, g, attributes: { axis } }) => [
    () => {
      const weighted = op.mul(g, y);
      return op.sub(weighted, op.mul(y, op.reduceSum(weighted, [axis])));
    },
  ]),
  LayerNormalization: rule(({ inputs: [x, weight], g, attributes: { epsilon } }) => {
    const centred = op.sub(x!, op.reduceMean(x!, [-1]));
    const variance = op.reduceMean(op.mul(centred, centred), [-1]);
    const rate = op.reciprocal(op.sqrt(op.add(variance, scalar(g, epsilon.float))));
    const normal = op.mul(centred, rate);
    const h = op.mul(g, weight!);
    return [
      () =>
        op.mul(
          rate,
          op.sub(op.sub(h, op.reduceMean(h, [-1])), op.mul(normal, op.reduceMean(op.mul(h, normal), [-1]))),
        ),
      () => op.mul(g, normal),
      () => g,
    ];
  }),
};

function integersOf(value: Value): BigInt64Array {
  const data = value.graph.constants.get(value);
  if (!(data instanceof BigInt64Array)) throw new Error('Gradients need bounds and axes that are constants.');
  return data;
}

/**
 * The gradients of Σ ⟨output, cotangent⟩ with respect to `wrt`, each in the shape of its value.
 * A value that the outputs do not depend on has the gradient zero. Throws where an operator has no row.
 */
export function gradients(
  outputs: readonly { value: Value; cotangent: Value }[],
  wrt: readonly Value[],
): Value[] {
  const nodes = reachable(
    outputs.map((o) => o.value),
    gradientInputs,
  );
  const live = dependents(nodes, wrt);
  const cotangents = new Map<Value, Value>();
  const accumulate = (value: Value, g: Value) => {
    if (g.shape.join() !== value.shape.join())
      throw new Error(
        `A cotangent of shape [${g.shape.join(', ')}] for a value of shape [${value.shape.join(', ')}].`,
      );
    const before = cotangents.get(value);
    cotangents.set(value, before ? op.add(before, g) : g);
  };
  for (const { value, cotangent } of outputs) if (live.has(value)) accumulate(value, cotangent);

  for (const node of [...nodes].reverse()) {
    const own = node.outputs.map((y) => cotangents.get(y));
    if (own.every((g) => !g)) continue;
    const custom = customRule(node);
    const inputs = gradientInputs(node);
    const needs = inputs.map((x) => x !== undefined && live.has(x));
    if (!needs.includes(true)) continue;
    const results = custom ? custom.vjp(own[0]!, needs) : byTable(node, own, needs);
    results.forEach((g, i) => {
      if (g && needs[i]) accumulate(inputs[i]!, g);
    });
  }
  return wrt.map((value) => cotangents.get(value) ?? op.expand(value.graph.scalar(0), value.shape));
}

/** The cotangents of a node's inputs by its row of the table, those that are needed, in the shapes of the inputs. */
function byTable<Op extends Operator>(
  node: NodeOf<Op>,
  cotangents: readonly (Value | undefined)[],
  needs: readonly boolean[],
): (Value | undefined)[] {
  const row = vjpTable[node.op];
  if (!row) throw new Error(`No gradient for the operator ${node.op}.`);
  return row(node, cotangents).map((build, i) =>
    build && needs[i] ? sumTo(build(), node.inputs[i]!.shape) : undefined,
  );
}

const customRule = (node: Node): GradientRule | undefined =>
  node.outputs[0]!.graph.gradientRules.get(node.outputs[0]!);
const gradientInputs = (node: Node) => customRule(node)?.inputs ?? node.inputs;

/** The values that depend on one of `wrt` along a path that lets gradients through. */
function dependents(nodes: readonly Node[], wrt: readonly Value[]): Set<Value> {
  const live = new Set(wrt);
  for (const node of nodes) {
    if (node.op === STOP_GRADIENT) continue;
    if (gradientInputs(node).some((x) => x && live.has(x))) for (const y of node.outputs) live.add(y);
  }
  return live;
}
