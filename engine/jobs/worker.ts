/** The worker thread's entry: runs one job and reports to the thread that asked for it. */
import { parentPort, workerData } from 'node:worker_threads';
import { listModels } from '../catalog/models.js';
import { listDevices } from '../runtime/devices.js';
import { runCalibrate } from './runs/calibrate.js';
import { runEstimate } from './runs/estimate.js';
import type { JobHooks, JobKind, Jobs } from './requests.js';
import { failureOf, type FromWorker, type ToWorker } from './run.js';
import { runSensitivity } from './runs/sensitivity.js';
import { runSavedEvaluate } from './saved-evaluate.js';

const runners: {
  [K in JobKind]: (request: Jobs[K]['request'], hooks: JobHooks<K>) => Promise<Jobs[K]['result']>;
} = {
  models: ({ folders }, { signal }) => listModels(folders, signal),
  calibrate: runCalibrate,
  evaluate: runSavedEvaluate,
  sensitivity: runSensitivity,
  estimate: (request) => runEstimate(request),
  devices: () => listDevices(),
};

const port = parentPort!;
const post = (message: FromWorker) => port.postMessage(message);
const stop = new AbortController();
port.on('message', (message: ToWorker) => {
  if (message === 'cancel') stop.abort();
});

const { kind, request } = workerData as { kind: JobKind; request: never };
try {
  const run = runners[kind] as (request: never, hooks: JobHooks<JobKind>) => Promise<unknown>;
  const result = await run(request, {
    signal: stop.signal,
    status: (status) => post({ type: 'status', status }),
    note: (line) => post({ type: 'note', line }),
  });
  post({ type: 'result', result });
} catch (error) {
  post(failureOf(error));
} finally {
  port.close();
}
