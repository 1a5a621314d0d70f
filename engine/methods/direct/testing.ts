/** Shared by tests: calibrations of tiny models by the direct method. */
import { expect } from 'vitest';
import { meanDivergence } from '../../execution/logit-divergence.js';
import { openSampleCache, type ModelInputs } from '../../execution/sample-store.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { Mode } from '../../protocol/protocol.js';
import type { Programs } from '../../runtime/programs.js';
import { calibrate } from '../calibrate.js';
import { resolveRequest } from '../request.js';

export interface Asked {
  readonly bits: readonly number[];
  readonly mode?: Mode;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly resume?: boolean;
}

/**
 * Calibrates, and stops at the first status for which `stop` holds.
 * @returns what was done at every status
 */
export async function calibrateDirect(
  programs: Programs,
  checkpoint: Checkpoint,
  inputs: ModelInputs,
  out: string,
  { bits, mode, options = {}, resume = false }: Asked,
  stop: (phase: string, done: number) => boolean = () => false,
): Promise<number[]> {
  const request = {
    ...{ model: checkpoint.folder, method: 'direct', bits, options },
    ...(mode && { mode }),
  };
  const stopped = new AbortController();
  const seen: number[] = [];
  await calibrate(
    programs,
    {
      ...{ checkpoint, ...resolveRequest(checkpoint, request), out, resume },
      set: { inputs, name: 'samples', fingerprint: '0'.repeat(64) },
      ...{ cache: await openSampleCache(Infinity), distance: meanDivergence, engineVersion: '0' },
    },
    {
      signal: stopped.signal,
      status: ({ done, phase }) => {
        seen.push(done);
        if (stop(phase, done)) stopped.abort();
      },
      note: (line) => expect.fail(line),
    },
  );
  return seen;
}
