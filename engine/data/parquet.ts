import { basename, dirname, join, resolve } from 'node:path';
import type { SchemaTree } from 'hyparquet';
import { UserError } from '../errors.js';
import { parseJsonStrict } from '../formats/json.js';
import { show, statPath } from '../formats/paths.js';
import { listFolder } from './folder.js';
import { openParquetFile } from './parquet-file.js';
import type { ParquetFile } from './parquet-file.js';
import { byName, hashFile } from './picture-set.js';
import type { PictureSet } from './picture-set.js';

const IMAGE_COLUMNS = ['image', 'img'];
const LABEL_COLUMNS = ['label', 'labels', 'fine_label'];
/** Row groups kept unpacked: neighbours in a draw that jumps about, and the one being read. */
const KEPT_GROUPS = 2;

/**
 * The pictures of Parquet files as the Hugging Face hub publishes them: a column `image` or `img` (or the
 * only one that the hub's metadata calls an Image) of encoded bytes, plain or in a struct `{bytes, path}`;
 * labels in `label`, `labels` or `fine_label` (or the only ClassLabel), integers or texts. The files stand
 * one after another, as given. Class names come from the hub's metadata, or are the distinct texts in order.
 * A row that holds a path and no bytes cannot be read: no path from inside a file is ever followed.
 *
 * Labels are read here, all of them; pictures later, a row group at a time.
 */
export async function openParquet(folderName: string, paths: readonly string[]): Promise<PictureSet> {
  const files: ParquetFile[] = [];
  for (const path of paths) files.push(await openParquetFile(path));
  const first = files[0]!;
  const features = featuresOf(first);
  const image = imageColumn(first, features);
  const label = labelColumn(first, features);
  for (const file of files) {
    imageColumn(file, features, image);
    if (label !== undefined) labelColumn(file, features, label);
  }
  const groups = files.flatMap((file) => file.groups.map((group, number) => ({ file, number, ...group })));
  const starts: number[] = [];
  let length = 0;
  for (const group of groups) {
    starts.push(length);
    length += group.rows;
  }
  if (length === 0) throw new UserError(`${first.name}: holds no rows.`);

  const labelling =
    label === undefined ? undefined : await readLabels(groups, label, features.get(label)?.names);
  const locate = (index: number) => {
    const at = starts.findLastIndex((start) => start <= index);
    const group = groups[at]!;
    return { at, group, row: index - starts[at]!, fileRow: group.start + index - starts[at]! };
  };
  const unpacked = new Map<number, ReturnType<ParquetFile['readColumn']>>();
  const valuesOf = (at: number) => {
    const { file, number } = groups[at]!;
    const values = unpacked.get(at) ?? file.readColumn(image, number);
    unpacked.delete(at);
    unpacked.set(at, values);
    for (const old of unpacked.keys()) if (unpacked.size > KEPT_GROUPS) unpacked.delete(old);
    return values;
  };
  const hashes = new Map<string, Promise<string>>();
  return {
    name: folderName,
    kind: 'parquet',
    length,
    ...labelling,
    skipped: [],
    nameOf: (index) => `${locate(index).group.file.name} row ${locate(index).fileRow}`,
    read: async (index) => {
      const { at, row } = locate(index);
      return pictureBytes((await valuesOf(at))[row]);
    },
    identity: async (index) => {
      const { group, fileRow } = locate(index);
      const { path, name } = group.file;
      if (!hashes.has(path)) hashes.set(path, hashFile(path));
      return `${name} ${await hashes.get(path)!} ${fileRow}`;
    },
    close: () => unpacked.clear(),
  };
}

/**
 * The Parquet files among `names` as sets, keyed by split: `train-00000-of-00002.parquet` belongs to `train`,
 * `0000.parquet` to the set without a name, any other file is a set of its own. All in the order of names.
 */
export function parquetSplits(names: readonly string[]): Map<string, string[]> {
  const splits = new Map<string, string[]>();
  for (const name of names.filter((item) => /\.parquet$/i.test(item)).sort(byName)) {
    const split =
      /^(.+?)[-_.]\d{5}-of-\d{5}.*\.parquet$/i.exec(name)?.[1] ??
      (/^\d+\.parquet$/i.test(name) ? '' : basename(resolve(name), '.parquet'));
    splits.set(split, [...(splits.get(split) ?? []), name]);
  }
  return splits;
}

/** The files of a split named as `FOLDER/train`, if `path` is not a file or folder itself. */
export async function splitAt(path: string): Promise<string[] | undefined> {
  const folder = dirname(resolve(path));
  try {
    await statPath(path);
    return undefined;
  } catch {
    const entries = await listFolder(folder).catch(() => []);
    const files = parquetSplits(entries.map((entry) => entry.name)).get(basename(path));
    return files?.map((name) => join(folder, name));
  }
}

interface Feature {
  readonly type?: string;
  readonly names?: readonly string[];
}

/** The features in the hub's key-value metadata; none where it is absent or not understood. */
function featuresOf(file: ParquetFile): ReadonlyMap<string, Feature> {
  const text = file.metadata('huggingface');
  if (text === undefined) return new Map();
  let features: unknown;
  try {
    features = field(field(parseJsonStrict(text, file.name), 'info'), 'features');
  } catch {
    return new Map();
  }
  if (typeof features !== 'object' || features === null) return new Map();
  return new Map(
    Object.entries(features).map(([column, feature]: [string, unknown]) => {
      const [type, names] = [field(feature, '_type'), field(feature, 'names')];
      const isList = Array.isArray(names) && names.every((name): name is string => typeof name === 'string');
      return [column, { ...(typeof type === 'string' && { type }), ...(isList && { names }) }];
    }),
  );
}

const field = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;

const nameOfColumn = (column: SchemaTree) => column.element.name;

function findColumn(
  file: ParquetFile,
  names: readonly string[],
  features: ReadonlyMap<string, Feature>,
  type: string,
): SchemaTree | undefined {
  const named = names
    .map((name) => file.columns.find((column) => nameOfColumn(column) === name))
    .find(Boolean);
  const typed = file.columns.filter((column) => features.get(nameOfColumn(column))?.type === type);
  return named ?? (typed.length === 1 ? typed[0] : undefined);
}

/** The name of the column of pictures (`known` where the first file settled it), whose form is checked. */
function imageColumn(file: ParquetFile, features: ReadonlyMap<string, Feature>, known?: string): string {
  const column = findColumn(file, known === undefined ? IMAGE_COLUMNS : [known], features, 'Image');
  if (!column)
    throw new UserError(
      `${file.name}: no column "image" or "img"; it has ${file.columns.map((item) => show(nameOfColumn(item))).join(', ')}.`,
    );
  const bytes =
    column.children.length === 0 ? column : column.children.find((child) => nameOfColumn(child) === 'bytes');
  const isList = [column, bytes].some((item) => item?.element.repetition_type === 'REPEATED');
  if (bytes?.element.type !== 'BYTE_ARRAY' || isList)
    throw new UserError(
      `${file.name}: column "${nameOfColumn(column)}" must hold encoded pictures, as bytes or as a struct {bytes, path}.`,
    );
  return nameOfColumn(column);
}

function labelColumn(
  file: ParquetFile,
  features: ReadonlyMap<string, Feature>,
  known?: string,
): string | undefined {
  const column = findColumn(file, known === undefined ? LABEL_COLUMNS : [known], features, 'ClassLabel');
  if (!column && known !== undefined)
    throw new UserError(`${file.name}: no column "${known}", unlike the first file.`);
  if (!column) return undefined;
  if (column.children.length > 0 || column.element.repetition_type === 'REPEATED')
    throw new UserError(
      `${file.name}: column "${nameOfColumn(column)}" must hold one integer or text per row.`,
    );
  return nameOfColumn(column);
}

async function readLabels(
  groups: readonly { readonly file: ParquetFile; readonly number: number }[],
  column: string,
  classNames: readonly string[] | undefined,
): Promise<{ labels: Int32Array; classNames?: readonly string[] }> {
  const values: (number | string)[] = [];
  for (const { file, number } of groups)
    for (const value of await file.readColumn(column, number)) values.push(labelOf(value, column, file.name));
  const texts = values.filter((value) => typeof value === 'string');
  const names = classNames ?? (texts.length > 0 ? [...new Set(texts)].sort(byName) : undefined);
  const numbers = new Map(names?.map((name, number) => [name, number]));
  const labels = Int32Array.from(values, (value) =>
    typeof value === 'number' ? value : (numbers.get(value) ?? -1),
  );
  return { labels, ...(names && { classNames: names }) };
}

/** A label as it stands: a text, or an integer of 0 or more; -1 for none. */
function labelOf(value: unknown, column: string, file: string): number | string {
  if (value === null || value === undefined) return -1;
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (typeof value === 'string') return value;
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < -1 || number > 0x7fffffff)
    throw new UserError(`${file}: column "${column}" holds ${show(number)}, which is not a label.`);
  return number;
}

function pictureBytes(value: unknown): Uint8Array {
  const bytes = value instanceof Uint8Array ? value : field(value, 'bytes');
  if (bytes instanceof Uint8Array && bytes.length > 0) return bytes;
  throw new UserError(
    typeof field(value, 'path') === 'string'
      ? 'the row holds a path and no picture; only embedded pictures are read'
      : 'the row holds no picture',
  );
}
