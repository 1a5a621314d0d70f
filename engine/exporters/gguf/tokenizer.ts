/** What GGUF says of a tokenizer, from `tokenizer.json` and `tokenizer_config.json`: llama.cpp has no other source of it. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../errors.js';
import {
  decodeUtf8,
  expectObject,
  isObject,
  readJsonFile,
  type JsonObject,
  type JsonValue,
} from '../../formats/json.js';
import { resolveInside, show } from '../../formats/paths.js';
import { text, u32, type Metadata } from './file.js';

/** Far above any tokenizer. */
const MAX_BYTES = 64 << 20;

/** llama.cpp's kinds of tokens. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;
const BYTE = 6;

/** The keys of a model's tokenizer. @param vocabulary rows of its table. Throws UserError for what llama.cpp would read otherwise. */
export async function tokenizerMetadata(folder: string, vocabulary: number): Promise<Metadata> {
  const read = async (name: string) => {
    if (!existsSync(join(folder, name))) return undefined;
    const path = await resolveInside(folder, name, folder);
    return expectObject(await readJsonFile(path, { maxBytes: MAX_BYTES, python: true }), name);
  };
  const tokenizer = await read('tokenizer.json');
  if (!tokenizer)
    throw new UserError(`${folder} has no tokenizer.json, which the vocabulary of a GGUF file is made from.`);
  const config = (await read('tokenizer_config.json')) ?? {};
  const model = expectObject(tokenizer.model, 'tokenizer.json: model');
  if (model.type !== 'BPE' || !isObject(model.vocab) || !Array.isArray(model.merges))
    throw refusal(`its model ${show(model.type)} is not BPE`);
  const added = listOf(tokenizer.added_tokens)
    .filter(isObject)
    .map((token) => ({
      content: contentOf(token) ?? '',
      id: Number(token.id),
      special: token.special === true,
    }));
  const ids = new Map<string, number>();
  for (const [token, id] of Object.entries(model.vocab)) ids.set(token, Number(id));
  for (const { content, id } of added) ids.set(content, id);
  const isBytes = model.byte_fallback !== true;
  const merges = model.merges.map(asPair);
  const role = (key: string) => ids.get(contentOf(config[key]) ?? '');
  const [bos, eos] = [role('bos_token'), role('eos_token')];
  const around = tokensAround(tokenizer, ids);
  if (
    around.before.some((id) => id !== bos) ||
    around.after.some((id) => id !== eos) ||
    around.before.length + around.after.length > 2
  )
    throw refusal('it puts other tokens around a text than one at its beginning and one at its end');
  const tokens = Array.from({ length: vocabulary }, (_, id) => `[PAD${id}]`);
  const kinds = new Array<number>(vocabulary).fill(UNUSED);
  for (const [token, id] of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabulary)
      throw refusal(
        `its token ${show(token, 40)} has the id ${id}, and the model's table has ${vocabulary} rows`,
      );
    tokens[id] = token;
    kinds[id] = NORMAL;
  }
  for (const { content, special } of added) kinds[ids.get(content)!] = special ? CONTROL : USER_DEFINED;
  const template = await templateOf(folder, config);
  const unknown = typeof model.unk_token === 'string' ? ids.get(model.unk_token) : undefined;
  if (!isBytes) {
    tokens.forEach((token, id) => {
      if (/^<0x[0-9A-F]{2}>$/.test(token)) kinds[id] = BYTE;
    });
    if (unknown !== undefined) kinds[unknown] = UNKNOWN;
  }
  const optional = (key: string, id: number | undefined): Metadata =>
    id === undefined ? [] : [[key, u32(id)]];
  return [
    ['tokenizer.ggml.model', text(isBytes ? 'gpt2' : 'llama')],
    ['tokenizer.ggml.pre', text(isBytes ? splitOf(tokenizer) : 'default')],
    ['tokenizer.ggml.tokens', text(tokens)],
    ['tokenizer.ggml.token_type', { type: 'i32', value: kinds }],
    ...(isBytes
      ? ([['tokenizer.ggml.merges', text(merges.map((pair) => pair.join(' ')))]] as const)
      : sentencePiece(tokenizer, merges, ids, vocabulary)),
    ...optional('tokenizer.ggml.bos_token_id', bos),
    ...optional('tokenizer.ggml.eos_token_id', eos),
    ...optional('tokenizer.ggml.unknown_token_id', isBytes ? undefined : unknown),
    ...optional('tokenizer.ggml.padding_token_id', role('pad_token')),
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: around.before.length > 0 }],
    ['tokenizer.ggml.add_eos_token', { type: 'bool', value: around.after.length > 0 }],
    ...(template === undefined ? [] : ([['tokenizer.chat_template', text(template)]] as const)),
  ];
}

const refusal = (why: string) =>
  new UserError(`tokenizer.json cannot be said in GGUF so that llama.cpp reads it alike: ${why}.`);

const listOf = (value: unknown): JsonValue[] => (Array.isArray(value) ? (value as JsonValue[]) : []);

const textOf = (value: unknown) => (typeof value === 'string' ? value : '');

const contentOf = (value: JsonValue | undefined): string | undefined => {
  const content = isObject(value) ? value.content : value;
  return typeof content === 'string' ? content : undefined;
};

function asPair(merge: JsonValue): readonly [string, string] {
  const pair = typeof merge === 'string' ? merge.split(' ') : listOf(merge);
  if (pair.length !== 2 || pair.some((part) => typeof part !== 'string' || part.includes(' ')))
    throw refusal(`its merge ${show(merge, 40)} is not two tokens without spaces`);
  return pair as unknown as [string, string];
}

/** Steps of a component, those of a sequence one after another. */
function stepsOf(value: JsonValue | undefined, inner: string): JsonObject[] {
  if (!isObject(value)) return [];
  return value.type === 'Sequence' ? listOf(value[inner]).filter(isObject) : [value];
}

/** Ids of special tokens that are put before a text and behind it. */
function tokensAround(
  tokenizer: JsonObject,
  ids: ReadonlyMap<string, number>,
): Readonly<Record<'before' | 'after', readonly (number | undefined)[]>> {
  const steps = stepsOf(tokenizer.post_processor, 'processors').filter(({ type }) => type !== 'ByteLevel');
  if (steps.length === 0) return { before: [], after: [] };
  const [step] = steps as [JsonObject];
  if (steps.length > 1 || step.type !== 'TemplateProcessing')
    throw refusal(`its post-processor ${show(step.type)} is not a template`);
  const pieces = listOf(step.single).filter(isObject);
  const middle = pieces.findIndex((piece) => isObject(piece.Sequence));
  const idsOf = (list: readonly JsonObject[]) =>
    list.map(({ SpecialToken: token }) => (isObject(token) ? ids.get(textOf(token.id)) : undefined));
  return { before: idsOf(pieces.slice(0, middle)), after: idsOf(pieces.slice(middle + 1)) };
}

const GPT2 = "'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const withNumbers = (numbers: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

/** llama.cpp's names of how texts are split, by the pattern. */
const PATTERNS: ReadonlyMap<string, string> = new Map([
  [GPT2, 'gpt-2'],
  [GPT2.replace("'(?:s|t|re|ve|m|ll|d)", "'s|'t|'re|'ve|'m|'ll|'d"), 'gpt-2'],
  [withNumbers('\\p{N}{1,3}'), 'llama-bpe'],
  [withNumbers('\\p{N}'), 'qwen2'],
]);

/** How a tokenizer of bytes splits texts, by llama.cpp's name of it. */
function splitOf(tokenizer: JsonObject): string {
  const normalizers = stepsOf(tokenizer.normalizer, 'normalizers');
  // llama.cpp normalizes nothing: texts that are composed already, as nearly all are, are read alike.
  if (normalizers.some(({ type }) => type !== 'NFC'))
    throw refusal(`its normalizer ${show(normalizers[0]!.type)} is unknown there`);
  const steps = stepsOf(tokenizer.pre_tokenizer, 'pretokenizers');
  const bytes = steps.at(-1);
  if (bytes?.type !== 'ByteLevel' || bytes.add_prefix_space === true || steps.length > 2)
    throw refusal('it does not end in bytes as they are');
  const usesOwn = bytes.use_regex !== false;
  const [first] = steps as [JsonObject];
  if (steps.length === 1 && usesOwn) return 'gpt-2';
  if (steps.length === 2 && first.type === 'Digits' && first.individual_digits === true && usesOwn)
    return 'smollm';
  const pattern = isObject(first.pattern) ? first.pattern.Regex : undefined;
  const known = PATTERNS.get(textOf(pattern));
  if (
    steps.length === 2 &&
    first.type === 'Split' &&
    first.behavior === 'Isolated' &&
    !usesOwn &&
    known !== undefined
  )
    return known;
  throw refusal('it splits texts in a way that has no name there');
}

/**
 * The keys of SentencePiece's BPE, which joins the pair whose whole has the highest score: the earlier a piece was merged, the
 * higher. Ranks of merges say that only where all merges that make one piece follow each other.
 */
function sentencePiece(
  tokenizer: JsonObject,
  merges: readonly (readonly [string, string])[],
  ids: ReadonlyMap<string, number>,
  vocabulary: number,
): Metadata {
  const pretokenizers = stepsOf(tokenizer.pre_tokenizer, 'pretokenizers');
  const normalizers = stepsOf(tokenizer.normalizer, 'normalizers');
  const [before, only] = [normalizers[0]?.type === 'Prepend', pretokenizers[0]];
  const isPlain =
    (pretokenizers.length === 0 && normalizers.at(-1)?.type === 'Replace' && normalizers.length <= 2) ||
    (normalizers.length === 0 &&
      pretokenizers.length === 1 &&
      only?.type === 'Metaspace' &&
      only.split === false);
  if (!isPlain) throw refusal('it prepares texts otherwise than SentencePiece does');
  const scores = new Array<number>(vocabulary).fill(0);
  let last = '';
  const seen = new Set<string>();
  for (const [a, b] of merges) {
    const whole = a + b;
    if (whole !== last && seen.has(whole)) throw refusal('its merges do not follow from scores of pieces');
    if (whole !== last) scores[ids.get(whole) ?? 0] = 0 - seen.size;
    seen.add(whole);
    last = whole;
  }
  const spaces = before || (only?.type === 'Metaspace' && only.prepend_scheme !== 'never');
  return [
    ['tokenizer.ggml.scores', { type: 'f32', value: scores }],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: spaces }],
  ];
}

/** The chat template, from a file of its own or from the tokenizer's configuration. */
async function templateOf(folder: string, config: JsonObject): Promise<string | undefined> {
  const name = 'chat_template.jinja';
  if (existsSync(join(folder, name)))
    return decodeUtf8(await readFile(await resolveInside(folder, name, folder)), name);
  const { chat_template: stated } = config;
  if (typeof stated === 'string') return stated;
  const usual = listOf(stated)
    .filter(isObject)
    .find((each) => each.name === 'default');
  return typeof usual?.template === 'string' ? usual.template : undefined;
}
