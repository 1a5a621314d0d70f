/** What is read of people's files for a client: models, adapter sets, evaluations, and what follows from them. Starts nothing. */
import { existsSync } from 'node:fs';
import { listAdapters } from '../catalog/adapters.js';
import { fingerprintCache } from '../catalog/fingerprints.js';
import { describeModel, listModels } from '../catalog/models.js';
import { listEvaluations, readEvaluation } from '../jobs/evaluations.js';
import { allocatePrecision, describePrecision } from '../jobs/precision.js';
import { reportMethods } from '../methods/report.js';
import type { ModelReport, ParamsOf, ResultOf } from '../protocol/protocol.js';

/** Requests that read files of any origin. */
export type Reading =
  | 'models/list'
  | 'models/describe'
  | 'adapters/list'
  | 'calibrate/methods'
  | 'precision/describe'
  | 'precision/allocate'
  | 'evaluations/list'
  | 'evaluations/read';

/** What hears of a reading before its end. */
export interface ReadingHooks {
  readonly signal: AbortSignal;
  readonly found: (model: ModelReport) => void;
  readonly info: (line: string) => void;
}

type Readings = {
  readonly [M in Reading]: (params: ParamsOf<M>, hooks: ReadingHooks) => Promise<ResultOf<M>>;
};

export function createReadings(): Readings {
  const fingerprintOf = fingerprintCache();
  /** Folders of a workspace come and go; one that is gone holds nothing. */
  const present = (folders: readonly string[], { info }: ReadingHooks) =>
    folders.filter((folder) => {
      if (existsSync(folder)) return true;
      info(`${folder} is not there and was not searched.`);
      return false;
    });
  return {
    'models/list': async ({ folders }, hooks) => ({
      models: await listModels(present(folders, hooks), hooks.signal, hooks.found),
    }),
    'models/describe': ({ path }) => describeModel(path),
    'adapters/list': async ({ folders, models }, hooks) => ({
      sets: await listAdapters(present(folders, hooks), models, fingerprintOf, hooks.signal),
    }),
    'calibrate/methods': async ({ path }) => ({ methods: await reportMethods(path) }),
    'precision/describe': (params) => describePrecision(params, fingerprintOf),
    'precision/allocate': (params) => allocatePrecision(params, fingerprintOf),
    'evaluations/list': async ({ folders }) => ({ evaluations: await listEvaluations(folders) }),
    'evaluations/read': ({ path }) => readEvaluation(path),
  };
}
