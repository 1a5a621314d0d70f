/** What `tokenizer_config.json` says beside `tokenizer.json`, as AutoTokenizer of transformers heeds it. */
import { UserError } from '../../errors.js';
import { isObject, type JsonObject, type JsonValue } from '../../formats/json.js';
import { show } from '../../formats/paths.js';

/** A token that is found in a text before anything else is done with it, and how. */
export interface AddedToken {
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

const NAMED = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** The text of the token that `config` names under `key`, as a text or as `{content}`. */
export const nameOf = (config: JsonObject, key: string): string | undefined => contentOf(config[key]);

/** The added tokens of `tokenizer.json`. */
export const statedTokens = (json: JsonObject): AddedToken[] =>
  listOf(json.added_tokens).filter(isObject).map(asToken);

/**
 * The tokens of `config` to add to those of `tokenizer.json`, in this order: those of `added_tokens_decoder` that it
 * lacks or describes otherwise, and those with a role that it does not add.
 */
export function tokensToAdd(json: JsonObject, config: JsonObject): AddedToken[] {
  if (Object.keys(config).length === 0) return [];
  const stated = statedTokens(json);
  const listed = Object.entries(isObject(config.added_tokens_decoder) ? config.added_tokens_decoder : {})
    .sort(([a], [b]) => Number(a) - Number(b))
    .flatMap(([, value]) => (contentOf(value) === undefined ? [] : [asToken(value)]))
    .filter((token) => !stated.some((known) => isSame(known, token)));
  const known = new Set([...stated, ...listed].map(({ content }) => content));
  const extra = config.extra_special_tokens ?? null;
  const padding = isObject(json.padding) ? json.padding.pad_token : null;
  const roles = [
    ...NAMED.map((key) => config[key] ?? (key === 'pad_token' ? padding : null)),
    ...(isObject(extra) ? Object.values(extra) : listOf(extra)),
    ...listOf(config.additional_special_tokens),
  ];
  // A text and a description of the same token, or two descriptions that differ, count as two: the later wins.
  const missing = new Map<string, AddedToken>();
  for (const value of roles) {
    const content = contentOf(value);
    const key = typeof value === 'string' ? content : JSON.stringify(asToken(value));
    if (content === undefined || known.has(content) || missing.has(key!)) continue;
    missing.set(key!, { ...asToken(value), special: true });
  }
  return [...listed, ...missing.values()];
}

/** More steps than any tokenizer has, and more steps that turn a text into bytes, each of which may double its length. */
const MAX_STEPS = 256;
const MAX_BYTE_STEPS = 4;

/** Throws UserError where a text would pass so many steps that the work has no sensible bound. */
export function requireBounded(json: JsonObject): void {
  const steps = [
    ...partsOf(json.normalizer, 'normalizers'),
    ...partsOf(json.pre_tokenizer, 'pretokenizers'),
    ...partsOf(json.post_processor, 'processors'),
    ...partsOf(json.decoder, 'decoders'),
  ];
  if (steps.length > MAX_STEPS)
    throw new UserError(`tokenizer.json: ${steps.length} steps, more than the ${MAX_STEPS} allowed.`);
  const byteSteps = [
    ...partsOf(json.normalizer, 'normalizers'),
    ...partsOf(json.pre_tokenizer, 'pretokenizers'),
  ].filter(({ type }) => type === 'ByteLevel').length;
  if (byteSteps > MAX_BYTE_STEPS)
    throw new UserError(
      `tokenizer.json: ${byteSteps} steps turn a text into bytes, more than the ${MAX_BYTE_STEPS} allowed.`,
    );
}

/** The special tokens that a tokenizer puts before and behind a text. */
export interface Around {
  readonly front: readonly string[];
  readonly back: readonly string[];
}

/**
 * Throws UserError where `config` contradicts `tokenizer.json`, which tools read in two ways: some by the one file, some
 * by the other.
 */
export async function requireAgreement(
  json: JsonObject,
  config: JsonObject,
  around: () => Promise<Around>,
): Promise<void> {
  if (config.split_special_tokens === true)
    throw new UserError('tokenizer_config.json: "split_special_tokens" is not supported; set it to false.');
  const spaced = prefixesSpace(json);
  if (typeof config.add_prefix_space === 'boolean' && config.add_prefix_space === !spaced)
    throw contradiction(
      'add_prefix_space',
      config,
      `puts ${spaced ? 'a space' : 'no space'} in front of a text`,
    );
  const ends = [
    ['add_bos_token', nameOf(config, 'bos_token'), 'front', 'begins'],
    ['add_eos_token', nameOf(config, 'eos_token'), 'back', 'ends'],
  ] as const;
  for (const [key, token, side, does] of ends) {
    if (typeof config[key] !== 'boolean' || token === undefined) continue;
    const has = (await around())[side].includes(token);
    if (config[key] !== has)
      throw contradiction(key, config, `${does} a text with${has ? '' : 'out'} ${show(token, 40)}`);
  }
}

const contradiction = (key: string, config: JsonObject, does: string) =>
  new UserError(
    `tokenizer_config.json says "${key}" is ${show(config[key])}, but tokenizer.json ${does}; make the two agree.`,
  );

/** Whether a text gets a space in front, as far as normalizer and pre-tokenizer say. */
function prefixesSpace(json: JsonObject): boolean | undefined {
  for (const part of [
    ...partsOf(json.pre_tokenizer, 'pretokenizers'),
    ...partsOf(json.normalizer, 'normalizers'),
  ]) {
    if (part.type === 'ByteLevel') return part.add_prefix_space !== false;
    if (part.type === 'Metaspace')
      return (part.prepend_scheme ?? (part.add_prefix_space === false ? 'never' : 'always')) !== 'never';
    if (part.type === 'Prepend') return true;
  }
  return undefined;
}

/** A component of a tokenizer and those in it, outermost first. */
function partsOf(part: JsonValue | undefined, inner: string): JsonObject[] {
  if (!isObject(part)) return [];
  return [part, ...listOf(part[inner]).flatMap((one) => partsOf(one, inner))];
}

function asToken(value: JsonValue | undefined): AddedToken {
  const token = isObject(value) ? value : {};
  const special = isObject(value) ? token.special === true : true;
  return {
    content: contentOf(value) ?? '',
    special,
    normalized: typeof token.normalized === 'boolean' ? token.normalized : !special,
    single_word: token.single_word === true,
    lstrip: token.lstrip === true,
    rstrip: token.rstrip === true,
  };
}

const isSame = (a: AddedToken, b: AddedToken): boolean =>
  (Object.keys(a) as (keyof AddedToken)[]).every((key) => a[key] === b[key]);

function contentOf(value: JsonValue | undefined): string | undefined {
  const content = isObject(value) ? value.content : value;
  return typeof content === 'string' && content !== '' ? content : undefined;
}

const listOf = (value: JsonValue | undefined): readonly JsonValue[] => (Array.isArray(value) ? value : []);
