import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../errors.js';
import { expectObject, readJsonFile, type JsonObject } from '../../formats/json.js';
import { fileError, isFile, show, sizeOfFile } from '../../formats/paths.js';
import type { Special, TokenizerFiles } from './tokenizer-library.js';
import { remoteTokenizer } from './tokenizer-process.js';

export interface EncodeOptions {
  /** Which of the special tokens that the tokenizer puts around a text are added. Default none. */
  readonly special?: Special;
  /** Ends the work at once, with CancelledError. */
  readonly signal?: AbortSignal | undefined;
}

export interface TextTokenizer {
  /** The ids of the tokens that begin and end a text, where the tokenizer names them. */
  readonly bos?: number;
  readonly eos?: number;
  /**
   * The ids of each of `texts`, which may be megabytes long. The written form of a special token in a text, such as
   * `</s>`, becomes that token. `UserError` for a token that the model has no embedding for.
   */
  encode(texts: readonly string[], options?: EncodeOptions): Promise<number[][]>;
  /** The text of `ids`, special tokens included, spaces as they are. Ids that stand for no token are left out. */
  decode(ids: Iterable<number>, signal?: AbortSignal): Promise<string>;
}

const MAX_BYTES = 64 * 2 ** 20;

/**
 * Opens the tokenizer of the model in `folder`: `tokenizer.json`, read by Hugging Face's own library, and, if it is
 * there, `tokenizer_config.json`. `UserError` where it is missing or damaged, or has tokens beyond the `vocabulary`
 * entries of the model; for an added token only where a text has it.
 */
export async function openTokenizer(
  folder: string,
  { vocabulary = Infinity, signal }: { readonly vocabulary?: number; readonly signal?: AbortSignal } = {},
): Promise<TextTokenizer> {
  const remote = remoteTokenizer(() => readTokenizerFiles(folder));
  const { size, ...ends } = await remote.facts(signal);
  if (size > vocabulary)
    throw new UserError(
      `The tokenizer has ids up to ${size - 1}, the model's vocabulary only ${vocabulary} entries; they do not belong together.`,
    );
  return {
    ...ends,
    encode: async (texts, { special = 'none', signal } = {}) => {
      const found = await remote.encode(texts, special, signal);
      for (const ids of found) {
        const beyond = ids.find((id) => id >= vocabulary);
        if (beyond !== undefined)
          throw new UserError(
            `The text has the token ${show(await remote.decode([beyond], signal), 40)} (id ${beyond}), for which the model has no embedding: its vocabulary has ${vocabulary} entries.`,
          );
      }
      return found.map((ids) => Array.from(ids));
    },
    decode: (ids, signal) => remote.decode([...ids], signal),
  };
}

/** What `openTokenizer` reads. */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const path = join(folder, 'tokenizer.json');
  if (!(await isFile(path)) && (await isFile(join(folder, 'tokenizer.model'))))
    throw new UserError(
      `${folder} has tokenizer.model and no tokenizer.json; save the tokenizer in its fast form.`,
    );
  const size = await sizeOfFile(path);
  if (size > MAX_BYTES)
    throw new UserError(`tokenizer.json: ${size} bytes, more than the ${MAX_BYTES} allowed.`);
  return { json: await readText(path), config: await readConfig(join(folder, 'tokenizer_config.json')) };
}

async function readText(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new UserError('tokenizer.json: not valid UTF-8 text.', { cause: error });
  }
}

const readConfig = async (path: string): Promise<JsonObject> =>
  (await isFile(path))
    ? expectObject(await readJsonFile(path, { python: true }), 'tokenizer_config.json')
    : {};
