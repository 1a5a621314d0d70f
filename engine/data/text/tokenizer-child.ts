/**
 * The entry of a tokenizer's process: opens one, then answers one request after another. A second thread ends the
 * process where its memory passes the limit that the request allows, since nothing else can stop the library.
 */
import { writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { messageOf, UserError } from '../../errors.js';
import type { LoadedTokenizer } from './tokenizer-library.js';
import { OUT_OF_MEMORY, type FromTokenizer, type ToTokenizer } from './tokenizer-process.js';

const WATCH_MILLISECONDS = 50;

const end = () => process.kill(process.pid, 'SIGKILL');

if (isMainThread) serve();
else watch(workerData as Float64Array);

function serve(): void {
  const limit = new Float64Array(new SharedArrayBuffer(8));
  limit[0] = Infinity;
  new Worker(new URL(import.meta.url), { workerData: limit });
  // What stops a job in a terminal reaches all its processes; the one that asked ends this one.
  process.on('SIGINT', () => undefined);
  process.on('disconnect', end);
  let opened: LoadedTokenizer | undefined;
  let turn = Promise.resolve();
  process.on('message', (message: ToTokenizer) => {
    turn = turn.then(async () => {
      limit[0] = message.memory;
      const answer = await work(message).catch((error: unknown): FromTokenizer => ({
        error: messageOf(error),
        isDefect: !(error instanceof UserError),
      }));
      process.send!(answer);
    });
  });

  async function work(message: ToTokenizer): Promise<FromTokenizer> {
    switch (message.kind) {
      case 'open': {
        const { loadTokenizer } = await import('./tokenizer-library.js');
        opened = await loadTokenizer(message.files);
        return { result: opened.facts };
      }
      case 'encode':
        return { result: await opened!.encode(message.texts, message.special) };
      case 'decode':
        return { result: await opened!.decode(message.ids) };
    }
  }
}

function watch(limit: Float64Array): void {
  setInterval(() => {
    if (process.memoryUsage.rss() <= limit[0]!) return;
    writeSync(2, OUT_OF_MEMORY);
    end();
  }, WATCH_MILLISECONDS);
}
