/** The entry of the thread that reads people's files. */
import { parentPort } from 'node:worker_threads';
import { failureOf } from '../jobs/run.js';
import type { FromReader, ToReader } from './reader.js';
import { createReadings, type ReadingHooks } from './readings.js';

const port = parentPort!;
const post = (message: FromReader) => port.postMessage(message);
const readings = createReadings();
const open = new Map<number, AbortController>();

port.on('message', (message: ToReader) => {
  if ('cancel' in message) open.get(message.cancel)?.abort();
  else void answer(message);
});

async function answer({ id, reading, params }: Exclude<ToReader, { cancel: number }>): Promise<void> {
  const stop = new AbortController();
  open.set(id, stop);
  const hooks: ReadingHooks = {
    signal: stop.signal,
    found: (model) => post({ id, type: 'found', model }),
    info: (line) => post({ id, type: 'info', line }),
  };
  try {
    const read = readings[reading] as (params: unknown, hooks: ReadingHooks) => Promise<unknown>;
    post({ id, type: 'result', result: await read(params, hooks) });
  } catch (error) {
    post({ id, type: 'failure', failure: failureOf(error) });
  } finally {
    open.delete(id);
  }
}
