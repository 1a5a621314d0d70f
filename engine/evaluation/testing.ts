import type { RunnableModel } from '../execution/model.js';
import type { Programs } from '../runtime/programs.js';

/** log p of every token of a text but the first, given those before it, in float64 from the model's logits. */
export async function logProbabilities(
  { runtime }: Programs,
  model: RunnableModel,
  text: readonly number[],
  vocabulary: number,
): Promise<number[]> {
  const read = text.slice(0, -1);
  const logits = await model.run(runtime.tensor(BigInt64Array.from(read, BigInt), [1, read.length]), 1);
  return text.slice(1).map((token, at) => {
    const row = Array.from(logits.subarray(at * vocabulary, (at + 1) * vocabulary));
    return row[token]! - Math.log(row.reduce((total, x) => total + Math.exp(x), 0));
  });
}
