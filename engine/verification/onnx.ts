/** Exported ONNX files in ONNX Runtime, fed as transformers.js feeds them. */
import { openWrittenFile, type FileInput } from '../runtime/written-file.js';
import type { ForeignFile, Loaded } from './process.js';

const LOGITS = 'logits';

export async function openOnnx({
  path,
  caches = {},
  threads = 0,
}: Omit<ForeignFile, 'kind'>): Promise<Loaded> {
  const file = await openWrittenFile(path, threads);
  const before = Object.fromEntries(
    Object.entries(caches).map(([name, shape]) => [name, { data: new Float32Array(0), shape }]),
  );
  let logits = new Float32Array(0);
  let tokens = 1;
  return {
    text: async (ids) => {
      tokens = ids.length;
      const of = (value: (i: number) => number): FileInput => ({
        data: BigInt64Array.from(ids, (_, i) => BigInt(value(i))),
        shape: [1, tokens],
      });
      const inputs = {
        input_ids: of((i) => ids[i]!),
        attention_mask: of(() => 1),
        position_ids: of((i) => i),
      };
      logits = new Float32Array(await file.run({ ...inputs, ...before }, LOGITS));
    },
    logits: (from, to) => {
      const vocabulary = logits.length / tokens;
      return Promise.resolve(logits.slice(from * vocabulary, to * vocabulary));
    },
    pictures: (pixels, shape) => file.run({ pixel_values: { data: pixels, shape } }, LOGITS),
  };
}
