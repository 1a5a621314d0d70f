import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { UserError } from '../../errors.js';
import { sizeOfFile } from '../../formats/paths.js';
import type { ChoiceItem } from './choice-layouts.js';
import { findLayout, LAYOUTS } from './choice-layouts.js';
import { findFiles, fingerprintFiles } from './files.js';
import type { FileSet } from './files.js';
import { listColumns, openTable } from './table.js';

export type { ChoiceItem, ChoicePair } from './choice-layouts.js';

/** Questions of which a model must find the right answer among several, by how likely it holds each. */
export interface ChoiceTask {
  readonly name: string;
  /** Whose columns these are: `choices`, `piqa`, `arc`, `hellaswag` or `winogrande`. */
  readonly layout: string;
  readonly items: readonly ChoiceItem[];
  /** Identifies kind, name and content of the files: hex sha256. */
  fingerprint(): Promise<string>;
}

const MAX_ITEMS = 2 ** 20;
const MAX_LABEL_BYTES = 16 << 20;

/** Whether the files at `path` have the columns of a multiple choice task that is known. `UserError` where they cannot be read. */
export async function holdsChoices(path: string): Promise<boolean> {
  const set = await findFiles(path);
  return set.kind !== 'text' && findLayout((await openTable(set)).columns) !== undefined;
}

/**
 * Reads a multiple choice task from JSON lines or Parquet, a file or a folder (see `findFiles`). The layout is
 * told from the columns (`LAYOUTS`). `UserError` for columns of no known layout, and for a row that does not
 * keep to its layout or has no answer, with the row's name.
 */
export async function openChoices(path: string): Promise<ChoiceTask> {
  const set = await findFiles(path);
  if (set.kind === 'text')
    throw new UserError(`${set.name}: multiple choice tasks are read from JSON lines or Parquet.`);
  const table = await openTable(set);
  const layout = findLayout(table.columns);
  if (!layout)
    throw new UserError(
      `${table.name}: columns of no known multiple choice task (${LAYOUTS.map(({ name }) => name).join(', ')}); ${listColumns(table)}.`,
    );
  const columns = [...layout.required, ...layout.optional].filter((column) => table.columns.includes(column));
  const labels = layout.name === 'piqa' && !columns.includes('label') ? await readLabels(set) : undefined;
  const items: ChoiceItem[] = [];
  for await (const { name, values } of table.rows(columns)) {
    if (items.length === MAX_ITEMS)
      throw new UserError(`${table.name}: more than the ${MAX_ITEMS} rows that are supported.`);
    const row = new Map(columns.map((column, i) => [column, values[i]]));
    if (labels) row.set('label', labels.lines[items.length]);
    items.push(layout.read(row, name));
  }
  if (labels && labels.lines.length !== items.length)
    throw new UserError(
      `${set.name} has ${items.length} rows, ${basename(labels.path)} ${labels.lines.length} labels; as many are needed.`,
    );
  const paths = labels ? [...set.paths, labels.path] : set.paths;
  const fingerprint = () => fingerprintFiles({ ...set, paths });
  return { name: set.name, layout: layout.name, items, fingerprint };
}

/** The labels of PIQA as first published: one line per row, in `dev-labels.lst` beside `dev.jsonl`. */
async function readLabels({ name, paths }: FileSet) {
  const path = paths[0]!.replace(/\.[^.\\/]*$/, '') + '-labels.lst';
  let size: number;
  try {
    size = await sizeOfFile(path);
  } catch (cause) {
    throw new UserError(`${name}: it has no "label", and there is no ${basename(path)} beside it.`, {
      cause,
    });
  }
  if (size > MAX_LABEL_BYTES) throw new UserError(`${basename(path)}: too large for a list of labels.`);
  return { path, lines: (await readFile(path, 'utf8')).trimEnd().split(/\r?\n/) };
}
