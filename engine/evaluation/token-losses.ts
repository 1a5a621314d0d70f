/** −log p of the tokens of texts, with the weights of one part of the model in memory at a time. */
import { openSampleCache, samplesIn } from '../data/sample-store.js';
import { CancelledError } from '../errors.js';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { passBlocks, type OpenPart, type PassHooks } from '../methods/quept/part-by-part.js';
import { headOf, type Model } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';

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
  /** Logits computed at once, unless one token has more. */
  readonly logits?: number;
}

/** Tokens that run at once. */
const BATCH_TOKENS = 2048;
const LOGITS = 1 << 22;

/**
 * −log p in nats of every scored token given those before it in its text, [count, length]; 0 where none is scored.
 * @param model a language model, built for texts of this length
 */
export async function tokenLosses(
  programs: Programs,
  model: Model,
  open: OpenPart,
  texts: Texts,
  { memory, logits = LOGITS }: LossLimits,
  { signal, status = () => undefined }: PassHooks,
): Promise<Float32Array> {
  const { count, length } = texts;
  const size = length * model.width;
  const losses = new Float32Array(count * length);
  const most = Math.max(1, Math.floor(memory / (size * Float32Array.BYTES_PER_ELEMENT)));
  const cache = await openSampleCache(Infinity);
  try {
    for (let first = 0; first < count; first += most) {
      const samples = Math.min(most, count - first);
      const ids = BigInt64Array.from(texts.ids.subarray(first * length, (first + samples) * length), BigInt);
      const store = cache.store(samples, size);
      const share = (done: number) => status((first + done * samples) / count);
      const batch = Math.max(1, Math.min(samples, Math.floor(BATCH_TOKENS / length)));
      await passBlocks(programs, model, open, samplesIn(ids, samples), store, batch, {
        signal,
        status: (done) => share(0.9 * done),
      });
      await headLosses(
        first * length,
        store.readSpan.bind(store),
        (done) => share(0.9 + 0.1 * done),
        samples,
      );
      store.release();
    }
  } finally {
    cache.close();
  }
  return losses;

  /** Scores the tokens of `samples` texts, the first at position `from`, whose activations `readSpan` gives. */
  async function headLosses(
    from: number,
    readSpan: (start: number, into: Float32Array) => void,
    done: (share: number) => void,
    samples: number,
  ): Promise<void> {
    const { runtime } = programs;
    const { width } = model;
    const vocabulary = headOf(model).classes;
    const scored: number[] = [];
    for (let at = 0; at < samples * length; at++) if (texts.next[from + at] !== NOT_SCORED) scored.push(at);
    const rows = Math.max(1, Math.min(scored.length, Math.floor(logits / vocabulary)));
    const program = await programs.get(`loss ${rows}×${vocabulary}`, () => lossGraph(rows, vocabulary), {
      keep: false,
    });
    const head = await open(model.head);
    const buffer = new Float32Array(rows * width);
    try {
      for (let start = 0; start < scored.length; start += rows) {
        if (signal.aborted) throw new CancelledError();
        const picked = scored.slice(start, start + rows);
        for (const [row, at] of picked.entries())
          readSpan(at * width, buffer.subarray(row * width, (row + 1) * width));
        const targets = new BigInt64Array(rows);
        for (const [row, at] of picked.entries())
          targets[row] = BigInt(row * vocabulary + texts.next[from + at]!);
        const y = await head.run(runtime.tensor(buffer, model.head.inputShape(rows)), rows);
        const { nll } = await program.run({ logits: y, targets: runtime.tensor(targets, [rows]) });
        y.dispose();
        const found = await runtime.read(nll!);
        for (const [row, at] of picked.entries()) losses[from + at] = found[row]!;
        done(Math.min(1, (start + rows) / scored.length));
      }
    } finally {
      head.dispose();
    }
  }
}

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
