import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { UserError } from '../../errors.js';
import { fileError, show, sizeOfFile } from '../../formats/paths.js';
import type { Skipped } from '../picture-set.js';
import { findFiles, fingerprintFiles } from './files.js';
import type { FileKind, FileSet } from './files.js';
import { listColumns, openTable } from './table.js';
import type { Table } from './table.js';
import { unixLines } from './line-ends.js';

/** Texts at one place, in an order that is always the same. */
export interface TextSource {
  readonly name: string;
  readonly kind: FileKind;
  /** The column of the texts, in JSON lines and Parquet. */
  readonly column?: string;
  /** What reading has left out so far; each name once. */
  readonly skipped: readonly Skipped[];
  /**
   * The texts, one per file or row, read as they are asked for; empty ones too. What holds no text is named in
   * `skipped` and left out. `UserError` if that is all there is, or where a line of JSON is damaged.
   */
  documents(): AsyncIterable<string>;
  /**
   * Identifies kind, column, and name and content (`hashFile`, which samples above 1 MiB) of each file: hex
   * sha256. Where the files lie does not matter.
   */
  fingerprint(): Promise<string>;
}

const TEXT_COLUMNS = ['text', 'content', 'document'];
const NOT_UTF8 = 'not valid UTF-8 text.';
const BYTE_ORDER_MARK = '\ufeff';
const MAX_TEXT_BYTES = 256 * 1024 * 1024;

/**
 * Opens the texts at `path`: plain text or Markdown, JSON lines, or Parquet, as a file or a folder (see
 * `findFiles`). Texts of rows are in `column`, or in the first of `text`, `content` and `document` that there
 * is. All text is UTF-8; line ends of plain text become `\n`, as Python reads it. `UserError` for anything else, an
 * empty file, or a column that is absent or not text.
 */
export async function openText(
  path: string,
  options: { readonly column?: string } = {},
): Promise<TextSource> {
  const set = await findFiles(path);
  if (set.kind === 'text') {
    if (options.column !== undefined)
      throw new UserError(`${set.name}: plain text has no columns, so none named ${show(options.column)}.`);
    await requireContent(set);
    return sourceOf(set, undefined, (skip) => readTexts(set, skip));
  }
  const table = await openTable(set);
  const column = textColumn(table, options.column);
  return sourceOf(set, column, (skip) => readColumn(table, column, skip));
}

type Skip = (name: string, reason: string) => void;

function sourceOf(
  set: FileSet,
  column: string | undefined,
  read: (skip: Skip) => AsyncIterable<string>,
): TextSource {
  const skipped = new Map<string, Skipped>();
  return {
    name: set.name,
    kind: set.kind,
    ...(column !== undefined && { column }),
    get skipped() {
      return [...skipped.values()];
    },
    documents: async function* () {
      let count = 0;
      for await (const text of read((name, reason) => skipped.set(name, { name, reason }))) {
        count++;
        yield text;
      }
      const [first] = skipped.values();
      if (count === 0 && first)
        throw new UserError(`No text could be read from ${set.name}; ${first.name}: ${first.reason}`);
    },
    fingerprint: () => fingerprintFiles(set, column),
  };
}

async function requireContent(set: FileSet): Promise<void> {
  for (const path of set.paths) if ((await sizeOfFile(path)) > 0) return;
  throw new UserError(
    `${set.name}: ${set.paths.length > 1 ? 'all its text files are' : 'the file is'} empty.`,
  );
}

async function* readTexts(set: FileSet, skip: Skip): AsyncGenerator<string> {
  for (const path of set.paths) {
    try {
      yield await readText(path);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      skip(basename(path), error.message);
    }
  }
}

async function readText(path: string): Promise<string> {
  const size = await sizeOfFile(path);
  if (size > MAX_TEXT_BYTES)
    throw new UserError(`the file has ${size} bytes; up to ${MAX_TEXT_BYTES} are supported.`);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  const text = utf8Of(bytes);
  if (text === undefined) throw new UserError(NOT_UTF8);
  return unixLines(text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text);
}

function textColumn(table: Table, wanted: string | undefined): string {
  const names = wanted === undefined ? TEXT_COLUMNS : [wanted];
  const column = names.find((name) => table.columns.includes(name));
  if (column === undefined)
    throw new UserError(
      `${table.name}: no column of texts named ${names.map((name) => show(name)).join(' or ')}; ${listColumns(table)}.`,
    );
  if (!table.textColumns.includes(column))
    throw new UserError(`${table.name}: the column ${show(column)} holds no texts; ${listColumns(table)}.`);
  return column;
}

async function* readColumn(table: Table, column: string, skip: Skip): AsyncGenerator<string> {
  for await (const { name, values } of table.rows([column])) {
    const text = values[0] instanceof Uint8Array ? utf8Of(values[0]) : values[0];
    if (typeof text === 'string') yield text;
    else skip(name, reasonFor(values[0], column));
  }
}

/** `bytes` as text, a byte order mark included; nothing if they are not UTF-8. */
function utf8Of(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function reasonFor(value: unknown, column: string): string {
  if (value === undefined || value === null) return `the row has nothing in ${show(column)}.`;
  return value instanceof Uint8Array ? NOT_UTF8 : `${show(column)} must be a text, found ${show(value, 40)}.`;
}
