/** The activations of perceptrons, by the names that `hidden_act` has for them in transformers. */
import type { Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { ModelConfig } from './config.js';

/** Element by element. */
export type Activation = (x: Value) => Value;

export const silu: Activation = (x) => op.mul(x, op.sigmoid(x));

/** x·σ(1.702·x), GELU's approximation by a sigmoid (Hendrycks and Gimpel 2016). */
const quickGelu: Activation = (x) => op.mul(x, op.sigmoid(op.mul(x, x.graph.scalar(1.702))));

/** The other one of the same source, ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), with ½·(1 + tanh z) as σ(2·z). */
export const tanhGelu: Activation = (x) => {
  const slope = 2 * Math.sqrt(2 / Math.PI);
  const bent = op.mul(op.mul(x, x), x.graph.scalar(0.044715 * slope));
  return op.mul(x, op.sigmoid(op.mul(x, op.add(bent, x.graph.scalar(slope)))));
};

const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  silu,
  swish: silu,
  gelu: op.gelu,
  gelu_python: op.gelu,
  gelu_new: tanhGelu,
  gelu_fast: tanhGelu,
  gelu_accurate: tanhGelu,
  gelu_pytorch_tanh: tanhGelu,
  gelu_python_tanh: tanhGelu,
  quick_gelu: quickGelu,
  relu: op.relu,
};

/** What the key names, default `hidden_act`; `UserError` where it is none of those above. */
export const readActivation = (config: ModelConfig, byDefault: string, key = 'hidden_act'): Activation =>
  ACTIVATIONS[config.oneOf(key, Object.keys(ACTIVATIONS), byDefault)]!;
