/** The entry of the process that runs exported files: loads one in its runtime, then answers one request after another. */
import { messageOf } from '../errors.js';
import { openLlama } from './llama-cpp.js';
import { openOnnx } from './onnx.js';
import type { ForeignFile, ForeignWork, FromForeign, Loaded, ToForeign } from './process.js';

const send = (message: FromForeign) => void process.send!(message);
let opened: Loaded | undefined;
let turn: Promise<unknown> = Promise.resolve();

// Ctrl-C reaches all processes of a terminal; who asked for this one ends it.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.on('message', (message: ToForeign) => {
  const { id } = message;
  turn = turn.then(async () => {
    try {
      send({ id, result: await answer(message) });
    } catch (error) {
      send({ id, error: messageOf(error).split('\n')[0]! });
    }
  });
});

const load = ({ kind, ...file }: ForeignFile): Promise<Loaded> =>
  kind === 'onnx' ? openOnnx(file) : openLlama(file);

async function answer(work: ForeignWork): Promise<Float32Array | undefined> {
  switch (work.kind) {
    case 'open':
      opened = await load(work.file);
      return undefined;
    case 'text':
      await opened!.text(work.ids);
      return undefined;
    case 'logits':
      return opened!.logits(work.from, work.to);
    case 'pictures':
      return opened!.pictures(work.pixels, work.shape);
  }
}
