/** KL(softmax(p) ‖ softmax(q)) in nats, from logits. */
export function klDivergence(p: Float32Array, q: Float32Array): number {
  const [logP, logQ] = [logSoftmax(p), logSoftmax(q)];
  return logP.reduce((sum, x, i) => {
    const share = Math.exp(x);
    // A class of probability 0 adds nothing, however unlikely the other finds it.
    return share === 0 ? sum : sum + share * (x - logQ[i]!);
  }, 0);
}

function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - largest), 0));
  return Float64Array.from(logits, (x) => x - largest - total);
}
