/** The worker thread's entry: does one piece of work and reports to the thread that asked for it. */
import { parentPort, workerData } from 'node:worker_threads';
import { listModels } from '../catalog/models.js';
import { CancelledError } from '../errors.js';
import type { JobKind } from '../protocol/protocol.js';
import { listDevices } from '../runtime/devices.js';
import { keepBest } from '../runtime/known-rates.js';
import { isKind, kindOf } from './kinds/registry.js';
import type { Forecast, JobHooks, Jobs, WorkKind } from './requests.js';
import { failureOf, type FromWorker, type ToWorker } from './run.js';
import { runComparePlans } from './runs/compare-plans.js';
import { runEstimate } from './runs/estimate.js';
import { runEstimateAll } from './runs/estimate-all.js';
import { runImportGguf } from './runs/import-gguf.js';
import { listExports } from './runs/list-exports.js';
import { sizeExports } from './runs/size-exports.js';

type Run<K extends WorkKind> = (
  request: Jobs[K]['request'],
  hooks: JobHooks<K>,
) => Promise<Jobs[K]['result']>;

/** Work beside the kinds of jobs. */
const answers: { readonly [K in Exclude<WorkKind, JobKind>]: Run<K> } = {
  // Alone in needing what speaks to hubs.
  look: async (request, hooks) => (await import('./runs/look.js')).runLook(request, hooks),
  models: ({ folders }, { signal }) => listModels(folders, signal),
  estimate: (request) => runEstimate(request),
  'estimate-all': (request, hooks) => runEstimateAll(request, hooks),
  'compare-plans': (request, hooks) => runComparePlans(request, hooks),
  'list-exports': (request, hooks) => listExports(request, undefined, hooks.signal),
  'size-exports': (request) => sizeExports(request),
  'import-gguf': (request, hooks) => runImportGguf(request, hooks),
  devices: async (_, { signal }) => {
    const found = await listDevices(undefined, signal);
    await keepBest(found);
    return found;
  },
};

const port = parentPort!;
const post = (message: FromWorker) => port.postMessage(message);
const stop = new AbortController();
let begin: () => void = () => undefined;
port.on('message', (message: ToWorker) => {
  if (message === 'cancel') stop.abort();
  else begin();
});

const { kind, request, announces } = workerData as { kind: WorkKind; request: never; announces: boolean };
/** Resolves once the work may begin. */
const announce = (forecast: Forecast) =>
  new Promise<void>((resolve, reject) => {
    begin = resolve;
    stop.signal.addEventListener('abort', () => reject(new CancelledError()));
    post({ type: 'forecast', forecast });
  });
try {
  const hooks: JobHooks<WorkKind> = {
    signal: stop.signal,
    status: (status) => post({ type: 'status', status }),
    note: (line) => post({ type: 'note', line }),
    ...(announces && { announce }),
  };
  const result = isKind(kind)
    ? await kindOf(kind).run(request, hooks)
    : await (answers[kind] as Run<WorkKind>)(request, hooks);
  post({ type: 'result', result });
} catch (error) {
  post(failureOf(error));
} finally {
  port.close();
}
