/**
 * One reader, one input after another, in a process of its own: the number of the input in work stands in a file, so that whoever
 * started it knows which one it was that crashed or never ended. Ends with code 1 and a line of JSON for a fault.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { createRandom } from '../../engine/data/random.js';
import { CancelledError, UserError } from '../../engine/errors.js';
import { targets } from './targets.js';

/** What a reader may take beside what its process had before. */
const MAX_BYTES = 256e6;

export const TOO_MUCH = 'more than 256 MB';

export interface Work {
  readonly name: string;
  readonly seed: number;
  /** Inputs from this one on. */
  readonly first: number;
  readonly count: number;
  readonly seconds: number;
  /** Of temporary files. */
  readonly folder: string;
  /** File of the number of the input in work. */
  readonly place: string;
}

export async function runOne({ name, seed, first, count, seconds, folder, place }: Work): Promise<void> {
  const { open } = targets.find((target) => target.name === name)!;
  const read = await open(folder);
  const file = openSync(place, 'w');
  const peak = () => process.resourceUsage().maxRSS * 1024;
  let at = first;
  let before = 0;
  const report = (fault?: { readonly kind: string; readonly detail: string }) => {
    process.stdout.write(`${JSON.stringify({ next: at + (fault ? 1 : 0), peak: peak() - before, fault })}\n`);
    closeSync(file);
    process.exit(fault ? 1 : 0);
  };
  const isMeant = (error: unknown) => error instanceof UserError || error instanceof CancelledError;
  const failed = (kind: string) => (error: unknown) =>
    report({ kind, detail: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  process.on('uncaughtException', failed('unhandled error'));
  process.on('unhandledRejection', failed('unhandled rejection'));
  // What any input loads and compiles.
  for (let i = 0; i < 20; i++)
    await (async () => read(createRandom(0, 'warm', name, i)))().catch(() => undefined);
  before = peak();
  const end = performance.now() + 1000 * seconds;
  for (; at < first + count && performance.now() < end; at++) {
    writeSync(file, `${at}`.padEnd(20), 0);
    try {
      await read(createRandom(seed, name, at));
    } catch (error) {
      if (!isMeant(error)) failed('an error that is not for people')(error);
    }
    if (peak() - before > MAX_BYTES) report({ kind: TOO_MUCH, detail: `${peak() - before} bytes` });
  }
  report();
}
