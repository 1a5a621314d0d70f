/**
 * A tokenizer by Hugging Face's `tokenizers`, in this process. A defect of that library, or a hostile file, ends the
 * process or never returns: `tokenizer-process.ts` keeps both away.
 */
import { AddedToken, Tokenizer } from 'tokenizers';
import { messageOf, UserError } from '../../errors.js';
import type { JsonObject } from '../../formats/json.js';
import { nameOf, requireAgreement, requireBounded, tokensToAdd } from './tokenizer-config.js';

/** What a tokenizer is made of. */
export interface TokenizerFiles {
  /** The text of `tokenizer.json`. */
  readonly json: string;
  /** The content of `tokenizer_config.json`; empty where there is none. */
  readonly config: JsonObject;
}

/** Special tokens that are put around a text: none, those in front, or all. */
export type Around = 'none' | 'front' | 'all';

export interface TokenizerFacts {
  /** The highest id of the vocabulary, added tokens left aside, and one. */
  readonly size: number;
  readonly bos?: number;
  readonly eos?: number;
}

export interface LoadedTokenizer {
  readonly facts: TokenizerFacts;
  encode(texts: readonly string[], around: Around): Promise<Uint32Array[]>;
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
        new AddedToken(content, special, { normalized, singleWord, leftStrip, rightStrip }),
    ),
  );
  const around = await aroundText(tokenizer);
  requireAgreement(json, config, around);
  const stated = Array.isArray(json.added_tokens) ? (json.added_tokens as JsonObject[]) : [];
  const isAdded = new Set([...stated, ...added].map(({ content }) => content));
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
    encode: async (texts, which) => {
      const found: Uint32Array[] = [];
      for (const one of texts) {
        const encoding = await tokenizer.encode(one, null, which === 'none' ? WITHOUT : WITH_SPECIAL);
        const ids = encoding.getIds();
        const end = which === 'front' ? ids.length - around.back.length : ids.length;
        found.push(Uint32Array.from(ids.slice(0, end)));
      }
      return found;
    },
    decode: (ids) => tokenizer.decode([...ids], false),
  };
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
async function aroundText(tokenizer: Tokenizer): Promise<{ front: string[]; back: string[] }> {
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
