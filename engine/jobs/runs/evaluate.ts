/** The evaluate job: full precision, baselines and adapter sets on one evaluation set. */
import { holdsElastic } from '../../formats/weights.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { planBaselines } from '../../evaluation/baselines.js';
import { closeAdapterSets, openAdapterSets, widthsOf, type NamedSet } from '../../evaluation/sets.js';
import type { Evaluated, EvaluationJobHooks, Measured } from '../../evaluation/evaluate.js';
import { closeExports, openExports, type NamedExport } from '../../evaluation/exported.js';
import { taskOf } from '../../tasks/registry.js';
import type { Task } from '../../tasks/task.js';
import { announced } from '../announce.js';
import { evaluationAmounts } from '../forecasts/others.js';
import { peakMemory } from '../memory.js';
import { namedSkipped } from '../skipped.js';
import { evaluationPath, keepingPlace, saveEvaluation } from '../evaluations.js';
import type { JobHooks } from '../requests.js';
import type { EvaluateRequest, EvaluateResult, EvaluationRow } from '../../protocol/protocol.js';

/** Keeps the result where the request asks for it. */
export async function runEvaluate(
  asked: EvaluateRequest,
  job: JobHooks<'evaluate'>,
): Promise<EvaluateResult> {
  const request = await withOwnSet(asked);
  const hooks: Asked = {
    ...(job.announce && { announce: (forecast) => job.announce!(forecast) }),
    signal: job.signal,
    note: (line) => job.note(line),
    status: (done, rows) => job.status({ done, phase: phaseOf(rows), partial: { rows } }),
  };
  const saved = evaluationPath(request);
  if (saved === undefined) return evaluate(request, hooks);
  return keepingPlace(saved, async () => {
    const result = await evaluate(request, hooks);
    await saveEvaluation(saved, request, result);
    return { ...result, saved };
  });
}

type Asked = EvaluationJobHooks & Pick<JobHooks<'evaluate'>, 'announce'>;

/** An elastic file is evaluated with the set that it is, where no other is named. */
async function withOwnSet(request: EvaluateRequest): Promise<EvaluateRequest> {
  const { model, adapters = [] } = request;
  return adapters.length === 0 && (await holdsElastic(model)) ? { ...request, adapters: [model] } : request;
}

const phaseOf = (rows: readonly EvaluationRow[]): string =>
  rows.length === 0
    ? 'before the first scores'
    : `${rows.length} ${rows.length === 1 ? 'row' : 'rows'} of scores`;

async function evaluate(request: EvaluateRequest, hooks: Asked): Promise<EvaluateResult> {
  const started = performance.now();
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  try {
    checkpoint.warnings.forEach(hooks.note);
    const task = taskOf(checkpoint, request);
    const sets = await openAdapterSets(checkpoint, request);
    const { announce } = hooks;
    const begin = (evaluated: Evaluated) =>
      announced(
        { ...request, device: evaluated.device },
        { signal: hooks.signal, ...(announce && { announce }) },
        () => evaluationAmounts(checkpoint, evaluated, request.cacheMemory),
      );
    const asked = {
      ...hooks,
      begin: async (evaluated: Evaluated) => {
        await begin(evaluated);
        hooks.status(0, []);
      },
    };
    const measured = await withExports(request, checkpoint, sets, (exports) =>
      evaluateSets(request, task, checkpoint, sets, exports, asked),
    ).finally(() => closeAdapterSets(sets));
    const seconds = (performance.now() - started) / 1000;
    return { ...measured, ...namedSkipped(measured.skipped), seconds, peakMemory: peakMemory() };
  } finally {
    await checkpoint.close();
  }
}

/** Opens files that are to be verified for `use`. */
async function withExports<T>(
  { exports: files = [], threads }: EvaluateRequest,
  checkpoint: Checkpoint,
  sets: readonly NamedSet[],
  use: (exports: readonly NamedExport[]) => Promise<T>,
): Promise<T> {
  const exports = await openExports(checkpoint, files, sets, threads);
  return use(exports).finally(() => closeExports(exports));
}

async function evaluateSets(
  request: EvaluateRequest,
  task: Task,
  checkpoint: Checkpoint,
  sets: readonly NamedSet[],
  exports: readonly NamedExport[],
  hooks: EvaluationJobHooks,
): Promise<Measured> {
  const widths = widthsOf(request, sets);
  const baselines = planBaselines(task, checkpoint, request, sets, widths);
  return task
    .evaluate({ request, checkpoint, sets, widths, baselines, exports, hooks })
    .finally(() => baselines.close());
}
