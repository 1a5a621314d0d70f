/** GGUF files in llama.cpp, as node-llama-cpp runs it. The package is no part of this one: whoever wants it installs it. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ForeignFile, Loaded } from './process.js';

/** What is used of the package. */
interface Library {
  getLlama(
    this: void,
    options: object,
  ): Promise<{
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): Sequence }>;
    }>;
  }>;
}
interface Sequence {
  controlledEvaluate(
    tokens: readonly (readonly [number, object])[],
  ): Promise<readonly { readonly next: { readonly probabilities: ReadonlyMap<number, number> } }[]>;
  clearHistory(): Promise<void>;
}

/** Of float32, where a probability is too small to be told from 0. */
const LEAST = 1.4e-45;

/** @param library the package's folder */
export async function openLlama({
  path,
  tokens = 2048,
  threads,
  library,
}: Omit<ForeignFile, 'kind'>): Promise<Loaded> {
  const entry = pathToFileURL(join(library!, 'dist', 'index.js')).href;
  const { getLlama } = (await import(entry)) as Library;
  const llama = await getLlama({
    ...{ gpu: false, build: 'never', logLevel: 'error', skipDownload: true, progressLogs: false },
    ...(threads !== undefined && { maxThreads: threads }),
  });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({
    contextSize: tokens,
    ...(threads !== undefined && { threads }),
  });
  const sequence = context.getSequence();
  let text = new Int32Array(0);
  return {
    text: async (ids) => {
      text = new Int32Array(ids);
      await sequence.clearHistory();
    },
    logits: async (from, to) => {
      const asked = { generateNext: { probabilities: true } };
      const read = [...text.subarray(from, to)].map((id) => [id, asked] as const);
      const outputs = await sequence.controlledEvaluate(read);
      const size = outputs[0]!.next.probabilities.size;
      const logits = new Float32Array(outputs.length * size);
      for (const [row, { next }] of outputs.entries())
        for (const [token, probability] of next.probabilities)
          logits[row * size + token] = Math.log(Math.max(probability, LEAST));
      return logits;
    },
    pictures: () => Promise.reject(new Error('llama.cpp does not classify pictures.')),
  };
}
