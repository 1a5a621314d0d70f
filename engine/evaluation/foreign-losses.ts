/** −log p of the tokens of texts, and how far their logits are from full precision, of a model in a runtime that is not this engine's. */
import { CancelledError, UserError } from '../errors.js';
import { rowsAtOnce } from '../execution/logit-divergence.js';
import type { PassHooks } from '../execution/part-by-part.js';
import { outputSize, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { ForeignModel } from '../verification/process.js';
import { rowScorer } from './scored-rows.js';
import { headRunner, NOT_SCORED, type Reference, type Texts, type TokenScores } from './token-losses.js';

export interface ForeignScored {
  /** Starts the runtime. @param tokens the most of a text */
  readonly start: (tokens: number, signal: AbortSignal) => Promise<ForeignModel>;
  /** Names it where it yields other logits than the model has. */
  readonly label: string;
  /** The model's, which tells how many tokens there are to choose from. */
  readonly head: Part;
  readonly texts: Texts;
  readonly reference?: Reference;
}

/** As `tokenScores`, a text at a time. Throws UserError where the runtime fails. */
export async function foreignScores(
  programs: Programs,
  { start, label, head, texts, reference }: ForeignScored,
  { signal, status = () => undefined }: PassHooks,
): Promise<TokenScores> {
  const { count, length } = texts;
  const vocabulary = outputSize(head);
  const losses = new Float32Array(count * length);
  const divergences = new Float32Array(count * length);
  const rows = Math.min(length, rowsAtOnce(vocabulary));
  const scoreOf = await rowScorer(programs, rows, vocabulary, reference !== undefined);
  const runReference = reference && headRunner(programs, reference.head, head, rows);
  const foreign = await start(length, signal);
  try {
    for (let text = 0; text < count; text++) {
      const first = text * length;
      const next = [...texts.next.subarray(first, first + length)];
      const end = next.findLastIndex((token) => token !== NOT_SCORED) + 1;
      await foreign.text(texts.ids.slice(first, first + end));
      for (let from = 0; from < end; from += rows) {
        if (signal.aborted) throw new CancelledError();
        const to = Math.min(end, from + rows);
        const logits = await foreign.logits(from, to);
        if (logits.length !== (to - from) * vocabulary)
          throw new UserError(
            `${label} yields ${logits.length / (to - from)} logits a token, and the model ${vocabulary}: it is an export of another one.`,
          );
        const padded = new Float32Array(rows * vocabulary);
        padded.set(logits);
        const targets = next.slice(from, to).map((token) => Math.max(0, token));
        const positions = targets.map((_, row) => first + from + row);
        const { nll, kl } = await scoreOf(
          programs.runtime.tensor(padded, [rows, vocabulary]),
          targets,
          await runReference?.(reference!.store, positions),
        );
        for (const [row, at] of positions.entries()) {
          if (next[from + row] === NOT_SCORED) continue;
          losses[at] = nll[row]!;
          if (kl) divergences[at] = kl[row]!;
        }
        status((first + to) / (count * length));
      }
    }
  } finally {
    foreign.close();
  }
  return { losses, divergences };
}
