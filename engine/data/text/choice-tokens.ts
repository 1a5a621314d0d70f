import { UserError } from '../../errors.js';
import type { ChoiceTask } from './choices.js';
import type { TextTokenizer } from './tokenizer.js';

/** What a model reads and what of it is scored. */
export interface ScoredText {
  /** Token ids; the model reads all but the last. */
  readonly ids: readonly number[];
  /** So many of them at the end are scored, each given those before it. */
  readonly scored: number;
}

/** A question as a model sees it: as many texts as it has choices. */
export interface EncodedItem {
  readonly texts: readonly ScoredText[];
  /** Lengths of the choices in characters. */
  readonly characters: readonly number[];
  readonly answer: number;
}

/**
 * The first `limit` questions as tokens, as EleutherAI's evaluation harness encodes them: context and choice as one text
 * without special tokens, the context's tokens counted by encoding it alone, spaces at its end left to the choice. An empty
 * context is the token that begins a text, or else the one that ends it. What is longer than `length` tokens and the one
 * that is only scored loses the beginning of its context. `UserError` for a choice that leaves no room for that.
 */
export async function encodeChoices(
  { name, items }: ChoiceTask,
  tokenizer: TextTokenizer,
  {
    length,
    limit = items.length,
    signal,
  }: { readonly length: number; readonly limit?: number | undefined; readonly signal?: AbortSignal },
): Promise<EncodedItem[]> {
  const asked = items.slice(0, limit);
  const texts = asked.flatMap(({ pairs }) =>
    pairs.flatMap((pair) => [pair.context.trimEnd(), pair.context + pair.continuation]),
  );
  const tokens = (await tokenizer.encode(texts, { signal })).values();
  return asked.map(({ pairs, answer }, number) => ({
    texts: pairs.map((pair, choice) => {
      const [context, whole] = [tokens.next().value!, tokens.next().value!];
      const isBare = pair.context.trimEnd() === '';
      const before = isBare ? [textStart(tokenizer)] : context;
      const ids = isBare ? [...before, ...whole] : whole;
      return scoredText(ids, before, length, `${name}: question ${number + 1}, choice ${choice + 1}`);
    }),
    characters: pairs.map(({ characters }) => characters),
    answer,
  }));
}

function scoredText(
  ids: readonly number[],
  before: readonly number[],
  length: number,
  where: string,
): ScoredText {
  const scored = ids.length - before.length;
  if (scored < 1) throw new UserError(`${where}: the tokenizer leaves nothing of it to score.`);
  if (scored > length)
    throw new UserError(`${where} has ${scored} tokens; the model reads ${length} at a time.`);
  return { ids: ids.slice(-(length + 1)), scored };
}

function textStart({ bos, eos }: TextTokenizer): number {
  const id = bos ?? eos;
  if (id === undefined)
    throw new UserError(
      'tokenizer_config.json names neither bos_token nor eos_token; choices without a context need one.',
    );
  return id;
}
