/** A text that goes on token by token: what was run of it is not run again. */
import type { LanguageModel, Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import { filledLength, madeOf, openKeptPart, positionInputs, roomFor, type KeptPart } from './kept-tokens.js';
import { disposeAll, type RunnablePart, type Tensors } from './part.js';

export interface Generation {
  /** The logits [vocabulary] behind a text, which replaces the one there was. */
  begin(ids: readonly number[]): Promise<Float32Array>;
  /** The logits behind one more token. A model that was switched meanwhile runs the whole text again. */
  follow(id: number): Promise<Float32Array>;
}

/** @param version changes when the model is switched */
export function openGeneration(
  { runtime }: Programs,
  model: LanguageModel,
  parts: ReadonlyMap<Part, RunnablePart>,
  version: () => number,
): Generation {
  const rope = model.keeps!;
  const windows = new Set(model.layout?.windows ?? [undefined]);
  let ids: number[] = [];
  let kept: readonly KeptPart[] = [];
  let runBy = version();

  const logitsOf = async (x: Tensor): Promise<Float32Array> => {
    const y = await parts.get(model.head)!.run(x, 1);
    const logits = await runtime.read(y);
    y.dispose();
    return logits;
  };
  const embedded = (tokens: readonly number[], length: number) => {
    const window = new BigInt64Array(length);
    window.set(tokens.map(BigInt));
    return parts.get(model.stem)!.run(runtime.tensor(window, [1, length]), 1);
  };
  /** Through all blocks, of which each adds to its kept tokens; what the head reads. */
  const pass = async (
    x: Tensor,
    from: number,
    count: number,
    room: number,
    shared: Tensors,
  ): Promise<Tensor> => {
    let stream = x;
    for (const [i, part] of model.blocks.entries()) {
      const own = kept[i]!;
      const before = room === 0 ? {} : { ...shared, ...own.inputs() };
      const { y, ...made } = await parts.get(part)!.keep(stream, { room, rope }, before);
      stream.dispose();
      own.add(from, count, await madeOf(runtime, made));
      stream = y!;
    }
    return stream;
  };

  const begin = async (text: readonly number[]): Promise<Float32Array> => {
    runBy = version();
    const filled = filledLength(text.length, model.tokens);
    kept = model.blocks.map(() => openKeptPart(runtime));
    const x = await pass(await embedded(text, filled), 0, text.length, 0, {});
    ids = [...text];
    const rows = await runtime.read(x);
    x.dispose();
    const features = rows.length / filled;
    const last = rows.slice((ids.length - 1) * features, ids.length * features);
    return logitsOf(runtime.tensor(last, model.head.inputShape(1)));
  };

  return {
    begin,
    follow: async (id) => {
      const text = [...ids, id];
      if (runBy !== version()) return begin(text);
      const room = roomFor(ids.length);
      const shared = positionInputs(runtime, rope, ids.length, room, windows);
      const x = await pass(await embedded([id], 1), ids.length, 1, room, shared);
      disposeAll(shared);
      ids = text;
      const logits = await logitsOf(x);
      x.dispose();
      return logits;
    },
  };
}
