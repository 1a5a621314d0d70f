/** The scales that are best for codes that stay. */
import { CancelledError } from '../../errors.js';
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Programs } from '../../runtime/programs.js';
import { groupsOf, type Layout } from './grids.js';

/** A scale stays within these multiples of what it was. */
const [LEAST, MOST] = [0.3, 3];

/**
 * The scales of each row with which (w − Σ_g s_g v_g) M (…)ᵀ is least, v_g its group's codes less the zero point: of whole
 * rows v M wᵀ / v M vᵀ, of groups the solution of a system of as many unknowns. A row keeps its scales where others are
 * not better.
 * @param weight W and @param steps v = codes − zero, both [out, in] @param moment M [in, in], all in the columns' own order
 * @param scale [out · groups] @param stored what becomes of a scale where it is stored
 */
export async function refitScales(
  programs: Programs,
  weight: Float32Array,
  steps: Float32Array,
  moment: Float32Array,
  { groupSize }: Pick<Layout, 'groupSize'>,
  scale: Float32Array,
  signal: AbortSignal,
  stored: (scale: number) => number = Math.fround,
): Promise<Float32Array> {
  const { runtime } = programs;
  const n = Math.sqrt(moment.length);
  const out = weight.length / n;
  const perGroup = groupSize === -1 ? n : groupSize;
  const groups = groupsOf(n, groupSize);
  const program = await programs.getBuilt(
    overlapGraph,
    [out, n, perGroup],
    `refit ${out}×${n} per ${perGroup}`,
    {
      keep: false,
    },
  );
  const systems = new Float64Array(out * groups * groups);
  const right = new Float64Array(out * groups);
  const shared = { steps: runtime.tensor(steps, [out, n]), weight: runtime.tensor(weight, [out, n]) };
  const own = new Float32Array(out * perGroup);
  const rows = new Float32Array(perGroup * n);
  for (let group = 0; group < groups; group++) {
    if (signal.aborted) throw new CancelledError();
    const first = group * perGroup;
    const columns = Math.min(perGroup, n - first);
    own.fill(0);
    for (let row = 0; row < out; row++)
      own.set(steps.subarray(row * n + first, row * n + first + columns), row * perGroup);
    rows.fill(0).set(moment.subarray(first * n, (first + columns) * n));
    const outputs = await program.run({
      ...shared,
      own: runtime.tensor(own, [out, perGroup]),
      rows: runtime.tensor(rows, [perGroup, n]),
    });
    const found = await runtime.read(outputs.overlaps!);
    const value = await runtime.read(outputs.value!);
    for (let row = 0; row < out; row++) {
      right[row * groups + group] = value[row]!;
      for (let g = 0; g < groups; g++)
        systems[(row * groups + group) * groups + g] = found[row * groups + g]!;
    }
  }
  const next = scale.slice();
  const room = { lower: new Float64Array(groups * groups), x: new Float64Array(groups) };
  for (let row = 0; row < out; row++) {
    const at = row * groups;
    const system = systems.subarray(at * groups, (at + groups) * groups);
    const b = right.subarray(at, at + groups);
    const before = scale.subarray(at, at + groups);
    const limited = solve(system, b, room);
    if (!limited) continue;
    for (const [g, s] of before.entries())
      limited[g] = stored(Math.min(Math.max(limited[g]!, LEAST * s), MOST * s));
    if (lossOf(system, b, limited) < lossOf(system, b, before)) next.set(limited, at);
  }
  return next;
}

/** Of a group's steps `own` [out, perGroup] with its `rows` of M [perGroup, n]: v_g M v_hᵀ for every group h → `overlaps` [out, groups], v_g M wᵀ → `value` [out, 1]. */
function overlapGraph(out: number, n: number, perGroup: number): Graph {
  const graph = new Graph();
  const groups = Math.ceil(n / perGroup);
  const product = op.gemm(graph.input('own', [out, perGroup]), graph.input('rows', [perGroup, n]));
  const each = op.pad(op.mul(product, graph.input('steps', [out, n])), 1, 0, groups * perGroup - n);
  graph.output('overlaps', op.reduceSum(op.reshape(each, [out, groups, perGroup]), [2], false));
  graph.output('value', op.reduceSum(op.mul(product, graph.input('weight', [out, n])), [1]));
  return graph;
}

/** s A sᵀ − 2 s bᵀ. */
function lossOf(a: Float64Array, b: Float64Array, s: ArrayLike<number>): number {
  const n = b.length;
  let sum = 0;
  for (let g = 0; g < n; g++) {
    let product = -2 * b[g]!;
    for (let h = 0; h < n; h++) product += a[g * n + h]! * s[h]!;
    sum += s[g]! * product;
  }
  return sum;
}

/**
 * The solution of A x = b for a symmetric positive definite A [n, n], in `room`; undefined where it is not, as where all steps
 * are 0.
 */
function solve(
  a: Float64Array,
  b: Float64Array,
  { lower, x }: { readonly lower: Float64Array; readonly x: Float64Array },
): Float64Array | undefined {
  const n = b.length;
  lower.set(a);
  x.set(b);
  for (let j = 0; j < n; j++) {
    for (let k = 0; k < j; k++) {
      const share = lower[j * n + k]!;
      for (let i = j; i < n; i++) lower[i * n + j]! -= lower[i * n + k]! * share;
    }
    const pivot = Math.sqrt(lower[j * n + j]!);
    if (!(pivot > 0 && pivot < Infinity)) return undefined;
    for (let i = j; i < n; i++) lower[i * n + j]! /= pivot;
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= lower[i * n + k]! * x[k]!;
    x[i]! /= lower[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= lower[k * n + i]! * x[k]!;
    x[i]! /= lower[i * n + i]!;
  }
  return x;
}
