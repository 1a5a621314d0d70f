/** What an evaluation compares with, calibrated before it, and the progress of both. */
import { defaultCacheMemory } from '../execution/sample-store.js';
import type { Programs } from '../runtime/programs.js';
import type { Evaluation } from './evaluate.js';
import type { EvaluationHooks } from './rows.js';
import type { NamedSet } from './sets.js';

export interface Compared {
  /** Baselines, then the sets that were given. */
  readonly sets: readonly NamedSet[];
  readonly memory: number;
  /** Report the evaluation's own share of the progress. */
  readonly hooks: EvaluationHooks;
}

/**
 * Calibrates the baselines of an evaluation.
 * @param size of the evaluation set and @param sample of a sample of it, in one unit: every row reads the set once
 */
export async function openCompared(
  programs: Programs,
  { request, sets, widths, baselines, exports, hooks }: Evaluation,
  size: number,
  sample: number,
): Promise<Compared> {
  const { signal, status, note } = hooks;
  const own = sets.map(
    ({ set, plans }) => widths.filter((bits) => set.config.offered.includes(bits)).length + plans.length,
  );
  const compared = baselines.planned.reduce((sum, { settings }) => sum + settings.offered.length, 0);
  await hooks.begin?.({
    samples: size / sample,
    rows: 1 + own.reduce((sum, n) => sum + n, compared) + exports.length,
    sets: sets.length + baselines.planned.length,
    device: programs.runtime.device,
    baselines: baselines.planned,
  });
  const memory = request.cacheMemory ?? defaultCacheMemory();
  const work = baselines.work * sample;
  const share = work / (work + size * (1 + widths.length * (1 + sets.length)));
  const opened = await baselines.open(programs, memory, {
    signal,
    note,
    status: (done) => status(done * share, []),
  });
  return {
    sets: [...opened, ...sets],
    memory,
    hooks: { signal, status: (done, rows) => status(share + (1 - share) * done, rows) },
  };
}
