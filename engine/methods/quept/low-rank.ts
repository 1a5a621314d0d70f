/** The product of two thin matrices that is closest to an error of weights, as the layer's output sees it. */
import { createRandom } from '../../data/random.js';
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Programs } from '../../runtime/programs.js';

/** Vectors iterated beside those wanted, and iterations (docs/METHOD.md, section 2). */
const SPARE = 8;
const ITERATIONS = 4;

export interface LowRank {
  /** [rank, in] */
  readonly a: Float32Array;
  /** [out, rank] */
  readonly b: Float32Array;
}

/**
 * B · A with the least tr (E − BA) M (E − BA)ᵀ: with U the leading eigenvectors of E M Eᵀ it is U Uᵀ E. They come out of
 * subspace iteration, whose products are the device's. Directions are balanced, elements of both factors being alike in
 * size. Where E has fewer directions, the others are zero.
 * @param error E [out, in] @param moment M [in, in], symmetric and positive definite
 */
export async function lowRank(
  programs: Programs,
  error: Float32Array,
  moment: Float32Array,
  columns: number,
  rank: number,
): Promise<LowRank> {
  const out = error.length / columns;
  const width = Math.min(out, rank + SPARE);
  const { runtime } = programs;
  const [e, m] = [
    await runtime.place(runtime.tensor(error, [out, columns])),
    await runtime.place(runtime.tensor(moment, [columns, columns])),
  ];
  const through = async (vectors: Float64Array, count: number) => {
    const label = `low rank ${out}×${columns}×${count}`;
    const program = await programs.getBuilt(productsGraph, [out, columns, count], label, { keep: false });
    const q = runtime.tensor(Float32Array.from(vectors), [out, count]);
    const { projected, next } = await program.run({ error: e, moment: m, q });
    return { projected: await runtime.read(projected!), next: Float64Array.from(await runtime.read(next!)) };
  };
  try {
    const random = createRandom(0, 'low rank');
    let q = orthonormal(
      Float64Array.from({ length: out * width }, () => random.normal()),
      width,
    );
    for (let i = 0; i < ITERATIONS; i++) q = orthonormal((await through(q, width)).next, width);
    const { next } = await through(q, width);
    const leading = leadingVectors(q, next, width, Math.min(rank, width));
    const count = Math.min(rank, width);
    const { projected } = await through(leading, count);
    return balanced(leading, projected, out, columns, count, rank);
  } finally {
    e.dispose();
    m.dispose();
  }
}

/** `projected` = Qᵀ E [count, in], and `next` = E M Eᵀ Q [out, count]. */
function productsGraph(out: number, columns: number, count: number): Graph {
  const graph = new Graph();
  const error = graph.input('error', [out, columns]);
  const moment = graph.input('moment', [columns, columns]);
  const projected = op.gemm(graph.input('q', [out, count]), error, { transA: true });
  graph.output('projected', projected);
  const weighted = op.gemm(projected, moment);
  graph.output('next', op.gemm(error, weighted, { transB: true }));
  return graph;
}

/** Columns of [rows, count] made orthonormal, twice for accuracy; those that depend on others become zero. */
function orthonormal(matrix: Float64Array, count: number): Float64Array {
  const rows = matrix.length / count;
  const columns = Array.from({ length: count }, (_, c) =>
    Float64Array.from({ length: rows }, (_, r) => matrix[r * count + c]!),
  );
  for (const [c, column] of columns.entries()) {
    const before = Math.sqrt(dot(column, column));
    for (let pass = 0; pass < 2; pass++)
      for (const other of columns.slice(0, c)) {
        const share = dot(column, other);
        for (let r = 0; r < rows; r++) column[r]! -= share * other[r]!;
      }
    const norm = Math.sqrt(dot(column, column));
    const scale = norm > DEPENDENT * before ? 1 / norm : 0;
    for (let r = 0; r < rows; r++) column[r]! *= scale;
  }
  return Float64Array.from(matrix, (_, i) => columns[i % count]![Math.floor(i / count)]!);
}

/** What is left of a vector, as a share of it, that is a sum of others but for rounding. */
const DEPENDENT = 1e-12;

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** Of the span of Q [out, width] the `count` leading eigenvectors, where `next` is the matrix times Q. */
function leadingVectors(q: Float64Array, next: Float64Array, width: number, count: number): Float64Array {
  const out = q.length / width;
  const small = new Float64Array(width * width);
  for (let r = 0; r < out; r++)
    for (let i = 0; i < width; i++)
      for (let j = 0; j < width; j++) small[i * width + j]! += q[r * width + i]! * next[r * width + j]!;
  const { values, vectors } = eigen(small, width);
  const order = [...values.keys()].sort((i, j) => values[j]! - values[i]!).slice(0, count);
  const found = new Float64Array(out * count);
  for (let r = 0; r < out; r++)
    for (const [c, own] of order.entries()) {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += q[r * width + i]! * vectors[i * width + own]!;
      found[r * count + c] = sum;
    }
  return found;
}

const SWEEPS = 12;
const SMALL = 1e-12;

/** Eigenvalues, and eigenvectors as columns, of a symmetric matrix [n, n], by Jacobi's rotations. */
function eigen(matrix: Float64Array, n: number): { values: Float64Array; vectors: Float64Array } {
  const a = matrix.slice();
  for (let i = 0; i < n; i++)
    for (let j = 0; j < i; j++) a[i * n + j] = a[j * n + i] = (a[i * n + j]! + a[j * n + i]!) / 2;
  const vectors = new Float64Array(n * n);
  for (let i = 0; i < n; i++) vectors[i * n + i] = 1;
  const rotate = (of: Float64Array, p: number, q: number, cosine: number, sine: number, step: number) => {
    for (let k = 0, [x, y] = [p, q]; k < n; k++, x += step, y += step) {
      const [first, second] = [of[x]!, of[y]!];
      of[x] = cosine * first - sine * second;
      of[y] = sine * first + cosine * second;
    }
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let rotated = false;
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        const [pp, qq, pq] = [a[p * n + p]!, a[q * n + q]!, a[p * n + q]!];
        if (Math.abs(pq) <= SMALL * Math.sqrt(Math.abs(pp * qq))) continue;
        rotated = true;
        const theta = (qq - pp) / (2 * pq);
        const tangent = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(1 + theta * theta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        const sine = tangent * cosine;
        rotate(a, p, q, cosine, sine, n);
        rotate(a, p * n, q * n, cosine, sine, 1);
        rotate(vectors, p, q, cosine, sine, n);
      }
    if (!rotated) break;
  }
  return { values: Float64Array.from({ length: n }, (_, i) => a[i * n + i]!), vectors };
}

/** U [out, count] and UᵀE [count, in] as B and A of `rank` directions, each of one root mean square in both. */
function balanced(
  u: Float64Array,
  projected: Float32Array,
  out: number,
  columns: number,
  count: number,
  rank: number,
): LowRank {
  const [a, b] = [new Float32Array(rank * columns), new Float32Array(out * rank)];
  for (let d = 0; d < count; d++) {
    let squares = 0;
    for (let j = 0; j < columns; j++) squares += projected[d * columns + j]! ** 2;
    if (squares === 0) continue;
    const scale = (Math.sqrt(squares / columns) * Math.sqrt(out)) ** 0.5;
    for (let j = 0; j < columns; j++) a[d * columns + j] = projected[d * columns + j]! / scale;
    for (let r = 0; r < out; r++) b[r * rank + d] = u[r * count + d]! * scale;
  }
  return { a, b };
}
