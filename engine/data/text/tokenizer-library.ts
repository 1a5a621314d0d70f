/**
 * A tokenizer by Hugging Face's `tokenizers`, in this process. A defect of that library, or a hostile file, ends the
 * process or never returns: `tokenizer-process.ts` keeps both away.
 */
import { AddedToken as NewToken, Tokenizer } from 'tokenizers';
import { messageOf, UserError } from '../../errors.js';
import type { JsonObject } from '../../formats/json.js';
import { show } from '../../formats/paths.js';
import {
  nameOf,
  requireAgreement,
  requireBounded,
  statedTokens,
  tokensToAdd,
  type AddedToken,
  type Around,
} from './tokenizer-config.js';

/** What a tokenizer is made of. */
export interface TokenizerFiles {
  /** The text of `tokenizer.json`. */
  readonly json: string;
  /** The content of `tokenizer_config.json`; empty where there is none. */
  readonly config: JsonObject;
}

/** Which of the special tokens that a tokenizer puts around a text. */
export type Special = 'none' | 'front' | 'all';

export interface TokenizerFacts {
  /** The highest id of the vocabulary, added tokens left aside, and one. */
  readonly size: number;
  readonly bos?: number;
  readonly eos?: number;
}

export interface LoadedTokenizer {
  readonly facts: TokenizerFacts;
  encode(texts: readonly string[], special: Special): Promise<Uint32Array[]>;
  decode(ids: readonly number[]): Promise<string>;
}

const WITH_SPECIAL = { addSpecialTokens: true };
const WITHOUT = { addSpecialTokens: false };

/** Throws UserError for files that the library does not read, or that contradict each other. */
export async function loadTokenizer({ json: text, config }: TokenizerFiles): Promise<LoadedTokenizer> {
  const tokenizer = parse(text);
  // As transformers does for a text that nobody asks to cut or to fill up.
  tokenizer.disableTruncation();
  tokenizer.disablePadding();
  const json = JSON.parse(text) as JsonObject;
  requireBounded(json);
  if (Number((json.model as JsonObject).dropout ?? 0) > 0)
    throw new UserError(
      'tokenizer.json: its model has "dropout", which draws tokens at random; set it to null.',
    );
  const added = tokensToAdd(json, config);
  tokenizer.addAddedTokens(
    added.map(
      ({ content, special, normalized, single_word: singleWord, lstrip: leftStrip, rstrip: rightStrip }) =>
        new NewToken(content, special, { normalized, singleWord, leftStrip, rightStrip }),
    ),
  );
  const all = [...new Map([...statedTokens(json), ...added].map((token) => [token.content, token])).values()];
  requireDistinct(tokenizer, all);
  let found: Promise<Around> | undefined;
  const around = () => (found ??= aroundText(tokenizer));
  await requireAgreement(json, config, around);
  const isAdded = new Set(all.map(({ content }) => content));
  const [bos, eos] = ['bos_token', 'eos_token'].map((key) => {
    const name = nameOf(config, key);
    return (name === undefined ? null : tokenizer.tokenToId(name)) ?? undefined;
  });
  return {
    facts: {
      size: Object.entries(tokenizer.getVocab(false)).reduce(
        (size, [token, id]) => (isAdded.has(token) ? size : Math.max(size, id + 1)),
        0,
      ),
      ...(bos !== undefined && { bos }),
      ...(eos !== undefined && { eos }),
    },
    encode: async (texts, special) => {
      const back = special === 'front' ? (await around()).back.length : 0;
      const found: Uint32Array[] = [];
      for (const one of texts) {
        const encoding = await tokenizer.encode(one, null, special === 'none' ? WITHOUT : WITH_SPECIAL);
        const ids = encoding.getIds();
        found.push(Uint32Array.from(ids.slice(0, ids.length - back)));
      }
      return found;
    },
    decode: (ids) => tokenizer.decode([...ids], false),
  };
}

/** Of added tokens that its normalizer makes alike, the library takes any, another at each start; an empty one it finds for ever. */
function requireDistinct(tokenizer: Tokenizer, added: readonly AddedToken[]): void {
  const normalizer = tokenizer.getNormalizer();
  if (normalizer === null) return;
  const seen = new Map<string, string>();
  for (const { content, normalized } of added) {
    if (!normalized) continue;
    const text = normalizer.normalizeString(content);
    if (text === '')
      throw new UserError(
        `tokenizer.json: nothing is left of the added token ${show(content, 40)} once normalized; set its "normalized" to false.`,
      );
    const other = seen.get(text);
    if (other !== undefined)
      throw new UserError(
        `tokenizer.json: the added tokens ${show(other, 40)} and ${show(content, 40)} are the same once normalized; set "normalized" of one to false.`,
      );
    seen.set(text, content);
  }
}

function parse(text: string): Tokenizer {
  try {
    return Tokenizer.fromString(text);
  } catch (error) {
    throw new UserError(`tokenizer.json: not a tokenizer that can be read (${messageOf(error)}).`, {
      cause: error,
    });
  }
}

/** The tokens that are put before and behind a text. */
async function aroundText(tokenizer: Tokenizer): Promise<Around> {
  const whole = await tokenizer
    .encode('a', null, WITH_SPECIAL)
    // Some vocabularies have no token for it, nor for what is unknown.
    .catch(() => tokenizer.encode('', null, WITH_SPECIAL));
  const tokens = whole.getTokens();
  const isSpecial = whole.getSpecialTokensMask();
  const start = isSpecial.indexOf(0);
  if (start < 0) return { front: tokens, back: [] };
  return { front: tokens.slice(0, start), back: tokens.slice(isSpecial.lastIndexOf(0) + 1) };
}
