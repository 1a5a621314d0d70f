import { join } from 'node:path';
import { UserError } from '../../errors.js';
import { isObject, readJsonFile, type JsonValue } from '../../formats/json.js';
import { isFile, show } from '../../formats/paths.js';
import type { TextTokenizer } from './tokenizer.js';

/**
 * The ids of the tokens that end a text of the model in `folder`, as generation in transformers finds them: those of
 * `generation_config.json`, or else of `config.json`, or else the tokenizer's. `UserError` where one that is read is damaged.
 */
export async function endTokens(folder: string, { eos }: TextTokenizer): Promise<ReadonlySet<number>> {
  for (const name of ['generation_config.json', 'config.json']) {
    const path = join(folder, name);
    const ids = (await isFile(path)) ? idsOf(await readJsonFile(path, { python: true }), name) : undefined;
    if (ids) return new Set(ids);
  }
  return new Set(eos === undefined ? [] : [eos]);
}

function idsOf(config: JsonValue, where: string): readonly number[] | undefined {
  const value = isObject(config) ? config.eos_token_id : null;
  if (value === undefined || value === null) return undefined;
  const ids = Array.isArray(value) ? value : [value];
  if (!ids.every((id): id is number => Number.isInteger(id)))
    throw new UserError(
      `${where}: "eos_token_id" must be a token's id or a list of them, found ${show(value, 40)}.`,
    );
  return ids;
}
