/** The triangular factor of a layer's Hessian, from which corrections are read. */
import { CancelledError, UserError } from '../errors.js';
import { requireFinite } from '../execution/finite.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';

/**
 * Rows that are factored at once; the product with all rows behind them runs on the device (docs/METHOD.md, section
 * 8).
 */
const PANEL = 128;
/** Share of the mean diagonal that GPTQ adds to the diagonal (Frantar et al. 2023, section 3.3, step 3). */
export const GPTQ_DAMPING = 0.01;
/** So far damping is raised, tenfold each time (docs/METHOD.md, section 8). */
const MAX_DAMPING = 100;

export interface FactorHooks {
  readonly signal: AbortSignal;
  readonly note: (line: string) => void;
}

/**
 * T with TᵀT = H + λI, lower triangular [n, n], in float32. λ is a share of the mean diagonal, and ten times as much, with a
 * note, each time that is too little for H to be positive definite. An input that was never active has a zero on the
 * diagonal; the mean of the others stands for it. Throws UserError where H is not finite, or has no factor.
 * @param hessian H [n, n], symmetric, up to a factor, which changes nothing that is made of T
 * @param layer names the Hessian in messages @param damping the share
 */
export async function factorHessian(
  programs: Programs,
  hessian: Float32Array,
  n: number,
  layer: string,
  { signal, note }: FactorHooks,
  damping = GPTQ_DAMPING,
): Promise<Float32Array> {
  requireFinite(hessian, layer);
  const active = Array.from({ length: n }, (_, i) => hessian[i * n + i]!).filter((x) => x !== 0);
  const mean = active.length > 0 ? active.reduce((sum, x) => sum + x, 0) / active.length : 1;
  const diagonal = Float64Array.from({ length: n }, (_, i) => hessian[i * n + i]! || mean);
  for (let share = damping; ; share *= 10) {
    const damped = diagonal.map((x) => x + share * mean);
    const factor = await factorize(programs, hessian, damped, signal);
    if (factor) return factor;
    if (share * 10 > MAX_DAMPING)
      throw new UserError(`${layer}: there is no Cholesky factor, even with damping of ${percent(share)}.`);
    note(
      `${layer}: damping of ${percent(share)} is too little for a Cholesky factor; trying ${percent(share * 10)}.`,
    );
  }
}

const percent = (share: number) => `${Math.round(100 * share)} %`;

/**
 * T with TᵀT = H, from the last row to the first, a panel of rows at a time; undefined where H is not positive definite.
 * @param diagonal stands for that of `hessian`
 */
async function factorize(
  programs: Programs,
  hessian: Float32Array,
  diagonal: Float64Array,
  signal: AbortSignal,
): Promise<Float32Array | undefined> {
  const { runtime } = programs;
  const n = diagonal.length;
  const program = await programs.getBuilt(overlapGraph, [n], `factor ${n}`, { keep: false });
  const factor = new Float32Array(n * n);
  const behind = new Float32Array(n * PANEL);
  const panel = new Float64Array(PANEL * n);
  for (let start = Math.floor((n - 1) / PANEL) * PANEL; start >= 0; start -= PANEL) {
    if (signal.aborted) throw new CancelledError();
    const end = Math.min(n, start + PANEL);
    behind.fill(0);
    for (let k = end; k < n; k++) behind.set(factor.subarray(k * n + start, k * n + end), k * PANEL);
    const outputs = await program.run({
      behind: runtime.tensor(behind, [n, PANEL]),
      factor: runtime.tensor(factor, [n, n]),
    });
    const overlap = await runtime.read(outputs.overlap!);
    for (let row = start; row < end; row++) {
      for (let i = 0; i < row; i++)
        panel[(row - start) * n + i] = hessian[row * n + i]! - overlap[(row - start) * n + i]!;
      panel[(row - start) * n + row] = diagonal[row]! - overlap[(row - start) * n + row]!;
    }
    if (!factorPanel(panel, n, start, end)) return undefined;
    for (let row = start; row < end; row++)
      factor.set(panel.subarray((row - start) * n, (row - start) * n + row + 1), row * n);
  }
  return factor;
}

/** What the rows of T behind a panel already make of H: `behind` [n, PANEL], their columns of the panel, times `factor` [n, n] → `overlap` [PANEL, n]. */
function overlapGraph(n: number): Graph {
  const graph = new Graph();
  const behind = graph.input('behind', [n, PANEL]);
  graph.output('overlap', op.gemm(behind, graph.input('factor', [n, n]), { transA: true }));
  return graph;
}

/** Replaces rows `start` to `end` of what is left of H by those of T, in place; false where a pivot is not positive. */
function factorPanel(panel: Float64Array, n: number, start: number, end: number): boolean {
  for (let row = end - 1; row >= start; row--) {
    const at = (row - start) * n;
    const pivot = Math.sqrt(panel[at + row]!);
    if (!(pivot > 0)) return false;
    for (let i = 0; i <= row; i++) panel[at + i]! /= pivot;
    for (let above = start; above < row; above++) {
      const share = panel[at + above]!;
      const to = (above - start) * n;
      for (let i = 0; i <= above; i++) panel[to + i]! -= share * panel[at + i]!;
    }
  }
  return true;
}
