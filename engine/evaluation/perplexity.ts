/** Perplexity of a language model over windows of tokens (docs/EVALUATION.md). */
import { CancelledError } from '../errors.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { RunnableModel } from '../methods/quept/elastic-model.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { requireLanguage } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { rowHeads, type Candidate } from './evaluate.js';
import type { EvaluationHooks, EvaluationRow } from './rows.js';

/** Windows of token ids, side by side: [count, length]. */
export interface Windows {
  readonly ids: Int32Array;
  readonly count: number;
  readonly length: number;
}

/** Logits of a run, unless one window has more. */
const LOGITS = 1 << 22;

/** −log p of every row's target: `logits` [rows, vocabulary], `targets` [rows] (index into the flat logits) → `nll` [rows]. */
function lossGraph(rows: number, vocabulary: number): Graph {
  const graph = new Graph();
  const logits = graph.input('logits', [rows, vocabulary]);
  const largest = op.reduceMax(logits, [1]);
  const total = op.log(op.reduceSum(op.exp(op.sub(logits, largest)), [1]));
  const target = op.gather(op.reshape(logits, [rows * vocabulary]), graph.input('targets', [rows], 'int64'));
  graph.output('nll', op.sub(op.reshape(op.add(total, largest), [rows]), target));
  return graph;
}

/**
 * exp of the mean −log p over the tokens of all windows, the first of each window not scored. Full precision first.
 * @param logits how many a run may compute, which decides how many windows it takes
 */
export async function evaluatePerplexity(
  programs: Programs,
  checkpoint: Checkpoint,
  plain: RunnableModel,
  candidates: readonly Candidate[],
  windows: Windows,
  hooks: EvaluationHooks,
  logits = LOGITS,
): Promise<EvaluationRow[]> {
  const { vocabulary } = requireLanguage(checkpoint.model, checkpoint.name, 'Perplexity');
  const rows: EvaluationRow[] = [];
  for (const [i, head] of rowHeads(checkpoint, candidates).entries()) {
    const candidate = candidates[i - 1];
    await candidate?.model.use(candidate.bits);
    const mean = await meanLoss(programs, vocabulary, candidate?.model ?? plain, windows, logits, {
      signal: hooks.signal,
      status: (done) => hooks.status((i + done) / (candidates.length + 1), rows),
    });
    rows.push({ ...head, samples: windows.count, perplexity: Math.exp(mean) });
    hooks.status((i + 1) / (candidates.length + 1), rows);
  }
  return rows;
}

async function meanLoss(
  programs: Programs,
  vocabulary: number,
  model: RunnableModel,
  windows: Windows,
  limit: number,
  hooks: { readonly signal: AbortSignal; status(done: number): void },
): Promise<number> {
  const { runtime } = programs;
  const { ids, count, length } = windows;
  const batch = Math.max(1, Math.min(count, Math.floor(limit / (length * vocabulary))));
  const rows = batch * length;
  const program = await programs.get(`loss ${rows}×${vocabulary}`, () => lossGraph(rows, vocabulary), {
    keep: false,
  });
  let sum = 0;
  for (let start = 0; start < count; start += batch) {
    if (hooks.signal.aborted) throw new CancelledError();
    // The last batch is filled up with its last window, which is then not counted again.
    const picked = Array.from({ length: batch }, (_, i) => Math.min(start + i, count - 1));
    const tokens = picked.map((w) => ids.subarray(w * length, (w + 1) * length));
    const inputs = BigInt64Array.from(tokens.flatMap((window) => Array.from(window, BigInt)));
    const targets = BigInt64Array.from({ length: rows }, (_, row) => {
      const next = tokens[Math.floor(row / length)]![(row % length) + 1] ?? 0;
      return BigInt(row * vocabulary + next);
    });
    const logits = await model.logits(runtime.tensor(inputs, [batch, length]), batch);
    const { nll } = await program.run({ logits, targets: runtime.tensor(targets, [rows]) });
    logits.dispose();
    const losses = await runtime.read(nll!);
    const scored = Math.min(batch, count - start) * length;
    for (let row = 0; row < scored; row++) if (row % length < length - 1) sum += losses[row]!;
    hooks.status(Math.min(1, (start + batch) / count));
  }
  return sum / (count * (length - 1));
}
