/**
 * What each bit-width of each layer costs by itself, from one pass forward and one back (docs/METHOD.md, section 6). To second
 * order the divergence of the logits is ½ E[(Σ δ · e)²], e what quantization adds to what the layer yields, δ the gradient of a
 * random direction whose squares are the divergence's curvature, the sum over a sample's tokens and the layer's outputs. Products
 * of different outputs are left out of the square: they have next to no part in its mean, and most in its spread.
 */
import type { Shape, Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { LinearEntry } from '../models/listing.js';
import { headOf } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import { limitsOf, quantizeInput, quantizeOperand } from './activations.js';
import { replaceByCurvature } from './loss.js';
import { disposeAll, placeAll } from './part.js';
import { sweepBack, type BlockGradients, type LayerGradient, type OperandGradient } from './reverse-sweep.js';
import { samplesAgain } from './sample-store.js';
import type { SensitivityHooks, SensitivityTask } from './sensitivity.js';
import { partOf, type ActivationForm, type PartSource } from './source.js';

/** Random directions of a sample, where it has fewer rows of logits: each row has one of its own. */
const DIRECTIONS = 8;

/**
 * @param known costs of the last layers, which are not computed again
 * @param hooks hear of the last layer first
 */
export async function estimateSensitivity(
  programs: Programs,
  task: Omit<SensitivityTask, 'distance' | 'keepBlocks'> & { readonly seed: number },
  known: number,
  { signal, status, measured }: SensitivityHooks,
): Promise<void> {
  const { source, cache, seed } = task;
  const { checkpoint, offered } = source;
  const { model } = checkpoint;
  const inputs = samplesAgain(task.inputs, headOf(model).rows >= DIRECTIONS ? 1 : DIRECTIONS);
  const rows = headOf(model).rows * inputs.samples;
  const counts = model.blocks.map((part) => checkpoint.listing(part).linears.length);
  /** Layers of a block and of those behind it. */
  const upTo = ({ index }: BlockGradients) => counts.slice(index).reduce((sum, n) => sum + n, 0);
  const isKnown = (block: BlockGradients) => upTo(block) <= known;
  let own: PartSource | undefined;
  await sweepBack(
    programs,
    {
      checkpoint,
      inputs,
      cache,
      batch: Math.min(task.batch, inputs.samples),
      differentiate: (store, hooks) => replaceByCurvature(programs, checkpoint, store, seed, hooks),
    },
    {
      open: async (block) => {
        if (isKnown(block)) return {};
        own = await partOf(source, block.part);
        return quantizedInputs(programs, own, block, offered);
      },
      build: (graph, layers, block, operands) => {
        const sums = new Map<string, Shape>();
        if (isKnown(block)) return sums;
        for (const layer of block.listing.linears) {
          const costs = offered.map((bits) =>
            squaredEffect({ own: own!, block, layer, bits, tap: layers.get(layer.name)!, operands }),
          );
          const shape = [1, offered.length];
          graph.output(layer.name, op.add(graph.input(`sum.${layer.name}`, shape), op.concat(costs, 1)));
          sums.set(layer.name, shape);
        }
        return sums;
      },
      done: async (block, sums) => {
        const ahead = upTo(block) - block.listing.linears.length;
        for (const [i, { name }] of [...block.listing.linears].reverse().entries())
          if (ahead + i >= known) await measured(Array.from(sums.get(name)!, (sum) => sum / (2 * rows)));
      },
    },
    { signal, status },
  );
}

const inputName = (layer: string, bits: number) => `${layer}@${bits}`;

/** How an operand of products is quantized where the layer that it is made of is at `bits`. */
function operandForm(own: PartSource, operand: string, bits: number): ActivationForm | undefined {
  const form = own.activation(operand, bits);
  return form === 'token' ? undefined : form;
}

const operandsOf = ({ listing }: BlockGradients, layer: string) =>
  listing.operands.filter((operand) => listing.producers.get(operand) === layer);

/** Weights of a block's layers at each bit-width, and the scalars of the quantizers of what is read there. */
async function quantizedInputs(
  programs: Programs,
  own: PartSource,
  block: BlockGradients,
  offered: readonly number[],
): Promise<Record<string, Tensor>> {
  const { runtime } = programs;
  const { linears } = block.listing;
  const placed = await placeAll(programs, own.parameters);
  const unquantized = new Map(linears.map(({ name }) => [name, placed[`${name}.weight`]!]));
  const weights = own.weights(programs, unquantized, { left: 0 });
  const found: Record<string, Tensor> = {};
  const addLimits = (name: string, form: ActivationForm | undefined, bits: number) => {
    if (form === undefined) return;
    const { lower, upper, scale } = limitsOf(form, bits);
    found[`${name}.lower`] = runtime.tensor(Float32Array.of(lower), []);
    found[`${name}.upper`] = runtime.tensor(Float32Array.of(upper), []);
    if (scale !== undefined) found[`${name}.scale`] = runtime.tensor(Float32Array.of(scale), [1, 1]);
  };
  try {
    for (const layer of linears)
      for (const bits of offered) {
        const name = inputName(layer.name, bits);
        found[name] = await weights.quantize(layer, bits);
        addLimits(name, own.activation(layer.input, bits), bits);
        for (const operand of operandsOf(block, layer.name))
          addLimits(inputName(operand, bits), operandForm(own, operand, bits), bits);
      }
    return found;
  } finally {
    weights.dispose();
    disposeAll(placed);
  }
}

interface Effect {
  readonly own: PartSource;
  readonly block: BlockGradients;
  readonly layer: LinearEntry;
  readonly bits: number;
  readonly tap: LayerGradient;
  readonly operands: ReadonlyMap<string, OperandGradient>;
}

/**
 * What a layer's weight at a bit-width, its quantized input and the operands made of it bring about: the sum of their squares,
 * [1, 1]. Errors of the weight are each output's own, those of the input each input's, which all outputs share. Grids clip,
 * which moves inputs together: there nothing is left out of the square.
 */
function squaredEffect({ own, block, layer, bits, tap, operands }: Effect): Value {
  const { graph } = tap.x;
  const name = inputName(layer.name, bits);
  const weight = graph.inputs.get(`${layer.name}.weight`)!;
  const error = op.sub(graph.input(name, [layer.out, layer.in]), weight);
  const form = own.activation(layer.input, bits);
  const x = quantizeActivation(form, name, tap.x);
  const isGrid = form !== 'token';
  const effects = [squares(tap.delta, op.gemm(x, error, { transB: true }), block.batch)];
  if (x !== tap.x) effects.push(squares(op.gemm(tap.delta, weight), op.sub(x, tap.x), block.batch, isGrid));
  for (const operand of operandsOf(block, layer.name)) {
    const form = operandForm(own, operand, bits);
    if (form === undefined) continue;
    const { x, delta } = operands.get(operand)!;
    const grid = gridInputs(inputName(operand, bits), x);
    const quantized = quantizeOperand(operand, x, { grid: () => grid });
    effects.push(squares(delta, op.sub(quantized, x), block.batch, true));
  }
  return effects.reduce((a, b) => op.add(a, b));
}

const limitInputs = (name: string, { graph }: Value) => ({
  lower: graph.input(`${name}.lower`, []),
  upper: graph.input(`${name}.upper`, []),
});

const gridInputs = (name: string, x: Value) => ({
  scale: x.graph.input(`${name}.scale`, [1, 1]),
  ...limitInputs(name, x),
});

function quantizeActivation(form: ActivationForm | undefined, name: string, x: Value): Value {
  if (form === undefined) return x;
  if (form === 'token')
    return quantizeInput(name, x, { grid: () => undefined, tokens: limitInputs(name, x) });
  const grid = gridInputs(name, x);
  return quantizeInput(name, x, { grid: () => grid });
}

/** Σ (Σ δ e)² over samples and features, the inner sum over a sample's tokens, and features where `whole`: [1, 1]. */
function squares(delta: Value, error: Value, batch: number, whole = false): Value {
  const [rows, out] = delta.shape as readonly [number, number];
  const sums = op.reduceSum(
    op.reshape(op.mul(delta, error), [batch, rows / batch, out]),
    whole ? [1, 2] : [1],
  );
  return op.reshape(op.reduceSum(op.mul(sums, sums), [0, 1, 2]), [1, 1]);
}

/** Forward, and back: a block is run again, and its gradient takes about as long. */
const PASSES = 3;

/** At least this share of the work is saved against running the whole model for every bit-width of every layer, and once in full. */
export function savedByEstimate({ model, listing }: Checkpoint, bits: number): number {
  const runs = model.blocks.reduce((sum, part) => sum + listing(part).linears.length * bits, 0);
  return 1 - (PASSES + bits) / (runs + 1);
}
