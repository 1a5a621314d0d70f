/** How a language model goes on with a text. */
import { openTokenizer, requireVocabulary } from '../../data/text/tokenizer.js';
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
  const tokenizer = await openTokenizer(folder);
  requireVocabulary(tokenizer, vocabulary);
  return async (input, model, signal) => {
    if (!('text' in input)) throw new UserError('The model continues texts; it was given a picture.');
    // A template may end a text too, which is to go on here.
    const ids = tokenizer.encode(input.text, { specialTokens: true });
    if (ids.at(-1) === tokenizer.eos && tokenizer.eos !== tokenizer.bos) ids.pop();
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
      if (input.tokens === 0 || found[0]!.index === tokenizer.eos) break;
      ids.push(found[0]!.index);
    }
    return {
      text: tokenizer.decode(ids.slice(start)),
      next: first!.map(({ index, probability }) => ({ token: tokenizer.decode([index]), probability })),
    };
  };
}
