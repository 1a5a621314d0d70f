/** Perceptrons of decoders as sublayers. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Activation } from '../activations.js';
import type { Sublayer } from './decoder.js';
import { applied, type Layer } from './self-attention.js';

export interface Perceptron {
  /** Channels between its layers. */
  readonly hidden: number;
  readonly activation: Activation;
}

/** Two layers: down(activation(up(x))). */
export const plainPerceptron =
  (up: Layer, down: Layer, { hidden, activation }: Perceptron): Sublayer =>
  (b, x) =>
    applied(b, down, activation(applied(b, up, x, hidden)), x.shape[1]!);

/** Gated (Shazeer 2020): down(activation(gate(x)) · up(x)). */
export const gatedPerceptron =
  (
    names: { readonly gate: string; readonly up: string; readonly down: string },
    { hidden, activation, bias = false }: Perceptron & { readonly bias?: boolean },
  ): Sublayer =>
  (b, x) => {
    const gate = b.linear(names.gate, x, hidden, { bias });
    const up = b.linear(names.up, x, hidden, { bias });
    return b.linear(names.down, op.mul(activation(gate), up), x.shape[1]!, { bias });
  };

/** The same with one layer for both: rows of the gate, then those of what it is a factor of. */
export const fusedPerceptron =
  (gateUp: Layer, down: Layer, { hidden, activation }: Perceptron): Sublayer =>
  (b, x) => {
    const [gate, up] = op.split(applied(b, gateUp, x, 2 * hidden), [hidden, hidden], 1) as [Value, Value];
    return applied(b, down, op.mul(activation(gate), up), x.shape[1]!);
  };
