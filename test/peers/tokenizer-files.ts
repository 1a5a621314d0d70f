/** Random files of tokenizers, valid as Hugging Face's library reads them, of every component that it has; and texts to trip them. */
import type { Draw } from './suite.js';

export type Json = Record<string, unknown>;

/** A few rules of normalization as SentencePiece compiles them: letters, ligatures, accents, spaces, an emoji, characters removed. */
const CHARSMAP =
  'AAQAAAAgAAAJCQAACgUAAAEAAIALAACADQAAgMwAAgCBOQAAhQkAAAgAAIAXAACADwAAgIAwAgCNDQAAAAAAgKB9AAADAACAsAwCAIAFAAAUAACAgQUAABEAAIC/YQAAioADAO/8AgC+cAIAnwUAABoAAICfbAIAkcgCAJnwAgAFAACAgv0AACAAAACs3AIAIgAAAKm9AAAkAAAAJwAAACYAAAApAAAAKAAAACsAAAAqAAAALQAAACwAAAAvAAAALgAAAL60AgAwAAAAMwAAADIAAAA1AAAAu3ACADcAAAA2AAAAOQAAADgAAAA7AAAAOgAAAD0AAAA8AAAAPwAAAD4AAABBAAAAQAAAAEMAAABCAAAARQAAAEQAAABHAAAARgAAAEkAAABBNQEAQj0BAEoAAABNAAAATAAAAE8AAABOAAAAUQAAAFAAAABTAAAAUgAAAFUAAABUAAAAVwAAAFYAAABZAAAAWAAAAFsAAABaAAAAXQAAAFwAAABfAAAAXgAAAGEAAABgAAAAYwAAAGIAAABlAAAAZAAAAGcAAABmAAAAaQAAAGgAAABrAAAAagAAAG0AAABsAAAAbwAAAG4AAAB46AIAcAAAAHMAAAByAAAAdQAAAHQAAAB3AAAAdgAAAHkAAAB4AAAAewAAAHoAAAB9AAAAfAAAAH8AAAB+AAAAgQAAAIAAAACDAAAAggAAAIUAAACEAAAAhwAAAIYAAACJAAAAiAAAAIsAAACKAAAAjQAAAIwAAACPAAAAjgAAAJEAAACQAAAAkwAAAJIAAACVAAAAlAAAAJcAAACWAAAAmQAAAJgAAACbAAAAmgAAAJ0AAACcAAAAnwAAAJ4AAAChAAAAoAAAAKMAAACiAAAApQAAAKQAAACnAAAApgAAAKkAAACoAAAAqwAAAKoAAACtAAAArAAAAK8AAACuAAAAsQAAALAAAACzAAAAsgAAALUAAAC0AAAAtwAAALYAAAC5AAAAuAAAALsAAAC6AAAAvQAAALwAAAC/AAAAvgAAAMEAAADAAAAAwwAAAMIAAADFAAAAxAAAAMcAAADGAAAAyQAAAMgAAADLAAAAwxgBAM0AAADMAAAAzwAAAM4AAADRAAAA0AAAANMAAADSAAAA1QAAANQAAADXAAAA1gAAANkAAADYAAAA2wAAANoAAADdAAAA3AAAAN8AAADeAAAA4QAAAOAAAADqDAEA4gAAAOUAAADkAAAA5wAAAO+kAQDpAAAA6AAAAOKYAQDqAAAA7QAAAOwAAADvAAAA7gAAAPEAAADwAAAA8wAAAPIAAAD1AAAA9AAAAPcAAAD2AAAA8OwBAPgAAAD7AAAA+gAAAP0AAAD8AAAA/wAAAP4AAAAAIAAxADopAFghAGEAYgBlAGZpAGdhAMOlAOODkQA=';

const LETTERS = [...'abcdeABé'];
/** What normalizers, patterns and byte levels treat in ways of their own. */
const NASTY = [
  ...[
    ' ',
    '  ',
    '\n',
    '\r\n',
    '\t',
    '\u00a0',
    '\u3000',
    '\u200b',
    '\u2028',
    '\ufeff',
    '\u0000',
    '\u0085',
    '\u200d',
  ],
  ...['.', ',', '!!', '...', "'s", "n't", '-', '_', '$', '«', '(', '¿', '|'],
  ...['1', '23', '٣', '½', '①', '²', 'Ⅷ'],
  ...['é', 'e\u0301', 'ñ', 'ß', 'İ', 'ı', 'ﬁ', 'Å', 'Σς', 'ǅ', 'q\u0323\u0307', 'ﾊﾟ', '가', '\u1100\u1161'],
  ...['日本', '語', 'あ', 'ア', 'ー', '中', 'ไทย', 'हिन्दी', 'عربى', 'Ж'],
  ...['🙂', '👍🏽', '👨‍👩‍👧', '🇫🇷', '\ufffd', '\ud7ff', '\u{10ffff}'],
  ...['▁', '▁▁', '##', '</w>', '<0x0A>', '<s>', '</s>', '[UNK]', '<unk>'],
];
const SPECIAL = [
  '<s>',
  '</s>',
  '<unk>',
  '[UNK]',
  '[PAD]',
  '<|x|>',
  '<|x|>y',
  'ab',
  'b c',
  ' a',
  'é',
  '日',
  'AB',
  '.',
  '▁a',
];
const PATTERNS: readonly Json[] = [
  ...[' ', 'a', '.', 'ab', '▁', '\n', 'é', ''].map((text) => ({ String: text })),
  ...[
    ...[
      '\\s+',
      '\\w+',
      '\\d',
      '[a-c]+',
      '( )',
      '\\p{L}+',
      '\\p{N}{1,3}',
      '[^\\s\\p{L}\\p{N}]+',
      '\\s+(?!\\S)|\\s+',
    ],
    ...[
      '(?i:a|b)',
      '[[:punct:]]',
      '^.',
      '.$',
      '\\b',
      '(?<=a)b',
      'a*?',
      '[\\u4e00-\\u9fa5]+',
      '\\R',
      '(?i)é',
      '\\p{Han}',
    ],
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  ].map((text) => ({ Regex: text })),
];
const BEHAVIORS = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'];
const BYTES = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);

/** A text of letters, special tokens and nasty characters; now and then empty, or a thousand characters long. */
export function drawText({ pick, whole, chance }: Draw): string {
  const length = chance(0.05) ? 0 : chance(0.05) ? 400 : whole(1, 30);
  const nasty = pick([0.1, 0.3, 0.6]);
  return Array.from({ length }, () =>
    chance(nasty) ? pick(NASTY) : chance(0.05) ? pick(SPECIAL) : chance(0.3) ? ' ' : pick(LETTERS),
  ).join('');
}

/** The content of a `tokenizer.json`. */
export function drawTokenizer(draw: Draw): Json {
  const { pick, chance, whole } = draw;
  const isBytes = chance(0.25);
  const model = drawModel(draw, isBytes);
  const byteLevel = {
    type: 'ByteLevel',
    add_prefix_space: chance(0.3),
    trim_offsets: chance(),
    use_regex: chance(0.7),
  };
  const preTokenizer = optional(draw, 0.8, () =>
    sequence(draw, 'pretokenizers', () => drawPreTokenizer(draw)),
  );
  const tokens = tokensOf(model);
  const added = drawAdded(draw, tokens);
  const known = [...tokens, ...added.map(({ content, id }) => [content, id] as const)];
  return {
    version: '1.0',
    truncation: optional(draw, 0.15, () => ({
      direction: pick(['Left', 'Right']),
      max_length: whole(3, 9),
      strategy: pick(['LongestFirst', 'OnlyFirst']),
      stride: 0,
    })),
    padding: optional(draw, 0.15, () => ({
      strategy: pick(['BatchLongest', { Fixed: whole(1, 20) }]),
      direction: pick(['Left', 'Right']),
      pad_to_multiple_of: chance() ? null : 8,
      pad_id: 0,
      pad_type_id: 0,
      pad_token: '[PAD]',
    })),
    added_tokens: added,
    normalizer: optional(draw, 0.7, () => sequence(draw, 'normalizers', () => drawNormalizer(draw))),
    pre_tokenizer: isBytes
      ? preTokenizer === null
        ? byteLevel
        : { type: 'Sequence', pretokenizers: [preTokenizer, byteLevel] }
      : preTokenizer,
    post_processor: optional(draw, 0.6, () => drawPostProcessor(draw, known)),
    decoder: optional(draw, 0.8, () =>
      isBytes && chance(0.6) ? byteLevel : sequence(draw, 'decoders', () => drawDecoder(draw)),
    ),
    model,
  };
}

/** The content of a `tokenizer_config.json` beside it, or nothing. */
export function drawConfig(draw: Draw, tokenizer: Json): Json | undefined {
  const { pick, chance } = draw;
  if (chance(0.8)) return undefined;
  const added = tokenizer.added_tokens as { content: string }[];
  const name = () => (added.length > 0 && chance() ? pick(added).content : pick(SPECIAL));
  const described = () => {
    const content = name();
    return { __type: 'AddedToken', ...flags(draw), content };
  };
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...(chance() && { bos_token: chance() ? name() : described() }),
    ...(chance() && { eos_token: chance() ? name() : described() }),
    ...(chance(0.3) && { pad_token: name() }),
    ...(chance(0.3) && { additional_special_tokens: [name(), name()] }),
    ...(chance(0.4) && {
      added_tokens_decoder: Object.fromEntries(
        [...new Set([name(), name(), name()])].map((content, i) => [
          String(40 - 7 * i),
          { ...flags(draw), content },
        ]),
      ),
    }),
  };
}

const optional = <T>({ chance }: Draw, probability: number, make: () => T): T | null =>
  chance(probability) ? make() : null;

/** One part, or a sequence of up to four. */
function sequence({ chance, whole }: Draw, key: string, make: () => Json): Json {
  if (chance()) return make();
  return { type: 'Sequence', [key]: Array.from({ length: whole(0, 4) }, make) };
}

const flags = ({ chance }: Draw) => ({
  single_word: chance(0.3),
  lstrip: chance(0.3),
  rstrip: chance(0.3),
  normalized: chance(),
  special: chance(0.6),
});

function drawAdded(draw: Draw, tokens: readonly (readonly [string, number])[]) {
  const { pick, whole, chance } = draw;
  const ids = new Map(tokens);
  let next = tokens.reduce((most, [, id]) => Math.max(most, id + 1), 0);
  const contents = new Set(Array.from({ length: chance(0.2) ? 0 : whole(1, 7) }, () => pick(SPECIAL)));
  return [...contents].map((content) => ({ id: ids.get(content) ?? next++, content, ...flags(draw) }));
}

const tokensOf = ({ vocab }: Json): readonly (readonly [string, number])[] =>
  Array.isArray(vocab)
    ? (vocab as [string, number][]).map(([token], id) => [token, id] as const)
    : Object.entries(vocab as Record<string, number>);

const idsOf = (tokens: Iterable<string>) =>
  Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]));

function drawModel(draw: Draw, isBytes: boolean): Json {
  const { pick, chance, whole } = draw;
  const alphabet = isBytes
    ? byteAlphabet()
    : [...LETTERS, '▁', ...NASTY.flatMap((text) => [...text]).filter(() => chance(0.4))];
  const words = (count: number, most: number) =>
    Array.from({ length: count }, () =>
      Array.from({ length: whole(2, most) }, () => pick(alphabet)).join(''),
    );
  const kind = isBytes ? 'BPE' : pick(['BPE', 'BPE', 'Unigram', 'WordPiece', 'WordLevel']);
  const unknown = pick(['<unk>', '[UNK]']);
  const bytes = () => (chance(0.7) ? BYTES : BYTES.slice(0, 200));
  switch (kind) {
    case 'WordLevel':
      return { type: kind, vocab: idsOf([unknown, ...alphabet, ...words(60, 3)]), unk_token: unknown };
    case 'WordPiece': {
      const prefix = pick(['##', '##', '', '▁']);
      const inner = [...alphabet, ...words(30, 3)].map((word) => prefix + word);
      return {
        type: kind,
        unk_token: unknown,
        continuing_subword_prefix: prefix,
        max_input_chars_per_word: pick([100, 4]),
        vocab: idsOf([unknown, ...alphabet, ...words(30, 3), ...inner]),
      };
    }
    case 'Unigram': {
      const byteFallback = chance();
      const tokens = [unknown, ...(byteFallback ? bytes() : []), ...alphabet, ...words(60, 4)];
      return {
        type: kind,
        unk_id: chance(0.9) ? 0 : null,
        byte_fallback: byteFallback,
        vocab: [...new Set(tokens)].map((token) => [token, -whole(0, 400) / 40]),
      };
    }
    default:
      return drawBpe(draw, alphabet, isBytes, { unknown, bytes });
  }
}

function drawBpe(
  { pick, chance, whole }: Draw,
  alphabet: readonly string[],
  isBytes: boolean,
  { unknown, bytes }: { readonly unknown: string; readonly bytes: () => string[] },
): Json {
  const prefix = !isBytes && chance(0.15) ? '##' : null;
  const suffix = !isBytes && chance(0.15) ? '</w>' : null;
  const byteFallback = !isBytes && chance(0.4);
  const forms = ['', ...(suffix === null ? [] : [suffix])];
  const starts = alphabet.flatMap((letter) => forms.map((end) => letter + end));
  const inner = prefix === null ? [] : starts.map((token) => prefix + token);
  const tokens = new Set([unknown, ...(byteFallback ? bytes() : []), ...starts, ...inner]);
  const pieces = [...starts, ...inner];
  const merges: [string, string][] = [];
  const seen = new Set<string>();
  for (let i = whole(0, 120); i > 0; i--) {
    const [a, b] = [pick(pieces), pick(pieces)];
    if (suffix !== null && a.endsWith(suffix)) continue;
    if (prefix !== null && !b.startsWith(prefix)) continue;
    if (seen.has(`${a} ${b}`)) continue;
    seen.add(`${a} ${b}`);
    const merged = a + b.slice(prefix?.length ?? 0);
    merges.push([a, b]);
    if (!tokens.has(merged)) pieces.push(merged);
    tokens.add(merged);
  }
  const asText = merges.every((pair) => !pair.join('').includes(' ')) && chance();
  return {
    type: 'BPE',
    dropout: pick([null, null, 0]),
    unk_token: isBytes || chance(0.3) ? null : unknown,
    continuing_subword_prefix: prefix,
    end_of_word_suffix: suffix,
    fuse_unk: chance(),
    byte_fallback: byteFallback,
    ignore_merges: chance(0.2),
    vocab: idsOf(tokens),
    merges: asText ? merges.map((pair) => pair.join(' ')) : merges,
  };
}

function byteAlphabet(): string[] {
  const printed = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte < 173) || byte > 173;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printed(byte) ? byte : next++));
}

function drawNormalizer({ pick, chance }: Draw): Json {
  const type = pick([
    ...['BertNormalizer', 'NFC', 'NFD', 'NFKC', 'NFKD', 'Strip', 'StripAccents', 'Lowercase', 'Nmt'],
    ...['Prepend', 'Replace', 'Replace', 'Precompiled', 'Precompiled', 'ByteLevel'],
  ]);
  switch (type) {
    case 'BertNormalizer':
      return {
        type,
        clean_text: chance(),
        handle_chinese_chars: chance(),
        strip_accents: pick([null, true, false]),
        lowercase: chance(),
      };
    case 'Strip':
      return { type, strip_left: chance(), strip_right: chance() };
    case 'Prepend':
      return { type, prepend: pick(['▁', 'a', ' ', '']) };
    case 'Replace':
      return { type, pattern: pick(PATTERNS), content: pick(['', '▁', ' ', 'ab', '$0', '\\1', 'é']) };
    case 'Precompiled':
      return { type, precompiled_charsmap: CHARSMAP };
    default:
      return { type };
  }
}

function drawPreTokenizer({ pick, chance, whole }: Draw): Json {
  const type = pick([
    ...['BertPreTokenizer', 'CharDelimiterSplit', 'Metaspace', 'Metaspace', 'Whitespace', 'WhitespaceSplit'],
    ...['Punctuation', 'Punctuation', 'Split', 'Split', 'Split', 'Digits', 'UnicodeScripts', 'FixedLength'],
  ]);
  switch (type) {
    case 'CharDelimiterSplit':
      return { type, delimiter: pick([' ', 'a', '▁', '日']) };
    case 'Metaspace':
      return {
        type,
        replacement: pick(['▁', '▁', '_']),
        prepend_scheme: pick(['always', 'never', 'first']),
        split: chance(),
      };
    case 'Punctuation':
      return { type, behavior: pick(BEHAVIORS) };
    case 'Split':
      return { type, pattern: pick(PATTERNS), behavior: pick(BEHAVIORS), invert: chance() };
    case 'Digits':
      return { type, individual_digits: chance() };
    case 'FixedLength':
      return { type, length: whole(1, 5) };
    default:
      return { type };
  }
}

function drawPostProcessor(draw: Draw, known: readonly (readonly [string, number])[]): Json {
  const { pick, chance } = draw;
  const one = () => pick(known);
  const type = pick(['ByteLevel', 'BertProcessing', 'RobertaProcessing', 'TemplateProcessing', 'Sequence']);
  const byteLevel = {
    type: 'ByteLevel',
    add_prefix_space: chance(),
    trim_offsets: chance(),
    use_regex: chance(),
  };
  switch (type) {
    case 'ByteLevel':
      return byteLevel;
    case 'BertProcessing':
      return { type, sep: one(), cls: one() };
    case 'RobertaProcessing':
      return { type, sep: one(), cls: one(), trim_offsets: chance(), add_prefix_space: chance() };
    case 'Sequence':
      return { type, processors: [byteLevel, drawTemplate(draw, known)] };
    default:
      return drawTemplate(draw, known);
  }
}

function drawTemplate({ pick, whole }: Draw, known: readonly (readonly [string, number])[]): Json {
  const names = Array.from({ length: 3 }, () => pick(known));
  const piece = () => ({ SpecialToken: { id: pick(names)[0], type_id: 0 } });
  const some = (most: number) => Array.from({ length: whole(0, most) }, piece);
  const text = (id: string) => ({ Sequence: { id, type_id: 0 } });
  return {
    type: 'TemplateProcessing',
    single: [...some(2), text('A'), ...some(2)],
    pair: [text('A'), ...some(1), text('B')],
    special_tokens: Object.fromEntries(
      names.map(([token, id]) => [token, { id: token, ids: [id], tokens: [token] }]),
    ),
  };
}

function drawDecoder({ pick, chance, whole }: Draw): Json {
  const type = pick([
    ...[
      'ByteLevel',
      'WordPiece',
      'Metaspace',
      'BPEDecoder',
      'CTC',
      'Replace',
      'Fuse',
      'Strip',
      'ByteFallback',
    ],
  ]);
  switch (type) {
    case 'ByteLevel':
      return { type, add_prefix_space: chance(), trim_offsets: chance(), use_regex: chance() };
    case 'WordPiece':
      return { type, prefix: pick(['##', '']), cleanup: chance() };
    case 'Metaspace':
      return { type, replacement: '▁', prepend_scheme: pick(['always', 'never', 'first']), split: chance() };
    case 'BPEDecoder':
      return { type, suffix: pick(['</w>', 'a']) };
    case 'CTC':
      return {
        type,
        pad_token: pick(['a', '<s>']),
        word_delimiter_token: pick(['b', '▁']),
        cleanup: chance(),
      };
    case 'Replace':
      return { type, pattern: pick(PATTERNS), content: pick(['', ' ', 'x']) };
    case 'Strip':
      return { type, content: pick([' ', 'a', '▁']), start: whole(0, 2), stop: whole(0, 2) };
    default:
      return { type };
  }
}
