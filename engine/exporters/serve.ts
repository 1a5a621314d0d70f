/** Command lines that run what exports write, for a shell as POSIX has it. */
import { basename, dirname } from 'node:path';
import { shellWord } from '../formats/shell.js';
import type { ExportContext } from './exporter.js';

const isText = ({ original }: ExportContext) => original.model.reads === 'tokens';

/** A checkpoint folder in vLLM, or of a picture classifier in transformers. */
export const serveCheckpoint = (context: ExportContext, out: string): string =>
  isText(context)
    ? `vllm serve ${shellWord(out)}`
    : `python -c ${shellWord(CLASSIFY)} ${shellWord(out)} PICTURE`;

const CLASSIFY =
  "import sys; from transformers import pipeline; print(pipeline('image-classification', sys.argv[1])(sys.argv[2]))";

export const serveGguf = (_context: ExportContext, out: string): string =>
  `llama-server --model ${shellWord(out)}`;

/** In this engine, which opens it in place of model and set. */
export const serveElastic = (_context: ExportContext, out: string): string =>
  `elastic-precision evaluate ${shellWord(out)} --data DATA`;

/** In transformers.js, which looks for models in one folder. @param dtype its name of the file */
export function serveOnnx(context: ExportContext, out: string, dtype: string): string {
  const [task, input] = isText(context) ? ['text-generation', 'TEXT'] : ['image-classification', 'PICTURE'];
  const script = `import { env, pipeline } from '@huggingface/transformers'; const [folder, name, input] = process.argv.slice(1); env.localModelPath = folder; env.allowRemoteModels = false; const run = await pipeline('${task}', name, { dtype: '${dtype}' }); console.log(await run(input))`;
  const words = [script, dirname(out), basename(out)].map(shellWord);
  return `node --input-type=module --eval ${words.join(' ')} ${input}`;
}
