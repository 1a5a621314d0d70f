/**
 * The entry of a job's process. The job itself runs in a worker thread, so that this one can always answer: it passes
 * reports on, and ends the process at once when the one that asked for the job is gone.
 */
import type { ToJob } from './process.js';
import type { WorkKind } from './requests.js';
import { failureOf, runJob, type FromWorker } from './run.js';

const stop = new AbortController();
const send = (message: FromWorker) => void process.send!(message);

process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.on('message', (message: ToJob) => {
  if (message === 'cancel') stop.abort();
  else void run(message.kind, message.request as never);
});

async function run(kind: WorkKind, request: never): Promise<void> {
  const last = await runJob(kind, request, {
    signal: stop.signal,
    status: (status: unknown) => send({ type: 'status', status }),
    note: (line) => send({ type: 'note', line }),
  }).then((result): FromWorker => ({ type: 'result', result }), failureOf);
  // The channel keeps the process alive; it must not close before the result is through.
  process.removeAllListeners('disconnect').send!(last, () => process.disconnect());
}
