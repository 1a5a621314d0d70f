/** What a result keeps of samples that could not be read. */
import type { Skipped, SkippedSamples } from '../protocol/protocol.js';

/** Records and files of results have a limit, which any number of names would pass. */
const NAMED = 100;
const LENGTH = 500;

/** The first of them by name, all of them by number. */
export function namedSkipped(all: readonly Skipped[]): SkippedSamples {
  const cut = (text: string) => (text.length > LENGTH ? `${text.slice(0, LENGTH)}…` : text);
  const skipped = all.slice(0, NAMED).map(({ name, reason }) => ({ name: cut(name), reason: cut(reason) }));
  return { skipped, ...(all.length > NAMED && { skippedCount: all.length }) };
}
