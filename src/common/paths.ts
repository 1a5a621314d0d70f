import { isAbsolute, relative } from 'node:path';

/** Whether `path` is `folder` or lies in it. */
export function contains(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return !isAbsolute(way) && way !== '..' && !/^\.\.[/\\]/.test(way);
}
