import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '../testing.js';
import type { TextSource } from './source.js';
import type { TextTokenizer } from './tokenizer.js';

/** A folder with these files, that lasts as long as the test. Objects are written as JSON. */
export async function folderOf(files: Record<string, string | Uint8Array | object>): Promise<string> {
  const folder = await temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    const isText = typeof content === 'string' || content instanceof Uint8Array;
    await writeFile(join(folder, name), isText ? content : JSON.stringify(content));
  }
  return folder;
}

/** The path of one such file. */
export const fileOf = async (name: string, content: string | Uint8Array): Promise<string> =>
  join(await folderOf({ [name]: content }), name);

/** Rows as JSON lines. */
export const jsonLines = (...rows: readonly object[]): string =>
  rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** A tokenizer that encodes each text as `encode` says; `bos`, 2, before a text if asked for special tokens. */
export const tokenizerOf = (encode: (text: string) => number[]): TextTokenizer => ({
  bos: 2,
  encode: (texts, { special = 'none' } = {}) =>
    Promise.resolve(texts.map((text) => [...(special === 'none' ? [] : [2]), ...encode(text)])),
  decode: (ids) => Promise.resolve(String.fromCharCode(...ids)),
});

/** One token a UTF-16 unit, its id the unit. */
export const unitTokenizer = tokenizerOf((text) =>
  Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)),
);

/** A source of `texts`. */
export const sourceOf = (...texts: readonly string[]): TextSource => ({
  name: 'some',
  kind: 'text',
  skipped: [],
  documents: async function* () {
    for (const text of texts) yield await Promise.resolve(text);
  },
  fingerprint: () => Promise.resolve(''),
});

export async function documentsOf(source: TextSource): Promise<string[]> {
  const texts: string[] = [];
  for await (const text of source.documents()) texts.push(text);
  return texts;
}

interface Merges {
  readonly merges: readonly (readonly [string, string])[];
}

/** An entry of `added_tokens`, special if not said otherwise. */
export const addedToken = (id: number, content: string, flags: object = {}): object => ({
  ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  ...flags,
});

/** The content of a `tokenizer.json`, of SentencePiece's kind: `▁` for spaces, bytes for what it lacks. */
export function sentencePiece({ merges }: Merges, preTokenizer: object | null = null): object {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  const letters = [
    ...new Set([...'▁abcdefghijklmnopqrstuvwxyz.,', ...merges.flat().flatMap((part) => [...part])]),
  ];
  const tokens = [
    ...new Set(['<unk>', '<s>', '</s>', ...bytes, ...letters, ...merges.map((pair) => pair.join(''))]),
  ];
  return {
    version: '1.0',
    added_tokens: [0, 1, 2].map((id) => addedToken(id, tokens[id]!)),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(preTokenizer ? [] : [{ type: 'Prepend', prepend: '▁' }]),
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: preTokenizer,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}
