/** `tokenizer.json` and its configuration, from what a GGUF file says of its tokenizer. */
import { UserError } from '../../errors.js';
import type { GgufHeader } from '../../formats/gguf/header.js';
import type { JsonObject, JsonValue } from '../../formats/json.js';
import { show } from '../../formats/paths.js';

/** llama.cpp's kinds of tokens. */
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;

export interface TokenizerFiles {
  readonly 'tokenizer.json': JsonObject;
  readonly 'tokenizer_config.json': JsonObject;
  readonly 'generation_config.json': JsonObject;
}

/** Throws UserError, beginning with `where`, for a tokenizer that no `tokenizer.json` of those known says. */
export function tokenizerFiles(header: GgufHeader, where: string): TokenizerFiles {
  const own = (key: string) => `tokenizer.ggml.${key}`;
  const kind = header.text(own('model'));
  const tokens = header.texts(own('tokens'));
  if (kind === undefined || !tokens) throw new UserError(`${where}: has no tokenizer.`);
  if (kind !== 'gpt2' && kind !== 'llama')
    throw new UserError(`${where}: its tokenizer is ${show(kind, 40)}; those read are "gpt2" and "llama".`);
  const kinds = header.numbers(own('token_type')) ?? new Float64Array(tokens.length);
  if (kinds.length !== tokens.length)
    throw new UserError(`${where}: its tokenizer has ${tokens.length} tokens, and kinds of ${kinds.length}.`);
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => kinds[id] !== UNUSED && ids.set(token, id));
  const added = tokens.flatMap((content, id) =>
    kinds[id] === CONTROL || kinds[id] === USER_DEFINED
      ? [addedToken(content, id, kinds[id] === CONTROL)]
      : [],
  );
  const role = (name: string): string | undefined => {
    const id = header.number(own(`${name}_token_id`));
    return id === undefined ? undefined : tokens[id];
  };
  const split = kind === 'gpt2' ? splitOf(header.text(own('pre')), where) : undefined;
  const before =
    (header.flag(own('add_bos_token')) ?? (split?.bos || kind === 'llama')) ? role('bos') : undefined;
  const after = header.flag(own('add_eos_token')) ? role('eos') : undefined;
  const around = { before, after };
  const body = split ? byteBpe(header, ids, split, where) : sentencePiece(header, tokens, kinds, ids, where);
  const template = header.text('tokenizer.chat_template');
  const ends = ['eos', 'eot'].flatMap((name) => header.number(own(`${name}_token_id`)) ?? []);
  const roles = { bos_token: role('bos'), eos_token: role('eos'), unk_token: role('unknown'), pad_token: role('padding') }; // prettier-ignore
  return {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      ...body,
      post_processor: postProcessor(around, ids, split !== undefined),
    },
    'tokenizer_config.json': present({
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...roles,
      chat_template: template,
    }),
    'generation_config.json': present({
      bos_token_id: header.number(own('bos_token_id')),
      eos_token_id: ends.length > 0 ? [...new Set(ends)] : undefined,
    }),
  };
}

const present = (values: Readonly<Record<string, JsonValue | undefined>>): JsonObject =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as JsonObject;

const addedToken = (content: string, id: number, special: boolean): JsonObject => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special,
});

const BYTES = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };

function postProcessor(
  { before, after }: { readonly before: string | undefined; readonly after: string | undefined },
  ids: ReadonlyMap<string, number>,
  isBytes: boolean,
): JsonValue {
  const around = [before, after].flatMap((token) => token ?? []);
  if (around.length === 0) return isBytes ? { ...BYTES, use_regex: true } : null;
  const special = (token: string | undefined) =>
    token === undefined ? [] : [{ SpecialToken: { id: token, type_id: 0 } }];
  const single = [...special(before), { Sequence: { id: 'A', type_id: 0 } }, ...special(after)];
  return {
    type: 'TemplateProcessing',
    single,
    pair: [...single, { Sequence: { id: 'B', type_id: 1 } }, ...special(after)],
    special_tokens: Object.fromEntries(
      around.map((token) => [token, { id: token, ids: [ids.get(token)!], tokens: [token] }]),
    ),
  };
}

interface Split {
  readonly steps: readonly JsonObject[];
  readonly normalizer: JsonObject | null;
  /** Whether whole words that are tokens are taken before any merge. */
  readonly wholeFirst?: boolean;
  /** Whether a text begins with a token of its own where the file does not say. */
  readonly bos?: boolean;
}

/** How GPT-2 and later ones split texts (Radford et al. 2019), numbers into as many digits as told. */
const withNumbers = (numbers: string): JsonObject => ({
  type: 'Split',
  pattern: {
    Regex: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  },
  behavior: 'Isolated',
  invert: false,
});

/** By llama.cpp's names. */
const SPLITS: Readonly<Record<string, Split>> = {
  'gpt-2': { steps: [{ ...BYTES, use_regex: true }], normalizer: null },
  'llama-bpe': {
    steps: [withNumbers('\\p{N}{1,3}'), { ...BYTES, use_regex: false }],
    normalizer: null,
    wholeFirst: true,
    bos: true,
  },
  qwen2: { steps: [withNumbers('\\p{N}'), { ...BYTES, use_regex: false }], normalizer: { type: 'NFC' } },
  smollm: {
    steps: [
      { type: 'Digits', individual_digits: true },
      { ...BYTES, use_regex: true },
    ],
    normalizer: null,
  },
};

function splitOf(name: string | undefined, where: string): Split {
  const split = SPLITS[name ?? ''];
  if (split) return split;
  throw new UserError(
    `${where}: its tokenizer splits texts as ${name === undefined ? 'it does not say' : show(name, 40)}; known are ${Object.keys(SPLITS).join(', ')}.`,
  );
}

const bpe = (
  vocab: ReadonlyMap<string, number>,
  merges: readonly string[],
  more: JsonObject,
): JsonObject => ({
  type: 'BPE',
  dropout: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  ...more,
  vocab: Object.fromEntries(vocab),
  merges: [...merges],
});

function byteBpe(
  header: GgufHeader,
  ids: ReadonlyMap<string, number>,
  { steps, normalizer, wholeFirst = false }: Split,
  where: string,
): JsonObject {
  const merges = header.texts('tokenizer.ggml.merges');
  if (!merges) throw new UserError(`${where}: its tokenizer has no merges.`);
  const [only] = steps as [JsonObject];
  return {
    normalizer,
    pre_tokenizer: steps.length === 1 ? only : { type: 'Sequence', pretokenizers: [...steps] },
    decoder: { ...BYTES, use_regex: true },
    model: bpe(ids, merges, {
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: wholeFirst,
    }),
  };
}

const SPACE = '\u2581';

/**
 * SentencePiece's BPE joins the pair whose whole has the highest score: merges are all pairs of pieces that make a piece, in the
 * order of its score.
 */
function sentencePiece(
  header: GgufHeader,
  tokens: readonly string[],
  kinds: Float64Array,
  ids: ReadonlyMap<string, number>,
  where: string,
): JsonObject {
  const scores = header.numbers('tokenizer.ggml.scores');
  if (scores?.length !== tokens.length)
    throw new UserError(`${where}: its tokenizer has no score for each of its ${tokens.length} tokens.`);
  const unknown = header.number('tokenizer.ggml.unknown_token_id');
  const prefix = header.flag('tokenizer.ggml.add_space_prefix') ?? true;
  const replaced = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const decoders = [
    { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ];
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [...(prefix ? [{ type: 'Prepend', prepend: SPACE }] : []), replaced],
    },
    pre_tokenizer: null,
    decoder: { type: 'Sequence', decoders },
    model: bpe(ids, mergesOf(tokens, kinds, scores, ids), {
      unk_token: unknown === undefined ? null : (tokens[unknown] ?? null),
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
    }),
  };
}

/** Far longer than any piece that is merged. */
const MAX_PIECE = 64;

function mergesOf(
  tokens: readonly string[],
  kinds: Float64Array,
  scores: Float64Array,
  ids: ReadonlyMap<string, number>,
): string[] {
  const joins: (readonly [id: number, left: number, right: number])[] = [];
  tokens.forEach((token, id) => {
    if (kinds[id] === CONTROL || kinds[id] === UNUSED || token.length > MAX_PIECE) return;
    for (let i = 1; i < token.length; i++) {
      const [left, right] = [ids.get(token.slice(0, i)), ids.get(token.slice(i))];
      if (left !== undefined && right !== undefined) joins.push([id, left, right]);
    }
  });
  joins.sort((a, b) => scores[b[0]]! - scores[a[0]]! || a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return joins.map(([, left, right]) => `${tokens[left]!} ${tokens[right]!}`);
}
