import type { SchemaTree } from 'hyparquet';
import { UserError } from '../../errors.js';
import { show } from '../../formats/paths.js';
import { openParquetFile } from '../parquet-file.js';
import type { ParquetFile } from '../parquet-file.js';
import type { FileSet } from './files.js';
import { readJsonLines } from './json-lines.js';

export interface TableRow {
  /** What messages call it: `train.jsonl line 3` from 1, `train.parquet row 2` from 0. */
  readonly name: string;
  /** In the order of the columns asked for; undefined where the row lacks one. */
  readonly values: readonly unknown[];
}

/** Rows with named columns, from JSON lines or Parquet. */
export interface Table {
  readonly name: string;
  /** The columns of the first row, or of the first file. */
  readonly columns: readonly string[];
  /** Those of them that hold one text per row, as far as the first row or the first file tells. */
  readonly textColumns: readonly string[];
  /** Rows in order, read as they are asked for: line by line, or one row group at a time. */
  rows(columns: readonly string[]): AsyncIterable<TableRow>;
}

/** Opens files of JSON lines or Parquet as one table. `UserError` if it has no rows. */
export const openTable = (set: FileSet): Promise<Table> =>
  set.kind === 'parquet' ? openParquetTable(set) : openJsonTable(set);

/** `it has a, b`, for messages about a column that is not there. */
export const listColumns = (table: Table): string =>
  `it has ${table.columns.map((column) => show(column)).join(', ') || 'none'}`;

async function openJsonTable({ name, paths }: FileSet): Promise<Table> {
  for await (const { row } of rowsOf(paths)) {
    const columns = Object.keys(row);
    const textColumns = columns.filter((column) => row[column] === null || typeof row[column] === 'string');
    return { name, columns, textColumns, rows: (wanted) => jsonRows(paths, wanted) };
  }
  throw new UserError(`${name}: holds no rows.`);
}

async function* rowsOf(paths: readonly string[]): ReturnType<typeof readJsonLines> {
  for (const path of paths) yield* readJsonLines(path);
}

async function* jsonRows(paths: readonly string[], columns: readonly string[]): AsyncGenerator<TableRow> {
  for await (const { name, row } of rowsOf(paths))
    yield { name, values: columns.map((column) => (Object.hasOwn(row, column) ? row[column] : undefined)) };
}

async function openParquetTable({ name, paths }: FileSet): Promise<Table> {
  const files: ParquetFile[] = [];
  for (const path of paths) files.push(await openParquetFile(path));
  if (files.every((file) => file.rows === 0)) throw new UserError(`${name}: holds no rows.`);
  const { columns } = files[0]!;
  return {
    name,
    columns: columns.map((column) => column.element.name),
    textColumns: columns.filter(isText).map((column) => column.element.name),
    rows: (wanted) => parquetRows(files, wanted),
  };
}

const isText = ({ element, children }: SchemaTree) =>
  children.length === 0 && element.type === 'BYTE_ARRAY' && element.repetition_type !== 'REPEATED';

async function* parquetRows(
  files: readonly ParquetFile[],
  columns: readonly string[],
): AsyncGenerator<TableRow> {
  for (const file of files) {
    const known = new Set(file.columns.map((column) => column.element.name));
    const missing = columns.find((column) => !known.has(column));
    if (missing !== undefined)
      throw new UserError(`${file.name}: no column ${show(missing)}, unlike the first file.`);
    for (const [index, group] of file.groups.entries()) {
      const data: ArrayLike<unknown>[] = [];
      for (const column of columns) data.push(await file.readColumn(column, index));
      for (let row = 0; row < group.rows; row++)
        yield { name: `${file.name} row ${group.start + row}`, values: data.map((values) => values[row]) };
    }
  }
}
