/** Perceptrons of decoders as sublayers. */
import * as op from '../../graph/ops.js';
import type { Activation } from '../activations.js';
import type { Sublayer } from './decoder.js';

export interface Perceptron {
  /** Channels between its layers. */
  readonly hidden: number;
  readonly activation: Activation;
  readonly bias: boolean;
}

/** Gated (Shazeer 2020): down(activation(gate(x)) · up(x)). */
export const gatedPerceptron =
  (
    names: { readonly gate: string; readonly up: string; readonly down: string },
    design: Perceptron,
  ): Sublayer =>
  (b, x) => {
    const { hidden, activation, bias } = design;
    const gate = b.linear(names.gate, x, hidden, { bias });
    const up = b.linear(names.up, x, hidden, { bias });
    return b.linear(names.down, op.mul(activation(gate), up), x.shape[1]!, { bias });
  };
