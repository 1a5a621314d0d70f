/** Walks folders for what the engine knows. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CancelledError, UserError } from '../errors.js';

/** Folders deeper than this below the one named are not looked at. */
const MAX_DEPTH = 6;
const PASSED_OVER = new Set(['node_modules', '.git', '.venv', '__pycache__']);

/**
 * The folders at and below `root` whose file names `accepts`, each before what lies in it, siblings in the order of
 * their names. Links to folders are not followed. Throws UserError where `root` is not a folder.
 */
export async function* walk(
  root: string,
  accepts: (names: readonly string[]) => boolean,
  signal: AbortSignal,
  depth = 0,
): AsyncGenerator<string> {
  if (depth === 0 && !(await stat(root).catch(() => undefined))?.isDirectory())
    throw new UserError(`${root} is not a folder.`);
  const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
  if (signal.aborted) throw new CancelledError();
  if (accepts(entries.filter((e) => !e.isDirectory()).map((e) => e.name))) yield root;
  if (depth === MAX_DEPTH) return;
  const folders = entries.filter((e) => e.isDirectory() && !PASSED_OVER.has(e.name)).map((e) => e.name);
  for (const name of folders.sort((a, b) => (a < b ? -1 : 1)))
    yield* walk(join(root, name), accepts, signal, depth + 1);
}
