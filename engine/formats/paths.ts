import type { Stats } from 'node:fs';
import { lstat, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { UserError } from '../errors.js';
import { nameProblem, type NameProblem } from '../plans/names.js';

const REASONS = new Map([
  ['ENOENT', 'no such file or folder'],
  ['ENOTDIR', 'a part of the path is not a folder'],
  ['EISDIR', 'it is a folder'],
  ['EEXIST', 'something of that name is there already'],
  ['ENOTEMPTY', 'a folder of that name is there, and is not empty'],
  ['EINVAL', 'the drive does not take such a name'],
  ['EACCES', 'permission denied'],
  ['EPERM', 'permission denied'],
  ['EROFS', 'the drive is read-only'],
  ['ENOSPC', 'no space left on the drive'],
  ['EDQUOT', 'the disk quota is used up'],
  ['EFBIG', 'the file is too large for the drive'],
  ['EMFILE', 'too many open files'],
  ['ENAMETOOLONG', 'the name is too long'],
  ['ELOOP', 'too many symbolic links'],
  ['EBUSY', 'another program is using it'],
  ['ETXTBSY', 'another program is using it'],
  ['ESTALE', 'the network drive has lost it'],
  ['ETIMEDOUT', 'the network drive does not answer'],
  ['EIO', 'the drive reported an error'],
]);

/** The `UserError` that a failed file operation deserves, or `error` itself if it is of another kind. */
export function fileError(error: unknown, action: 'read' | 'write', path: string): unknown {
  const reason = REASONS.get(String((error as NodeJS.ErrnoException | undefined)?.code));
  return reason ? new UserError(`Cannot ${action} ${path}: ${reason}.`, { cause: error }) : error;
}

/**
 * `value` as JSON on one line, cut to `limit` characters, for error messages. What lies beyond them is not looked at,
 * however much or deep it is.
 */
export function show(value: unknown, limit = 80): string {
  const text = value === undefined ? 'nothing' : beginning(value, limit + 1);
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

/** The JSON of a value, or at least the first `room` characters of it. */
function beginning(value: unknown, room: number): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, room));
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  let text = open!;
  for (const key in value) {
    if (text.length >= room) return text;
    if (text.length > 1) text += ',';
    if (!Array.isArray(value)) text += `${beginning(key, room)}:`;
    text += beginning((value as Record<string, unknown>)[key], room - text.length);
  }
  return text + close!;
}

/** The stats of whatever `path` names; `UserError` if that is nothing, or out of reach. */
export async function statPath(path: string): Promise<Stats> {
  try {
    return await stat(path);
  } catch (error) {
    if (await isLink(path)) throw brokenLink(path, error);
    throw fileError(error, 'read', path);
  }
}

/** Whether anything is at `path`, a link that leads nowhere too. */
export const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

/** Whether there is a regular file at `path`. */
export const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );

export const isLink = (path: string): Promise<boolean> =>
  lstat(path).then(
    (stats) => stats.isSymbolicLink(),
    () => false,
  );

const brokenLink = (path: string, cause: unknown) =>
  new UserError(
    `${path} is a link to a file that is not there; a download may not have been completed: repeat it.`,
    { cause },
  );

/** Size in bytes of the regular file `path`; `UserError` for a folder, a pipe or a device. */
export async function sizeOfFile(path: string): Promise<number> {
  const stats = await statPath(path);
  if (!stats.isFile()) throw new UserError(`Cannot read ${path}: it is not a file.`);
  return stats.size;
}

/**
 * The path of `name`, a file named by untrusted content, inside `folder`. Refuses absolute names, `..`,
 * and symbolic links that leave the folder, with an error that starts with `where`. One way out is known
 * and allowed: the blobs of a Hugging Face cache, to which `snapshots/<revision>/*` and folders of downloads link.
 */
export async function resolveInside(folder: string, name: string, where: string): Promise<string> {
  const parts = name.split(/[/\\]/);
  if (isAbsolute(name) || /[:\0]/.test(name) || parts.some((part) => ['', '.', '..'].includes(part)))
    throw new UserError(`${where} names ${show(name)}, which is not a path inside its folder.`);
  const path = join(folder, name);
  let root: string, target: string;
  try {
    [root, target] = await Promise.all([realpath(folder), realpath(path)]);
  } catch (error) {
    if (await isLink(path)) throw brokenLink(path, error);
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new UserError(`${where} names ${show(name)}, which is missing from ${folder}.`);
    throw fileError(error, 'read', path);
  }
  const isBlob =
    (basename(dirname(root)) === 'snapshots' && isWithin(join(root, '..', '..', 'blobs'), target)) ||
    CACHED.test(target);
  if (!isWithin(root, target) && !isBlob)
    throw new UserError(`${where} names ${show(name)}, a link that leaves its folder.`);
  return path;
}

/** A file of a Hugging Face cache, by its hash. */
const CACHED = /[/\\]models--[^/\\]+[/\\]blobs[/\\][0-9a-f]{40,64}$/;

function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

const NAME_PROBLEMS: Readonly<Record<NameProblem, string>> = {
  empty: 'is empty or begins or ends with a space',
  spaces: 'is empty or begins or ends with a space',
  long: 'is too long',
  characters: 'holds a character that file names cannot have',
  dots: 'begins or ends with a dot',
  reserved: 'is reserved by Windows',
  partial: 'ends in .partial, which marks unfinished work',
};

/** `name`, if it can be that of a file or folder. Throws `UserError` otherwise. */
export function checkName(name: string): string {
  const problem = nameProblem(name);
  if (problem !== undefined)
    throw new UserError(`The name ${show(name)} ${NAME_PROBLEMS[problem]}; choose another.`);
  return name;
}
