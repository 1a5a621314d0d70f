import { createHash } from 'node:crypto';
import { basename, join, resolve } from 'node:path';
import { UserError } from '../../errors.js';
import { statPath } from '../../formats/paths.js';
import { listFolder } from '../folder.js';
import { parquetSplits, splitAt } from '../parquet.js';
import { hashFile, readStart } from '../picture-set.js';

export type FileKind = 'text' | 'jsonl' | 'parquet';

/** One set of files of one kind, read one after another. */
export interface FileSet {
  readonly name: string;
  readonly kind: FileKind;
  readonly paths: readonly string[];
}

const KINDS: readonly [RegExp, FileKind][] = [
  [/\.(?:txt|text|md)$/i, 'text'],
  [/\.(?:jsonl|ndjson|json)$/i, 'jsonl'],
  [/\.parquet$/i, 'parquet'],
];
/** Files about a data set, not of it. */
const ABOUT = /^(?:readme|licen[cs]e|dataset_infos?|state|package)\b/i;
const SUPPORTED = 'plain text (.txt, .md), JSON lines (.jsonl, .json) and Parquet files';

/**
 * The files at `path`: one file, the Parquet files of a split (`FOLDER/train` stands for
 * `FOLDER/train-00000-of-00002.parquet` and so on), or what a folder holds if that is one set: its plain text
 * files, in the order of their names, one JSON lines file, or one Parquet split. In a folder, names such as
 * `README.md` and `dataset_info.json` are passed over. `UserError` otherwise.
 */
export async function findFiles(path: string): Promise<FileSet> {
  const split = await splitAt(path);
  if (split) return { name: basename(resolve(path)), kind: 'parquet', paths: split };
  const stats = await statPath(path);
  if (stats.isFile()) return { name: basename(path), kind: await kindOfFile(path), paths: [path] };
  if (!stats.isDirectory()) throw new UserError(`${path} is neither a file nor a folder.`);

  const entries = await listFolder(path);
  const names = entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
  const data = names.filter((name) => !ABOUT.test(name));
  const texts = data.filter((name) => kindOfName(name) === 'text');
  const lines = data.filter((name) => kindOfName(name) === 'jsonl');
  const sets: { name: string; kind: FileKind; names: readonly string[] }[] = [
    ...[...parquetSplits(data)].map(([split, files]) => ({
      name: split || files[0]!,
      kind: 'parquet' as const,
      names: files,
    })),
    ...lines.map((name) => ({ name, kind: 'jsonl' as const, names: [name] })),
    ...(texts.length > 0 ? [{ name: texts[0]!, kind: 'text' as const, names: texts }] : []),
  ];
  const set = sets[0];
  if (!set) throw new UserError(`${path} holds no text; supported are ${SUPPORTED}.`);
  if (sets.length > 1)
    throw new UserError(
      `${path} holds several sets of texts; name one: ${sets.map(({ name }) => join(path, name)).join(', ')}.`,
    );
  return { name: basename(resolve(path)), kind: set.kind, paths: set.names.map((name) => join(path, name)) };
}

/** Identifies names and content of the files of `set`: hex sha256. Content above 1 MiB is sampled. */
export async function fingerprintFiles(set: FileSet, column?: string): Promise<string> {
  const hash = createHash('sha256').update(`texts 1 ${set.kind} ${set.paths.length} ${column ?? ''}\n`);
  for (const path of set.paths) hash.update(`${JSON.stringify([basename(path), await hashFile(path)])}\n`);
  return hash.digest('hex');
}

const kindOfName = (name: string): FileKind | undefined => KINDS.find(([pattern]) => pattern.test(name))?.[1];

async function kindOfFile(path: string): Promise<FileKind> {
  const start = await readStart(path, 4);
  if (start.toString('latin1') === 'PAR1') return 'parquet';
  const kind = kindOfName(path);
  if (kind) return kind;
  const isPacked = (start[0] === 0x1f && start[1] === 0x8b) || /\.(?:gz|zst|zip|xz|bz2)$/i.test(path);
  throw new UserError(
    isPacked
      ? `${path} is compressed; unpack it first.`
      : `${path} is not a text; supported are ${SUPPORTED}.`,
  );
}
