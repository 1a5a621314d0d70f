/**
 * Reverse mode: a table from operator to vector-Jacobian product.
 *
 * Every row is a function of the node and the cotangent of its output; it returns the cotangents of the node's inputs
 * and may leave out those that nobody needs. A gradient is itself made of the operators of `ops.ts`.
 */
import { reachable, STOP_GRADIENT, type GradientRule, type Node, type Shape, type Value } from './ir.js';
import * as op from './ops.js';

type Row = (
  node: Node,
  cotangents: readonly (Value | undefined)[],
  needs: readonly boolean[],
) => readonly (Value | undefined)[];

/** A row for an operator with one output: gets inputs, output and cotangent. */
const rule =
  (
    row: (
      inputs: readonly Value[],
      y: Value,
      g: Value,
      needs: readonly boolean[],
      node: Node,
    ) => readonly (Value | undefined)[],
  ): Row =>
  (node, cotangents, needs) =>
    row(node.inputs as readonly Value[], node.outputs[0]!, cotangents[0]!, needs, node);

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
/** Spreads the cotangent of a maximum or minimum over the extreme entries, evenly among ties. */
const toExtremes = rule(([x], y, g) => {
  const kept = op.reshape(y, keptShape(x!.shape, y.shape));
  const hit = op.cast(op.equal(x!, kept), 'float32');
  const ties = op.reduceSum(hit, axesWhere(x!.shape, kept.shape));
  return [op.mul(hit, op.div(op.reshape(g, kept.shape), ties))];
});
const keptShape = (full: Shape, reduced: Shape): Shape => {
  if (reduced.length === full.length) return reduced;
  throw new Error('Gradients of reductions need kept dimensions.');
};
const axesWhere = (full: Shape, kept: Shape) => full.flatMap((n, i) => (kept[i] !== n ? [i] : []));

/** Operator → vector-Jacobian product. Rows that give a zero gradient everywhere are empty lists. */
export const vjpTable: Readonly<Record<string, Row>> = {
  Add: rule(([a, b], _y, g, needs) => [
    needs[0] ? sumTo(g, a!.shape) : undefined,
    needs[1] ? sumTo(g, b!.shape) : undefined,
  ]),
  Sub: rule(([a, b], _y, g, needs) => [
    needs[0] ? sumTo(g, a!.shape) : undefined,
    needs[1] ? sumTo(op.neg(g), b!.shape) : undefined,
  ]),
  Mul: rule(([a, b], _y, g, needs) => [
    needs[0] ? sumTo(op.mul(g, b!), a!.shape) : undefined,
    needs[1] ? sumTo(op.mul(g, a!), b!.shape) : undefined,
  ]),
  Div: rule(([a, b], y, g, needs) => [
    needs[0] ? sumTo(op.div(g, b!), a!.shape) : undefined,
    needs[1] ? sumTo(op.neg(op.div(op.mul(g, y), b!)), b!.shape) : undefined,
  ]),
  Where: rule(([condition, a, b], _y, g, needs) => [
    undefined,
    needs[1] ? sumTo(op.where(condition!, g, scalar(g, 0)), a!.shape) : undefined,
    needs[2] ? sumTo(op.where(condition!, scalar(g, 0), g), b!.shape) : undefined,
  ]),
  Abs: rule(([x], _y, g) => [op.mul(g, op.sign(x!))]),
  Neg: rule((_x, _y, g) => [op.neg(g)]),
  Exp: rule((_x, y, g) => [op.mul(g, y)]),
  Log: rule(([x], _y, g) => [op.div(g, x!)]),
  Sqrt: rule((_x, y, g) => [op.div(op.mul(g, scalar(g, 0.5)), y)]),
  Reciprocal: rule((_x, y, g) => [op.neg(op.mul(g, op.mul(y, y)))]),
  Sigmoid: rule((_x, y, g) => [op.mul(g, op.mul(y, op.sub(scalar(g, 1), y)))]),
  Erf: rule(([x], _y, g) => [
    op.mul(g, op.mul(scalar(g, 2 / Math.sqrt(Math.PI)), op.exp(op.neg(op.mul(x!, x!))))),
  ]),
  // Φ(x) + x·φ(x) with u = x/√2: ½ + ½·erf(u) + u·exp(−u²)/√π, the last factor inside the exponent.
  Gelu: rule(([x], _y, g) => {
    const u = op.mul(x!, scalar(g, Math.SQRT1_2));
    const cdf = op.add(op.mul(op.erf(u), scalar(g, 0.5)), scalar(g, 0.5));
    const density = op.exp(op.sub(scalar(g, -0.5 * Math.log(Math.PI)), op.mul(u, u)));
    return [op.mul(g, op.add(cdf, op.mul(u, density)))];
  }),
  // Straight through (method, section 3).
  Round: rule((_x, _y, g) => [g]),
  Sign: () => [],
  Equal: () => [],
  GreaterOrEqual: () => [],
  Cast: () => [],
  [STOP_GRADIENT]: () => [],
  // The bounds are constants to the gradient; at a bound it still passes.
  Clip: rule(([x], y, g) => [op.mul(g, op.cast(op.equal(x!, y), 'float32'))]),
  Reshape: rule(([x], _y, g) => [op.reshape(g, x!.shape)]),
  Transpose: rule((_x, _y, g, _needs, node) => {
    const perm = node.attributes.perm as readonly number[];
    return [
      op.transpose(
        g,
        perm.map((_, axis) => perm.indexOf(axis)),
      ),
    ];
  }),
  Expand: rule(([x], _y, g) => [sumTo(g, x!.shape)]),
  Concat: rule((inputs, _y, g, _needs, node) => {
    const axis = node.attributes.axis as number;
    return op.split(
      g,
      inputs.map((x) => x.shape[axis]!),
      axis,
    );
  }),
  Split: (node, cotangents) => {
    const zeros = (shape: Shape) => op.expand(node.outputs[0]!.graph.scalar(0), shape);
    return [
      op.concat(
        node.outputs.map((y, i) => cotangents[i] ?? zeros(y.shape)),
        node.attributes.axis as number,
      ),
    ];
  },
  Slice: rule(([x, start, , axes], y, g) => {
    const at = Number(constantOf(axes!)[0]);
    const before = Number(constantOf(start!)[0]);
    return [op.pad(g, at, before, x!.shape[at]! - before - y.shape[at]!)];
  }),
  Pad: rule(([x, pads], _y, g) => {
    const before = constantOf(pads!);
    return [
      x!.shape.reduce(
        (sliced, n, axis) => op.slice(sliced, axis, Number(before[axis]), Number(before[axis]) + n),
        g,
      ),
    ];
  }),
  ReduceSum: rule(([x], y, g) => [op.expand(op.reshape(g, keptShape(x!.shape, y.shape)), x!.shape)]),
  ReduceMean: rule(([x], y, g) => {
    const kept = keptShape(x!.shape, y.shape);
    const count = axesWhere(x!.shape, kept).reduce((product, axis) => product * x!.shape[axis]!, 1);
    return [op.expand(op.mul(op.reshape(g, kept), scalar(g, 1 / count)), x!.shape)];
  }),
  ReduceMax: toExtremes,
  ReduceMin: toExtremes,
  MatMul: rule(([a, b], _y, g, needs) => [
    needs[0] ? sumTo(op.matMul(g, lastTwoSwapped(b!)), a!.shape) : undefined,
    needs[1] ? sumTo(op.matMul(lastTwoSwapped(a!), g), b!.shape) : undefined,
  ]),
  Gemm: rule(([a, b, c], _y, g, needs, node) => {
    const transA = node.attributes.transA === 1;
    const transB = node.attributes.transB === 1;
    return [
      needs[0]
        ? transA
          ? op.gemm(b!, g, { transA: transB, transB: true })
          : op.gemm(g, b!, { transB: !transB })
        : undefined,
      needs[1]
        ? transB
          ? op.gemm(transposed(g), a!, { transB: transA })
          : op.gemm(a!, g, { transA: !transA })
        : undefined,
      needs[2] ? sumTo(g, c!.shape) : undefined,
    ];
  }),
  Softmax: rule((_x, y, g, _needs, node) => {
    const weighted = op.mul(g, y);
    return [op.sub(weighted, op.mul(y, op.reduceSum(weighted, [node.attributes.axis as number])))];
  }),
  LayerNormalization: rule(([x, weight, bias], _y, g, needs, node) => {
    const epsilon = (node.attributes.epsilon as { float: number }).float;
    const centred = op.sub(x!, op.reduceMean(x!, [-1]));
    const variance = op.reduceMean(op.mul(centred, centred), [-1]);
    const rate = op.reciprocal(op.sqrt(op.add(variance, scalar(g, epsilon))));
    const normal = op.mul(centred, rate);
    const h = op.mul(g, weight!);
    const dx = () =>
      op.mul(
        rate,
        op.sub(op.sub(h, op.reduceMean(h, [-1])), op.mul(normal, op.reduceMean(op.mul(h, normal), [-1]))),
      );
    return [
      needs[0] ? dx() : undefined,
      needs[1] ? sumTo(op.mul(g, normal), weight!.shape) : undefined,
      needs[2] ? sumTo(g, bias!.shape) : undefined,
    ];
  }),
};

function constantOf(value: Value): BigInt64Array {
  return value.graph.constants.get(value) as BigInt64Array;
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
    const row = vjpTable[node.op];
    if (!custom && !row) throw new Error(`No gradient for the operator ${node.op}.`);
    const results = custom ? custom.vjp(own[0]!, needs) : row!(node, own, needs);
    results.forEach((g, i) => {
      if (g && needs[i]) accumulate(inputs[i]!, g);
    });
  }
  return wrt.map((value) => cotangents.get(value) ?? op.expand(value.graph.scalar(0), value.shape));
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
