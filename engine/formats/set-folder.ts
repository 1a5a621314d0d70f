/** What of a folder belongs to the adapter set in it (docs/FORMATS.md), and how that alone is deleted. */
import { readdir, realpath, rm, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { UserError } from '../errors.js';
import { removeStaleTemporaries, TEMPORARY } from './atomic.js';
import { readJsonFile } from './json.js';
import { fileError, isLink, isThere } from './paths.js';
import { SENSITIVITY_FILE } from './sensitivity.js';
import { CONFIG_FILE, TENSORS_FILE } from './set.js';
import type { DeletedSet, SetContents } from '../protocol/protocol.js';

/** Evaluations of the set lie in this folder of it, and in a model's those of the model. */
export const EVALUATIONS_FOLDER = 'evaluations';
/** Evaluations of the largest models are far smaller. */
export const MAX_EVALUATION_BYTES = 4 << 20;

const PLAIN = new Set([CONFIG_FILE, TENSORS_FILE, SENSITIVITY_FILE, `${SENSITIVITY_FILE}.partial`]);
/** What writing one of these files leaves where it is killed (`atomic.ts`, `locks/claims.ts`). */
const LEFT = /^\.(.+)\.(?:\d+-[0-9a-f]{8}\.partial|lock\.\d+)$/;

const isOfSet = (name: string): boolean => PLAIN.has(name) || PLAIN.has(LEFT.exec(name)?.[1] ?? '');
const isEvaluation = (name: string): boolean =>
  name.startsWith('.') ? /\.json$/.test(LEFT.exec(name)?.[1] ?? '') : name.endsWith('.json');

/**
 * The files come with the config last: until it is gone, the set is shown and can be deleted again. Throws UserError where the
 * folder cannot be read. One that is not there holds nothing.
 */
export async function setContents(folder: string): Promise<SetContents> {
  const files: string[] = [];
  const others: string[] = [];
  for (const entry of await entriesOf(folder)) {
    const { name } = entry;
    if (entry.isDirectory() && name === EVALUATIONS_FOLDER) {
      const inside = await evaluationsIn(folder);
      files.unshift(...inside.files);
      others.push(...inside.others);
    } else if (!entry.isDirectory() && isOfSet(name)) files.push(name);
    else others.push(name);
  }
  const last = (name: string) => [TENSORS_FILE, CONFIG_FILE].indexOf(name);
  return { files: files.sort((a, b) => last(a) - last(b)), others };
}

async function evaluationsIn(folder: string): Promise<SetContents> {
  const files: string[] = [];
  const others: string[] = [];
  for (const entry of await entriesOf(join(folder, EVALUATIONS_FOLDER))) {
    const name = join(EVALUATIONS_FOLDER, entry.name);
    const isOwn = !entry.isDirectory() && isEvaluation(entry.name) && !(await isOfModel(join(folder, name)));
    (isOwn ? files : others).push(name);
  }
  return { files, others };
}

/** An evaluation without adapter sets, which lies in a model's folder. */
async function isOfModel(path: string): Promise<boolean> {
  const value = await readJsonFile(path, { maxBytes: MAX_EVALUATION_BYTES }).catch(() => undefined);
  const adapters = (value as { readonly adapters?: unknown } | undefined)?.adapters;
  return Array.isArray(adapters) && adapters.length === 0;
}

const entriesOf = (folder: string) =>
  readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw fileError(error, 'read', folder);
  });

/**
 * Deletes the files of the adapter set in `folder`, and then the folder if it is empty. Everything else stays where it is.
 * Throws UserError where there is no set, and where a file cannot be deleted.
 */
export async function deleteSet(folder: string): Promise<DeletedSet> {
  const root = await realpath(folder).catch((error: unknown) => {
    throw fileError(error, 'read', folder);
  });
  for (const each of [root, join(root, EVALUATIONS_FOLDER)]) await removeStaleTemporaries(each);
  const { files, others } = await setContents(root);
  if (!files.includes(CONFIG_FILE)) throw new UserError(`${folder} holds no adapter set.`);
  // What is left of them belongs to live processes.
  const deleted = files.filter((name) => !TEMPORARY.test(basename(name)));
  for (const name of deleted)
    await rm(join(root, name), { force: true }).catch((error: unknown) => {
      throw fileError(error, 'write', join(folder, name));
    });
  await rmdir(join(root, EVALUATIONS_FOLDER)).catch(() => undefined);
  await rmdir(root).catch(() => undefined);
  const isLeft = await isThere(root);
  if (!isLeft && (await isLink(folder))) await rm(folder, { force: true });
  return { deleted, kept: isLeft ? others : [] };
}
