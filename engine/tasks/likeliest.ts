import { UserError } from '../errors.js';

/** Likeliest classes or tokens that are told. */
const SHOWN = 5;

/** The most probable of the softmax of logits, in float64. Throws UserError for logits that are not finite numbers. */
export function likeliest(logits: Float32Array): { readonly index: number; readonly probability: number }[] {
  if (!logits.every(Number.isFinite))
    throw new UserError('The model yields numbers that are not finite; nothing can be told from them.');
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = logits.reduce((sum, x) => sum + Math.exp(x - largest), 0);
  const top: number[] = [];
  for (const [i, x] of logits.entries()) {
    if (top.length === SHOWN && x <= logits[top.at(-1)!]!) continue;
    const at = top.findIndex((j) => logits[j]! < x);
    top.splice(at < 0 ? top.length : at, 0, i);
    if (top.length > SHOWN) top.pop();
  }
  return top.map((index) => ({ index, probability: Math.exp(logits[index]! - largest) / total }));
}
