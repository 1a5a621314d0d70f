import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The path of a bundled entry such as `worker.js`; undefined where the engine runs unbundled, as in unit tests. */
export function findEntry(name: string): string | undefined {
  // Beside this module, or beside the folder of the chunk that it was bundled into.
  return [`./${name}`, `../${name}`]
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find(existsSync);
}
