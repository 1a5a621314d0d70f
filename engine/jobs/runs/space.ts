/** Throws UserError where a drive has too little left for what is about to be written. */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { UserError } from '../../errors.js';
import { formatBytes, formatBytesUp } from '../../plans/numbers.js';

/** @param bytes that `out` will take */
export async function requireSpace(out: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(out));
  const free = bavail * bsize;
  if (bytes > free)
    throw new UserError(
      `${out} would take ${formatBytesUp(bytes, 'en')}, and its drive has ${formatBytes(free, 'en')} left; free some, or choose another.`,
    );
}
