/** Processes of the extension's engine, found by the bundle that they run. Linux. */
import { readdir, readFile } from 'node:fs/promises';

/** Ids of the processes that run `<extension>/dist/<bundle>.js`. */
export async function processesOf(extension: string, bundle: string): Promise<number[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    ids.map(async (id) => {
      // A process may end while its line is read.
      const line = await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '');
      return line.split('\0').some((word) => word.startsWith(extension) && word.endsWith(`/${bundle}.js`));
    }),
  );
  return ids.filter((_, i) => found[i]).map(Number);
}
