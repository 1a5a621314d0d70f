/** Scores of rows of logits, a token each: −log p of the token behind it, and the divergence from full precision. */
import { divergenceOf, logProbabilities } from '../execution/logit-divergence.js';
import { disposeAll } from '../execution/part.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';

/** Of every row: −log p in nats, and KL(reference ‖ row) where there is a reference. */
export interface RowScores {
  readonly nll: Float32Array;
  readonly kl?: Float32Array;
}

/**
 * Scores so many rows at once. The tensors are disposed of.
 * @param logits [rows, vocabulary] @param next the token behind each row; 0 will do where none is scored
 */
export type ScoreRows = (
  logits: Tensor,
  next: readonly number[],
  reference: Tensor | undefined,
) => Promise<RowScores>;

export async function rowScorer(
  programs: Programs,
  rows: number,
  vocabulary: number,
  isCompared: boolean,
): Promise<ScoreRows> {
  const { runtime } = programs;
  const label = `scores ${rows}×${vocabulary}`;
  const parameters = [rows, vocabulary, isCompared] as const;
  const program = await programs.getBuilt(scoresGraph, parameters, label, { keep: false });
  return async (logits, next, reference) => {
    const targets = new BigInt64Array(rows);
    for (const [row, token] of next.entries()) targets[row] = BigInt(row * vocabulary + token);
    const feeds = { logits, ...(reference && { reference }) };
    const { nll, kl } = await program.run({ ...feeds, targets: runtime.tensor(targets, [rows]) });
    disposeAll(feeds);
    return { nll: await runtime.read(nll!), ...(kl && { kl: await runtime.read(kl) }) };
  };
}

/**
 * Of every row: −log p of its target, and KL(reference ‖ logits). `logits` and `reference` [rows, vocabulary], `targets`
 * [rows] (index into the flat logits) → `nll` [rows], `kl` [rows].
 */
function scoresGraph(rows: number, vocabulary: number, isCompared: boolean): Graph {
  const graph = new Graph();
  const of = (name: string) => logProbabilities(graph.input(name, [rows, vocabulary]));
  const q = of('logits');
  const targets = graph.input('targets', [rows], 'int64');
  graph.output('nll', op.neg(op.gather(op.reshape(q, [rows * vocabulary]), targets)));
  if (!isCompared) return graph;
  graph.output('kl', divergenceOf(of('reference'), q));
  return graph;
}
