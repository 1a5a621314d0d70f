/** The worker thread's entry: runs one job and reports to the thread that asked for it. */
import { parentPort, workerData } from 'node:worker_threads';
import { CancelledError, UserError } from '../errors.js';
import { listDevices } from '../runtime/devices.js';
import { runCalibrate } from './calibrate.js';
import { runEvaluate } from './evaluate.js';
import { listModels } from './models.js';
import type { JobHooks, JobKind, Jobs } from './requests.js';
import type { FromWorker, ToWorker } from './run.js';

const runners: {
  [K in JobKind]: (request: Jobs[K]['request'], hooks: JobHooks<K>) => Promise<Jobs[K]['result']>;
} = {
  models: listModels,
  calibrate: runCalibrate,
  evaluate: runEvaluate,
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
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const reason =
    error instanceof CancelledError ? 'cancelled' : error instanceof UserError ? 'user' : 'defect';
  post({ type: 'error', reason, message, stack });
} finally {
  port.close();
}
