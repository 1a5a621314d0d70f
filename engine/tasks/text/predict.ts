/** How a language model goes on with a text. */
import { unixLines } from '../../data/text/line-ends.js';
import { endTokens } from '../../data/text/end-tokens.js';
import { openTokenizer } from '../../data/text/tokenizer.js';
import { UserError } from '../../errors.js';
import { SHORTEST } from '../../evaluation/choices.js';
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
  return async (input, model, signal) => {
    if (!('text' in input)) throw new UserError('The model continues texts; it was given a picture.');
    const text = unixLines(input.text);
    // A template may end a text too, which is to go on here.
    const [ids] = (await tokenizer.encode([text], { special: 'front', signal })) as [number[]];
    if (ids.length === 0 && tokenizer.bos !== undefined) ids.push(tokenizer.bos);
    if (ids.length === 0) throw new UserError('The text is empty; type something to continue.');
    const start = ids.length;
    let first: ReturnType<typeof likeliest> | undefined;
    for (let added = 0; added < Math.max(1, input.tokens ?? DEFAULT_TOKENS); added++) {
      signal.throwIfAborted();
      const seen = ids.slice(-length);
      // What lies behind a token does not reach it: texts are filled up to a few lengths, each of which is compiled once.
      const filled = Math.min(length, Math.max(SHORTEST, 2 ** Math.ceil(Math.log2(seen.length))));
      const window = new BigInt64Array(filled);
      window.set(seen.map(BigInt));
      const logits = await model.row(runtime.tensor(window, [1, filled]), seen.length - 1);
      const found = likeliest(logits);
      first ??= found;
      if (input.tokens === 0 || ends.has(found[0]!.index)) break;
      ids.push(found[0]!.index);
    }
    return {
      text: await tokenizer.decode(ids.slice(start), signal),
      next: await Promise.all(
        first!.map(async ({ index, probability }) => ({
          token: await tokenizer.decode([index], signal),
          probability,
        })),
      ),
    };
  };
}
