/** How a language model goes on with a text. */
import { unixLines } from '../../data/text/line-ends.js';
import { endTokens } from '../../data/text/end-tokens.js';
import { openTokenizer } from '../../data/text/tokenizer.js';
import { UserError } from '../../errors.js';
import { filledLength } from '../../execution/kept-tokens.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { LanguageModel } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { likeliest } from '../likeliest.js';
import type { Predict } from '../task.js';

const DEFAULT_TOKENS = 16;

export async function textPredictor(
  { runtime }: Programs,
  { folder, model: { tokens: length, vocabulary } }: Checkpoint<LanguageModel>,
): Promise<Predict> {
  const tokenizer = await openTokenizer(folder, { vocabulary });
  const ends = await endTokens(folder, tokenizer);
  return async (input, model, signal, heard) => {
    if (!('text' in input)) throw new UserError('The model continues texts; it was given a picture.');
    const text = unixLines(input.text);
    // A template may end a text too, which is to go on here.
    const [ids] = (await tokenizer.encode([text], { special: 'front', signal })) as [number[]];
    if (ids.length === 0 && tokenizer.bos !== undefined) ids.push(tokenizer.bos);
    if (ids.length === 0) throw new UserError('The text is empty; type something to continue.');
    const start = ids.length;
    let first: ReturnType<typeof likeliest> | undefined;
    const generation = model.generation();
    const began = performance.now();
    for (let added = 0; added < Math.max(1, input.tokens ?? DEFAULT_TOKENS); added++) {
      signal.throwIfAborted();
      const seen = ids.slice(-length);
      const found = likeliest(await logitsBehind(seen));
      first ??= found;
      if (input.tokens === 0 || ends.has(found[0]!.index)) break;
      ids.push(found[0]!.index);
      heard?.(await tokenizer.decode(ids.slice(start), signal));
    }
    const seconds = (performance.now() - began) / 1000;
    /** Where a text is longer than the model reads at once, positions move, and nothing that was kept is of use. */
    async function logitsBehind(seen: readonly number[]): Promise<Float32Array> {
      if (generation && seen.length === ids.length)
        return seen.length === start ? generation.begin(seen) : generation.follow(seen.at(-1)!);
      const filled = filledLength(seen.length, length);
      const window = new BigInt64Array(filled);
      window.set(seen.map(BigInt));
      return model.row(runtime.tensor(window, [1, filled]), seen.length - 1);
    }
    return {
      text: await tokenizer.decode(ids.slice(start), signal),
      tokens: ids.length - start,
      seconds,
      next: await Promise.all(
        first!.map(async ({ index, probability }) => ({
          token: await tokenizer.decode([index], signal),
          probability,
        })),
      ),
    };
  };
}
