/** Models in llama.cpp, as npm's node-llama-cpp runs it. */
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { PEERS_PYTHON: python } = process.env;

interface LlamaSequence {
  controlledEvaluate(
    tokens: readonly (readonly [number, object])[],
  ): Promise<readonly { readonly next: { readonly probabilities: ReadonlyMap<number, number> } }[]>;
  clearHistory(): Promise<void>;
}
interface Llama {
  loadModel(options: object): Promise<{
    createContext(options: object): Promise<{ getSequence(): LlamaSequence }>;
    tokenize(text: string, special: boolean): readonly number[];
    dispose(): Promise<void>;
  }>;
}

type Evaluate = (ids: readonly number[]) => Promise<Float64Array[]>;

/** A model in llama.cpp. `use` is given what makes of a text the probabilities of the token behind each of its tokens. */
export async function withLlama<T>(
  file: string,
  use: (evaluate: Evaluate, tokenize: (text: string) => readonly number[]) => Promise<T>,
): Promise<T> {
  const library = join(dirname(python!), '../node/node_modules/node-llama-cpp/dist/index.js');
  const { getLlama } = (await import(pathToFileURL(library).href)) as {
    getLlama: (options: object) => Promise<Llama>;
  };
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: 1 });
  const model = await llama.loadModel({ modelPath: file });
  const sequence = (await model.createContext({ contextSize: 128, threads: 1 })).getSequence();
  const evaluate: Evaluate = async (ids) => {
    await sequence.clearHistory();
    const asked = { generateNext: { probabilities: true } };
    const outputs = await sequence.controlledEvaluate(ids.map((id) => [id, asked]));
    return outputs.map(({ next }) => {
      const row = new Float64Array(next.probabilities.size);
      for (const [token, probability] of next.probabilities) row[token] = probability;
      return row;
    });
  };
  try {
    return await use(evaluate, (text) => [...model.tokenize(text, true)]);
  } finally {
    await model.dispose();
  }
}
