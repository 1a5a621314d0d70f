import { UserError } from '../../errors.js';
import { createRandom } from '../random.js';
import type { TextSource } from './source.js';
import type { TextTokenizer } from './tokenizer.js';

/** Stretches of tokens of one length. */
export interface TokenWindows {
  /** Token ids, int32 `[count, length]`. */
  readonly ids: Int32Array;
  readonly count: number;
  readonly length: number;
  /** Tokens encoded to cut the windows from. */
  readonly tokensSeen: number;
}

/** What documents are joined with, as the public code for wikitext joins its lines. */
const BETWEEN_DOCUMENTS = '\n\n';
/** More text than this (about four million tokens) is not encoded for one set of windows. */
const MAX_CHARACTERS = 2 ** 24;
/** Characters read at first for each token wanted; doubled while too few. */
const CHARACTERS_PER_TOKEN = 6;
/** Tokens at the cut end of a text that the text behind it may change. */
const UNSETTLED = 256;

/**
 * `count` windows of `length` tokens for calibration. As most public code for post-training quantization does,
 * all documents are joined by an empty line and encoded as one text, with the special tokens that the
 * tokenizer puts around a text (a LLaMA's `<s>`: once, at the very start; no end of text between documents).
 * From `start`: the first windows, side by side. `random`: windows that begin anywhere in the first 16 Mi
 * characters, drawn with `seed`; two may overlap. `UserError` where the text is too short for `count` windows
 * side by side.
 */
export async function readWindows(
  source: TextSource,
  tokenizer: TextTokenizer,
  options: {
    readonly count: number;
    readonly length: number;
    readonly from?: 'start' | 'random';
    readonly seed?: number;
    readonly signal?: AbortSignal;
  },
): Promise<TokenWindows> {
  const { count, length, from = 'start', seed = 0, signal } = options;
  requirePositive(count, length);
  const { ids, isWhole } = await encodeStart(
    source,
    tokenizer,
    from === 'start' ? count * length : Infinity,
    signal,
  );
  const available = Math.floor(ids.length / length);
  if (available < count) throw tooShort(source, available, count, length, isWhole);
  if (from === 'start') return cut(ids, length, (window) => window * length, count);
  const random = createRandom(seed, 'token windows');
  return cut(ids, length, () => random.integer(ids.length - length + 1), count);
}

/**
 * The windows of `length` tokens, side by side, of the text that `readWindows` makes of the documents: all, or
 * the first `limit` if there are more. What is left behind the last is dropped. `UserError` where there is not
 * even one, or, without a limit, above 16 Mi characters.
 */
export async function evaluationWindows(
  source: TextSource,
  tokenizer: TextTokenizer,
  options: { readonly length: number; readonly limit?: number; readonly signal?: AbortSignal },
): Promise<TokenWindows> {
  const { length, limit = Infinity, signal } = options;
  requirePositive(limit === Infinity ? 1 : limit, length);
  const { ids, isWhole } = await encodeStart(source, tokenizer, limit * length, signal);
  const available = Math.floor(ids.length / length);
  if (available === 0) throw tooShort(source, 0, 1, length, isWhole);
  if (available < limit && !isWhole)
    throw new UserError(
      `${source.name}: its first ${MAX_CHARACTERS} characters are ${available} windows of ${length} tokens; limit the windows to that.`,
    );
  return cut(ids, length, (window) => window * length, Math.min(available, limit));
}

interface Start {
  readonly ids: readonly number[];
  /** Whether the text ends with `ids`. */
  readonly isWhole: boolean;
}

/**
 * The ids of the joined documents, at least the first `wanted` if there are so many, and no more text encoded
 * than about twice what they take. The ids are those of the whole text: cutting it can change only the tokens
 * of the word that is cut (pre-tokenizers look one character ahead, and merges stay within a word), so the
 * last tokens before a cut are left out.
 */
async function encodeStart(
  source: TextSource,
  tokenizer: TextTokenizer,
  wanted: number,
  signal?: AbortSignal,
): Promise<Start> {
  const encode = async (text: string) => (await tokenizer.encode([text], { special: 'all', signal }))[0]!;
  let target = Math.min(MAX_CHARACTERS, (wanted + UNSETTLED) * CHARACTERS_PER_TOKEN);
  let text: string | undefined;
  for await (const document of source.documents()) {
    text = text === undefined ? document : text + BETWEEN_DOCUMENTS + document;
    while (text.length > target) {
      const ids = (await encode(text.slice(0, target))).slice(0, -UNSETTLED);
      if (ids.length >= wanted || target === MAX_CHARACTERS) return { ids, isWhole: false };
      target = Math.min(MAX_CHARACTERS, target * 2);
    }
  }
  return { ids: await encode(text ?? ''), isWhole: true };
}

function cut(
  ids: readonly number[],
  length: number,
  startOf: (window: number) => number,
  count: number,
): TokenWindows {
  const windows = new Int32Array(count * length);
  for (let window = 0; window < count; window++) {
    const start = startOf(window);
    windows.set(ids.slice(start, start + length), window * length);
  }
  return { ids: windows, count, length, tokensSeen: ids.length };
}

function requirePositive(count: number, length: number): void {
  if (![count, length].every((number) => Number.isSafeInteger(number) && number > 0))
    throw new RangeError(`${count} windows of ${length} tokens.`);
}

function tooShort(
  source: TextSource,
  available: number,
  wanted: number,
  length: number,
  isWhole: boolean,
): UserError {
  const part = isWhole ? 'it holds' : `its first ${MAX_CHARACTERS} characters, all that is read, hold`;
  return new UserError(
    `${source.name}: ${part} ${available} windows of ${length} tokens; ${wanted} were asked for.`,
  );
}
