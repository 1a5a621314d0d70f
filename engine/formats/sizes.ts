/** How much lies on disk. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes of a file, or of all files of a folder. */
export async function bytesAt(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  const sizes = await Promise.all((await readdir(path)).map((name) => bytesAt(join(path, name))));
  return sizes.reduce((a, b) => a + b, 0);
}
