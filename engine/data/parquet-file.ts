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
  /** The values of a top-level column in row group `group`, one a row, byte arrays not decoded as text. */
  readColumn(column: string, group: number): Promise<DecodedArray>;
}

const MAX_ROWS = 2 ** 27;
/** Unpacked bytes of one column of one row group, all of which are in memory at once. */
const MAX_COLUMN_BYTES = 2 ** 30;

/**
 * Opens a Parquet file by its footer alone. No file stays open. Later reads take the byte ranges of one
 * column of one row group; what its pages claim to hold is checked against the footer and the limits above
 * before anything is unpacked. All that is wrong with the file is a `UserError` that starts with its name.
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
    const chunks = await readChunks(file, metadata.row_groups[index]!, column, count, name);
    const scan = await parquetScan({
      file: cached(file, chunks),
      metadata,
      columns: [column],
      compressors,
      utf8: false,
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

/** The bytes of the chunks of `column`, whose pages claim no more than a row group of `rows` may hold. */
async function readChunks(
  file: AsyncBuffer,
  group: RowGroup,
  column: string,
  rows: number,
  name: string,
): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  for (const { meta_data: meta } of group.columns) {
    if (meta?.path_in_schema[0] !== column) continue;
    if (meta.total_uncompressed_size > MAX_COLUMN_BYTES || meta.total_compressed_size > MAX_COLUMN_BYTES)
      throw new UserError(
        `${name}: a row group holds more than ${MAX_COLUMN_BYTES} bytes of "${column}"; write it with smaller row groups.`,
      );
    const start = Number(meta.dictionary_page_offset ?? meta.data_page_offset);
    const bytes = await file.slice(start, start + Number(meta.total_compressed_size));
    checkPages(bytes, rows, name);
    chunks.push({ start, bytes });
  }
  return chunks;
}

function checkPages(bytes: ArrayBuffer, rows: number, name: string): void {
  const reader = { view: new DataView(bytes), offset: 0 };
  let [values, unpacked] = [0, 0];
  while (reader.offset < bytes.byteLength - 1) {
    const page = parquetHeader(reader);
    values += page.data_page_header?.num_values ?? page.data_page_header_v2?.num_values ?? 0;
    unpacked += page.uncompressed_page_size;
    if (!(page.compressed_page_size >= 0 && page.uncompressed_page_size >= 0))
      throw new UserError(`${name}: a page of negative size; the file is damaged.`);
    if (values > rows || unpacked > MAX_COLUMN_BYTES)
      throw new UserError(
        `${name}: its pages claim more than their row group may hold; the file is damaged.`,
      );
    reader.offset += page.compressed_page_size;
  }
}

/** `file`, but ranges that lie in one of `chunks` come from memory. */
const cached = (file: AsyncBuffer, chunks: readonly Chunk[]): AsyncBuffer => ({
  byteLength: file.byteLength,
  slice: (start, end = file.byteLength) => {
    const chunk = chunks.find((item) => item.start <= start && end <= item.start + item.bytes.byteLength);
    return chunk ? chunk.bytes.slice(start - chunk.start, end - chunk.start) : file.slice(start, end);
  },
});

/** `hyparquet-compressors`, with zstd held to the page size rather than to what its frame claims. */
const compressors: Compressors = {
  ...unbounded,
  ZSTD: (input, size) => decompressZstd(input, new Uint8Array(size)),
};
