/**
 * −log p of the tokens of texts, and how far their logits are from full precision, with the weights of one part of the
 * model in memory at a time.
 */
import { openSampleCache, samplesIn, type SampleStore } from '../execution/sample-store.js';
import { CancelledError } from '../errors.js';
import { partFlops, type RunnablePart } from '../execution/part.js';
import { rowsAtOnce } from '../execution/logit-divergence.js';
import {
  flopsOfBlocks,
  passBlocks,
  passingSize,
  type OpenPart,
  type PassHooks,
} from '../execution/part-by-part.js';
import { inputSize, outputSize, type Model, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import { rowScorer } from './scored-rows.js';

/** Texts of one length, side by side. */
export interface Texts {
  readonly count: number;
  readonly length: number;
  /** What the model reads, [count, length]. */
  readonly ids: Int32Array;
  /** The token behind each, which is scored, [count, length]; `NOT_SCORED` where none is. */
  readonly next: Int32Array;
}

export const NOT_SCORED = -1;

export interface LossLimits {
  /** Bytes of activations between parts; texts beyond them wait for another pass through the model. */
  readonly memory: number;
  /** Rows of logits computed at once, a token each; default: `rowsAtOnce`. */
  readonly rows?: number;
}

/** A run of the same texts that others are held against: what its head reads of each. */
export interface Reference {
  readonly store: SampleStore;
  readonly head: RunnablePart;
}

export interface TokenScores {
  /** −log p in nats, [count, length]; 0 where none is scored. */
  readonly losses: Float32Array;
  /** KL(reference ‖ model) in nats, [count, length]; 0 where none is scored, and without a reference. */
  readonly divergences: Float32Array;
}

/** Tokens that run at once (docs/METHOD.md, section 11). */
const BATCH_TOKENS = 2048;

/** A language model, the texts that it is asked for, and what it is held against. */
export interface Scored {
  /** Built for texts of this length. */
  readonly model: Model;
  readonly open: OpenPart;
  readonly texts: Texts;
  readonly limits: LossLimits;
  readonly reference?: Reference;
  /** Takes what the head reads, for others to be held against. */
  readonly keep?: SampleStore;
}

/** The scores of every token given those before it in its text. */
export async function tokenScores(
  programs: Programs,
  { model, open, texts, limits, reference, keep }: Scored,
  { signal, status = () => undefined }: PassHooks,
): Promise<TokenScores> {
  const { memory, rows: atOnce } = limits;
  const { count, length } = texts;
  const losses = new Float32Array(count * length);
  const divergences = new Float32Array(count * length);
  const most = Math.max(1, Math.floor(memory / (passingSize(model) * Float32Array.BYTES_PER_ELEMENT)));
  const cache = await openSampleCache(Infinity);
  const before = flopsOfBlocks(model);
  const head = partFlops(model.head) * (reference ? 2 : 1);
  try {
    for (let first = 0; first < count; first += most) {
      const samples = Math.min(most, count - first);
      const ids = BigInt64Array.from(texts.ids.subarray(first * length, (first + samples) * length), BigInt);
      const share = (done: number) => status((first + done * samples) / count);
      const scored = scoredTokens(first * length, samples * length);
      const passing = (samples * before) / (samples * before + scored.length * head);
      const batch = Math.max(1, Math.min(samples, Math.floor(BATCH_TOKENS / length)));
      const store = await passBlocks(programs, model, open, samplesIn(ids, samples), {
        cache,
        batch,
        signal,
        status: (done) => share(passing * done),
      });
      if (keep) copy(store, keep, first);
      await score(first * length, store, scored, (done) => share(passing + (1 - passing) * done));
      store.release();
    }
  } finally {
    cache.close();
  }
  return { losses, divergences };

  /** Where tokens are scored among so many from position `from` on, which is 0. */
  function scoredTokens(from: number, tokens: number): number[] {
    const scored: number[] = [];
    for (let at = 0; at < tokens; at++) if (texts.next[from + at] !== NOT_SCORED) scored.push(at);
    return scored;
  }

  /** Scores tokens of the texts in `store`, whose first is at position `from`. */
  async function score(
    from: number,
    store: SampleStore,
    scored: readonly number[],
    done: (share: number) => void,
  ): Promise<void> {
    const vocabulary = outputSize(model.head);
    const rows = Math.max(1, Math.min(scored.length, atOnce ?? rowsAtOnce(vocabulary)));
    const scoreOf = await rowScorer(programs, rows, vocabulary, reference !== undefined);
    const head = await open(model.head);
    const runOwn = headRunner(programs, head, model.head, rows);
    const runReference = reference && headRunner(programs, reference.head, model.head, rows);
    try {
      for (let start = 0; start < scored.length; start += rows) {
        if (signal.aborted) throw new CancelledError();
        const picked = scored.slice(start, start + rows);
        const next = picked.map((at) => texts.next[from + at]!);
        const logits = await runOwn(store, picked);
        const other = picked.map((at) => from + at);
        const { nll, kl } = await scoreOf(logits, next, await runReference?.(reference!.store, other));
        for (const [row, at] of picked.entries()) {
          losses[from + at] = nll[row]!;
          if (kl) divergences[from + at] = kl[row]!;
        }
        done(Math.min(1, (start + rows) / scored.length));
      }
    } finally {
      head.dispose();
    }
  }
}

/** Makes of stored tokens at most `rows` rows of logits [rows, vocabulary]; rows beyond them are of no meaning. */
export function headRunner(
  { runtime }: Programs,
  head: RunnablePart,
  part: Part,
  rows: number,
): (store: SampleStore, tokens: readonly number[]) => Promise<Tensor> {
  const features = inputSize(part);
  const buffer = new Float32Array(rows * features);
  return (store, tokens) => {
    for (const [row, token] of tokens.entries())
      store.readSpan(token * features, buffer.subarray(row * features, (row + 1) * features));
    return head.run(runtime.tensor(buffer, part.inputShape(rows)), rows);
  };
}

/** Copies all samples of a store to another, where they begin at `first`. */
function copy(from: SampleStore, to: SampleStore, first: number): void {
  const sample = new Float32Array(from.size);
  for (let i = 0; i < from.samples; i++) {
    from.read([i], sample);
    to.write([first + i], sample);
  }
}
