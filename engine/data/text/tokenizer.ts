import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { messageOf, UserError } from '../../errors.js';
import { expectObject, readJsonFile } from '../../formats/json.js';
import type { JsonObject } from '../../formats/json.js';
import { checkTokenizer } from './tokenizer-config.js';

export interface TextTokenizer {
  /** The highest token id and one: the vocabulary with all tokens added to it. */
  readonly size: number;
  /** The ids of the tokens that begin and end a text, where the tokenizer names them. */
  readonly bos?: number;
  readonly eos?: number;
  /**
   * The ids of `text`, which may be megabytes long. With `specialTokens`, those that the tokenizer puts around
   * a text are added. The written form of a special token in the text, such as `</s>`, becomes that token.
   */
  encode(text: string, options?: { readonly specialTokens?: boolean }): number[];
  /** The text of `ids`, special tokens included, spaces as they are. Ids that stand for no token are left out. */
  decode(ids: Iterable<number>): string;
}

/**
 * Opens the tokenizer of the model in `folder`: `tokenizer.json` and `tokenizer_config.json`, as Hugging Face
 * tokenizers write them. `UserError` where one is missing or damaged, or of a kind that is not supported.
 *
 * Known limit: patterns in the file become regular expressions, which a forged file can make slow.
 */
export async function openTokenizer(folder: string): Promise<TextTokenizer> {
  if ((await isFile(join(folder, 'tokenizer.model'))) && !(await isFile(join(folder, 'tokenizer.json'))))
    throw new UserError(
      `${folder} has tokenizer.model and no tokenizer.json; save the tokenizer in its fast form.`,
    );
  const json = checkTokenizer(await readJsonFile(join(folder, 'tokenizer.json')), 'tokenizer.json');
  const config = expectObject(
    await readJsonFile(join(folder, 'tokenizer_config.json')),
    'tokenizer_config.json',
  );
  let tokenizer: Tokenizer;
  try {
    tokenizer = new Tokenizer(json, config);
  } catch (error) {
    throw new UserError(`tokenizer.json: not a supported tokenizer (${messageOf(error)}).`, { cause: error });
  }
  const bos = idOf(tokenizer, config, 'bos_token');
  const eos = idOf(tokenizer, config, 'eos_token');
  return {
    size: [...tokenizer.get_vocab().values()].reduce((highest, id) => Math.max(highest, id), -1) + 1,
    ...(bos !== undefined && { bos }),
    ...(eos !== undefined && { eos }),
    encode: (text, { specialTokens = false } = {}) => {
      const { ids } = tokenizer.encode(text, { add_special_tokens: specialTokens });
      const missing = (ids as (number | undefined)[]).indexOf(undefined);
      if (missing >= 0)
        throw new UserError('tokenizer.json: it yields a token that is not in its own vocabulary.');
      return ids;
    },
    decode: (ids) => {
      const known = [...ids].filter((id) => tokenizer.id_to_token(id) !== undefined);
      if (known.length === 0) return '';
      return tokenizer.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
    },
  };
}

/** `UserError` where `tokenizer` has ids that a model with `vocabSize` embeddings does not know. */
export function requireVocabulary(tokenizer: TextTokenizer, vocabSize: number): void {
  if (tokenizer.size > vocabSize)
    throw new UserError(
      `The tokenizer has ids up to ${tokenizer.size - 1}, the model's vocabulary only ${vocabSize} entries; they do not belong together.`,
    );
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );

/** The id of the token that the configuration names under `key`, as a text or as `{content}`. */
function idOf(tokenizer: Tokenizer, config: JsonObject, key: string): number | undefined {
  const entry = config[key];
  const token = typeof entry === 'object' && entry !== null && !Array.isArray(entry) ? entry.content : entry;
  return typeof token === 'string' ? tokenizer.token_to_id(token) : undefined;
}
