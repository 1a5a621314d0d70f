/** What columns that are quantized leave to those after them: gone through from left to right, a panel at a time. */
import { CancelledError } from '../errors.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';

export interface Panel {
  readonly index: number;
  /** Its first column, and how many it has. */
  readonly start: number;
  readonly columns: number;
  /** Of every row Σ_i error_i T_ji over all columns i before the panel: [out, panel]. */
  readonly before: Float32Array;
  /** Column by column, T of the panel's own columns: T_ji at [i · panel + j]. */
  readonly corner: Float64Array;
}

export interface Panels {
  readonly out: number;
  /** All columns. */
  readonly n: number;
  /** Columns of a panel; the last has as many as are left. */
  readonly panel: number;
}

/**
 * Visits panels of columns in order. Products with all columns before a panel run on the device.
 * @param factor T [n, n], lower triangular @param visit fills in the errors of a panel's columns, [out, n], 0 till then
 */
export async function visitPanels(
  programs: Programs,
  factor: Float32Array,
  { out, n, panel }: Panels,
  signal: AbortSignal,
  visit: (panel: Panel, errors: Float32Array) => void,
): Promise<void> {
  const { runtime } = programs;
  const label = `errors ${out}×${n} per ${panel}`;
  const program = await programs.getBuilt(errorGraph, [out, n, panel], label, { keep: false });
  const errors = new Float32Array(out * n);
  const rows = new Float32Array(panel * n);
  const corner = new Float64Array(panel * panel);
  for (let index = 0; index * panel < n; index++) {
    if (signal.aborted) throw new CancelledError();
    const start = index * panel;
    const columns = Math.min(panel, n - start);
    rows.fill(0).set(factor.subarray(start * n, (start + columns) * n));
    for (let j = 0; j < columns; j++)
      for (let i = 0; i <= j; i++) corner[i * panel + j] = rows[j * n + start + i]!;
    const outputs = await program.run({
      errors: runtime.tensor(errors, [out, n]),
      rows: runtime.tensor(rows, [panel, n]),
    });
    visit({ index, start, columns, before: await runtime.read(outputs.before!), corner }, errors);
  }
}

/** Σ_i error_i T_ji over all columns i before a panel: `errors` [out, n], `rows` of T [panel, n] → `before` [out, panel]. */
function errorGraph(out: number, n: number, panel: number): Graph {
  const graph = new Graph();
  const errors = graph.input('errors', [out, n]);
  graph.output('before', op.gemm(errors, graph.input('rows', [panel, n]), { transB: true }));
  return graph;
}

/** 1.5 · 2⁵²: float64 numbers of this size are whole, so that adding it rounds, half to even. */
const WHOLE = 1.5 * 2 ** 52;
export const rounded = (x: number): number => x + WHOLE - WHOLE;
