import type { Dirent } from 'node:fs';
import { readdir, readFile, realpath } from 'node:fs/promises';
import { basename, join, relative, resolve, sep } from 'node:path';
import { UserError } from '../errors.js';
import { fileError, sizeOfFile } from '../formats/paths.js';
import { byName, hashFile } from './picture-set.js';
import type { PictureSet, Skipped } from './picture-set.js';

const MAX_DEPTH = 16;
const PICTURE = /\.(?:png|jpe?g|webp)$/i;
const UNSUPPORTED_PICTURE = /\.(?:gif|bmp|tiff?|heic|heif|avif|jxl|jp2|ico|svg|pdf)$/i;

/**
 * The PNG, JPEG and WebP files of a folder. With subfolders that hold pictures, at any depth, each direct
 * subfolder is a class, labelled 0, 1, … in the order of the names; pictures beside them are skipped. Without,
 * the pictures of the folder itself, unlabelled. Names that start with a dot are passed over; so are other
 * files, those of other picture formats with a note. Symbolic links count where they lead to a file inside
 * the folder. The order is that of the names, class by class.
 */
export async function openFolder(folder: string): Promise<PictureSet> {
  const skipped: Skipped[] = [];
  const walk: Walk = { root: folder, realRoot: await realpath(folder), skipped };
  const entries = await listFolder(folder);
  const classes: { name: string; files: string[] }[] = [];
  for (const entry of entries.filter((item) => item.isDirectory())) {
    const files = await listPictures(walk, join(folder, entry.name), MAX_DEPTH);
    if (files.length > 0) classes.push({ name: entry.name, files });
  }
  const loose = await picturesAmong(walk, folder, entries);
  if (classes.length > 0)
    for (const file of loose)
      skipped.push({ name: file, reason: 'stands beside class folders, in none of them' });

  const files = classes.length > 0 ? classes.flatMap((item) => item.files) : loose;
  if (files.length === 0) throw noPictures(folder, skipped);
  return {
    name: basename(resolve(folder)),
    kind: 'folder',
    length: files.length,
    ...(classes.length > 0 && {
      classNames: classes.map((item) => item.name),
      labels: Int32Array.from(classes.flatMap((item, label) => item.files.map(() => label))),
    }),
    skipped,
    nameOf: (index) => files[index]!,
    bytes: (index) => sizeOfFile(join(folder, files[index]!)),
    read: (index) => readPicture(join(folder, files[index]!)),
    identity: async (index) => `${files[index]!} ${await hashFile(join(folder, files[index]!))}`,
    close: () => undefined,
  };
}

interface Walk {
  readonly root: string;
  readonly realRoot: string;
  readonly skipped: Skipped[];
}

/** What `folder` holds, hidden names left out, in the order of the names. `UserError` where it cannot be read. */
export async function listFolder(folder: string): Promise<Dirent[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.filter((entry) => !entry.name.startsWith('.')).sort((a, b) => byName(a.name, b.name));
  } catch (error) {
    throw fileError(error, 'read', folder);
  }
}

/** The pictures in `folder` and below, as paths from the root with `/` between names. */
async function listPictures(walk: Walk, folder: string, depth: number): Promise<string[]> {
  const entries = await listFolder(folder);
  const pictures = await picturesAmong(walk, folder, entries);
  for (const entry of entries.filter((item) => item.isDirectory())) {
    const path = join(folder, entry.name);
    if (depth > 0) pictures.push(...(await listPictures(walk, path, depth - 1)));
    else
      walk.skipped.push({ name: nameFrom(walk, path), reason: `lies more than ${MAX_DEPTH} folders deep` });
  }
  return pictures;
}

async function picturesAmong(walk: Walk, folder: string, entries: readonly Dirent[]): Promise<string[]> {
  const pictures: string[] = [];
  for (const entry of entries) {
    const path = join(folder, entry.name);
    const name = nameFrom(walk, path);
    const reason = await reasonToSkip(walk, path, entry);
    if (reason !== undefined) walk.skipped.push({ name, reason });
    else if (!entry.isDirectory() && PICTURE.test(entry.name)) pictures.push(name);
  }
  return pictures;
}

async function reasonToSkip(walk: Walk, path: string, entry: Dirent): Promise<string | undefined> {
  if (entry.isFile() && UNSUPPORTED_PICTURE.test(entry.name))
    return 'this picture format is not supported (PNG, JPEG and WebP are)';
  if (!entry.isSymbolicLink()) return undefined;
  const target = await realpath(path).catch(() => undefined);
  if (target === undefined) return 'a broken symbolic link';
  if (!target.startsWith(walk.realRoot + sep)) return 'a symbolic link that leaves the folder';
  return PICTURE.test(target) ? undefined : 'a symbolic link to something other than a picture';
}

const nameFrom = (walk: Walk, path: string) => relative(walk.root, path).split(sep).join('/');

async function readPicture(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
}

function noPictures(folder: string, skipped: readonly Skipped[]): UserError {
  const first = skipped[0];
  return new UserError(
    `${folder} holds no pictures: expected PNG, JPEG or WebP files, one subfolder of them per class, or IDX or Parquet files in it` +
      (first ? `; ${skipped.length} skipped, such as ${first.name}: ${first.reason}.` : '.'),
  );
}
