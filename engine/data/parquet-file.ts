import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { parquetMetadataAsync, parquetScan, parquetSchema } from 'hyparquet';
import type { AsyncBuffer, Compressors, DecodedArray, FileMetaData, RowGroup, SchemaTree } from 'hyparquet';
import { parquetHeader } from 'hyparquet/src/column.js';
import { compressors as unbounded, decompressZstd } from 'hyparquet-compressors';
import { messageOf, UserError } from '../errors.js';
import { sizeOfFile } from '../formats/paths.js';

/** One Parquet file: its footer read and checked, its columns read a row group at a time. */
export interface ParquetFile {
  readonly path: string;
  readonly name: string;
  readonly columns: readonly SchemaTree[];
  /** Row groups in the order of the file: their first row and number of rows. */
  readonly groups: readonly { readonly start: number; readonly rows: number }[];
  readonly rows: number;
  /** The key-value metadata under `key`. */
  metadata(key: string): string | undefined;
  /**
   * The values of a top-level column in row group `group`, one per row. Byte arrays are not decoded; those that
   * the file calls text are, save where they are not valid UTF-8: these stay bytes.
   */
  readColumn(column: string, group: number): Promise<DecodedArray>;
}

const MAX_ROWS = 2 ** 27;
/** Unpacked bytes of one column of one row group, all of which are in memory at once. */
const MAX_COLUMN_BYTES = 2 ** 30;
/** Items of all lists in one column of one row group. */
const MAX_LIST_ITEMS = 2 ** 24;

/**
 * Opens a Parquet file by its footer alone. No file stays open. Later reads take the byte ranges of one
 * column of one row group; what its pages claim to hold is checked against the footer and the limits above
 * before anything is unpacked. All that is wrong with the file is a `UserError` that starts with its name.
 *
 * Known limit: run lengths inside a page are not checked, so a file forged with huge ones can still exhaust
 * the memory of the process.
 */
export async function openParquetFile(path: string): Promise<ParquetFile> {
  const name = basename(path);
  const size = await sizeOfFile(path);
  const file: AsyncBuffer = {
    byteLength: size,
    slice: (start, end = size) => readRange(path, size, start, end),
  };
  const metadata = await explained(name, () => parquetMetadataAsync(file, { geoparquet: false }));
  const columns = await explained(name, () => parquetSchema(metadata).children);
  if (new Set(columns.map((column) => column.element.name)).size < columns.length)
    throw new UserError(`${name}: two columns of one name; the file is damaged.`);
  const groups: { start: number; rows: number }[] = [];
  let rows = 0;
  for (const group of metadata.row_groups) {
    const count = Number(group.num_rows);
    if (!(count >= 0 && rows + count <= MAX_ROWS))
      throw new UserError(`${name}: claims more than the ${MAX_ROWS} rows that are supported.`);
    groups.push({ start: rows, rows: count });
    rows += count;
  }
  const readColumn = async (column: string, index: number) => {
    const { start, rows: count } = groups[index]!;
    if (count === 0) return [];
    const tree = columns.find((item) => item.element.name === column)!;
    const chunks = await readChunks(file, metadata.row_groups[index]!, tree, count, name);
    const scan = await parquetScan({
      file: fileOf(size, chunks),
      metadata,
      columns: [column],
      compressors,
      utf8: false,
      parsers: { stringFromBytes },
    });
    const values = await scan.readColumn({ column, rowStart: start, rowEnd: start + count });
    if (values.length !== count)
      throw new UserError(`${name}: row group ${index} holds ${values.length} of its ${count} rows.`);
    return values;
  };
  return {
    path,
    name,
    columns,
    groups,
    rows,
    metadata: (key) => metadataOf(metadata, key),
    readColumn: (column, group) => explained(name, () => readColumn(column, group)),
  };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text, where the bytes (or nothing, for a null) are any. */
function stringFromBytes(bytes: unknown): unknown {
  if (!(bytes instanceof Uint8Array)) return bytes;
  try {
    return utf8.decode(bytes);
  } catch {
    return bytes;
  }
}

const metadataOf = (metadata: FileMetaData, key: string) =>
  metadata.key_value_metadata?.find((item) => item.key === key)?.value;

/** Anything that goes wrong in `read` is the file's fault: the reader sees nothing else. */
async function explained<T>(name: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${name}: not a readable Parquet file (${messageOf(error)}).`, { cause: error });
  }
}

async function readRange(path: string, size: number, start: number, end: number): Promise<ArrayBuffer> {
  if (!(start >= 0 && start <= end && end <= size)) throw new Error(`bytes ${start} to ${end} of ${size}`);
  const bytes = new Uint8Array(end - start);
  const file = await open(path);
  try {
    for (let at = 0; at < bytes.length;) {
      const { bytesRead } = await file.read(bytes, at, bytes.length - at, start + at);
      if (bytesRead === 0) throw new Error('the file shrank');
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
  return bytes.buffer;
}

interface Chunk {
  readonly start: number;
  readonly bytes: ArrayBuffer;
}

interface Leaf {
  readonly path: string;
  readonly isList: boolean;
}

/** The columns that hold values at and below `column`. */
function leavesOf(column: SchemaTree, inList = false): Leaf[] {
  const isList = inList || column.element.repetition_type === 'REPEATED';
  if (column.children.length === 0) return [{ path: column.path.join('.'), isList }];
  return column.children.flatMap((child) => leavesOf(child, isList));
}

/** The bytes of each leaf of `column`, whose pages claim no more than a row group of `rows` may hold. */
async function readChunks(
  file: AsyncBuffer,
  group: RowGroup,
  column: SchemaTree,
  rows: number,
  name: string,
): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  const metas = group.columns.map((chunk) => chunk.meta_data);
  const leaves = leavesOf(column);
  const inColumn = metas.filter((meta) => meta?.path_in_schema[0] === column.element.name);
  if (inColumn.length !== leaves.length) throw new Error('chunks that belong to no column');
  for (const { path: leaf, isList } of leaves) {
    const [meta, second] = metas.filter((item) => item?.path_in_schema.join('.') === leaf);
    if (!meta || second) throw new Error(`not one chunk of ${leaf}`);
    if (meta.total_uncompressed_size > MAX_COLUMN_BYTES || meta.total_compressed_size > MAX_COLUMN_BYTES)
      throw new UserError(
        `${name}: a row group holds more than ${MAX_COLUMN_BYTES} bytes of "${leaf}"; write it with smaller row groups.`,
      );
    const start = Number(meta.dictionary_page_offset || meta.data_page_offset);
    const bytes = await file.slice(start, start + Number(meta.total_compressed_size));
    checkPages(bytes, rows, isList ? MAX_LIST_ITEMS : rows, name);
    chunks.push({ start, bytes });
  }
  return chunks;
}

function checkPages(bytes: ArrayBuffer, rows: number, limit: number, name: string): void {
  const reader = { view: new DataView(bytes), offset: 0 };
  let [values, unpacked] = [0, 0];
  while (reader.offset < bytes.byteLength - 1) {
    const page = parquetHeader(reader);
    const { compressed_page_size: packedSize, uncompressed_page_size: size, data_page_header_v2: v2 } = page;
    const count = (v2 ?? page.data_page_header ?? page.dictionary_page_header)?.num_values ?? 0;
    const [definitions, repetitions] = [v2?.definition_levels_byte_length, v2?.repetition_levels_byte_length];
    const claims = v2 ? [v2.num_nulls, v2.num_rows, definitions, repetitions] : [];
    values += page.type === 'DICTIONARY_PAGE' ? 0 : count;
    unpacked += size;
    if (
      ![packedSize, size, count, ...claims].every((number) => number !== undefined && number >= 0) ||
      reader.offset + packedSize > bytes.byteLength ||
      (definitions ?? 0) + (repetitions ?? 0) > Math.min(packedSize, size) ||
      Math.max(count, v2?.num_nulls ?? 0) > limit ||
      (v2?.num_rows ?? 0) > rows
    )
      throw new UserError(`${name}: the header of a page contradicts itself; the file is damaged.`);
    if (values > limit || unpacked > MAX_COLUMN_BYTES)
      throw new UserError(
        `${name}: its pages claim more than their row group may hold; the file is damaged.`,
      );
    reader.offset += packedSize;
  }
}

/**
 * A file of which `chunks` alone were read, zeros elsewhere. It reads nothing and never rejects: of the
 * promises that hyparquet starts, not all are awaited once one of them has failed.
 */
const fileOf = (byteLength: number, chunks: readonly Chunk[]): AsyncBuffer => ({
  byteLength,
  slice: (start, end = byteLength) => {
    const bytes = new Uint8Array(end - start);
    for (const chunk of chunks) {
      const from = Math.max(start, chunk.start);
      const to = Math.min(end, chunk.start + chunk.bytes.byteLength);
      if (from < to) bytes.set(new Uint8Array(chunk.bytes, from - chunk.start, to - from), from - start);
    }
    return bytes.buffer;
  },
});

/** `hyparquet-compressors`, with zstd held to the page size rather than to what its frame claims. */
const compressors: Compressors = {
  ...unbounded,
  ZSTD: (input, size) => decompressZstd(input, new Uint8Array(size)),
};
