/** The entry of a session's process: opens the model, then answers one request after another. */
import { cpus } from 'node:os';
import { CancelledError } from '../errors.js';
import { failureOf } from '../jobs/run.js';
import { chooseDevice } from '../runtime/devices.js';
import { openPrograms } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import { openElasticSession, type ElasticSession } from './elastic-session.js';
import type { FromSession, SessionWork, ToSession } from './process.js';

const send = (message: FromSession) => void process.send!(message);
const running = new Map<number, AbortController>();
let opened: ElasticSession | undefined;
let turn: Promise<unknown> = Promise.resolve();

process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.on('message', (message: ToSession) => {
  if ('cancel' in message) {
    running.get(message.cancel)?.abort();
    return;
  }
  const { id } = message;
  const stop = new AbortController();
  running.set(id, stop);
  // A switch in the middle of a measurement would mix two plans.
  turn = turn.then(async () => {
    const started = performance.now();
    try {
      if (stop.signal.aborted) throw new CancelledError();
      const result = await work(message, stop.signal);
      send({ id, type: 'result', result, seconds: (performance.now() - started) / 1000 });
    } catch (error) {
      send({ id, ...failureOf(stop.signal.aborted ? new CancelledError() : error) });
    } finally {
      running.delete(id);
    }
  });
});

async function work(message: SessionWork & { readonly id: number }, signal: AbortSignal): Promise<unknown> {
  if (message.kind === 'open') {
    const device = await chooseDevice(message.device ?? 'auto');
    const runtime = openRuntime(device, device === 'cpu' ? 0 : Math.max(1, cpus().length >> 1));
    opened = await openElasticSession(openPrograms(runtime), message.model, message.adapters);
    return { warnings: opened.warnings };
  }
  const session = opened!;
  switch (message.kind) {
    case 'use':
      return { changed: await session.use(message.bits) };
    case 'predict': {
      const heard = (of: 'plan' | 'full', text: string) => send({ id: message.id, type: 'text', of, text });
      const answers = await session.predict(message.input, signal, heard);
      return { ...answers, memory: process.memoryUsage.rss() };
    }
    case 'evaluate': {
      const status = (done: number) =>
        send({ id: message.id, type: 'progress', done: Math.round(done * STEPS), total: STEPS });
      const { plan, full } = await session.evaluate(message.data, message.limit, { signal, status });
      return { row: plan, full };
    }
  }
}

/** Of a measurement, as its progress is told. */
const STEPS = 1000;
