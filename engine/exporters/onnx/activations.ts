/** Quantized inputs of layers, and operands of attention's products, of sets that have them. */
import { UserError } from '../../errors.js';
import { limitsOf } from '../../execution/activations.js';
import { quantizersOf, type Quantizer } from '../../execution/quantized-part.js';
import type { ActivationForm } from '../../execution/source.js';
import { show } from '../../formats/paths.js';
import type { Part } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';
import { exportedBits } from '../layer-weight.js';
import { quantizesInputs } from './containers.js';

/** Steps of an activation: its value is scale · q, q a whole number from `lower` to `upper`. */
export interface Steps {
  /** Undefined where each token has its own: its largest magnitude over `upper`. */
  readonly scale: number | undefined;
  readonly lower: number;
  readonly upper: number;
  /** What makes q an unsigned integer of 8 bits. */
  readonly offset: number;
}

/** Those of a part. Names are local to it. */
export interface PartSteps {
  /** By layers. Layers that read one input alike have the same `name`. */
  readonly inputs: ReadonlyMap<string, { readonly name: string; readonly steps: Steps }>;
  readonly operands: ReadonlyMap<string, Steps>;
}

const NONE: PartSteps = { inputs: new Map(), operands: new Map() };

/**
 * Reads how the activations of a part are quantized. Throws UserError for a grid that does not reach zero, which no unsigned integers
 * with a zero point have.
 */
export async function stepsOf(context: ExportContext, part: Part): Promise<PartSteps> {
  if (!quantizesInputs(context, part)) return NONE;
  const { source } = context;
  const listing = source.checkpoint.listing(part);
  const bitsOf = (layer: string) => exportedBits(context, part, { name: layer });
  const forms = new Map<string, ActivationForm>();
  const widths = new Set(listing.linears.flatMap(({ name }) => bitsOf(name) ?? []));
  for (const owner of new Set([...listing.linears.map(({ input }) => input), ...listing.operands]))
    for (const bits of widths) {
      const form = await source.activation(part.prefix + owner, bits);
      if (form !== undefined) forms.set(`${owner} ${bits}`, form);
    }
  const activation = (owner: string, bits: number) => forms.get(`${owner} ${bits}`);
  const { inputs, quantizers } = quantizersOf(listing, { activation }, bitsOf);
  const steps = new Map(
    [...quantizers].map(([name, quantizer]) => [name, stepsBy(part.prefix + name, quantizer)]),
  );
  return {
    inputs: new Map([...inputs].map(([layer, name]) => [layer, { name, steps: steps.get(name)! }])),
    operands: new Map(
      listing.operands.flatMap((name) => (steps.has(name) ? [[name, steps.get(name)!] as const] : [])),
    ),
  };
}

function stepsBy(name: string, { form, bits }: Quantizer): Steps {
  const { lower, upper, scale } = limitsOf(form, bits);
  const offset = form === 'token' ? 2 ** (bits - 1) : form.zero;
  if (!Number.isInteger(offset) || offset < 0 || offset > 255)
    throw new UserError(
      `What enters ${show(name)} is on a grid without zero, which ONNX's integers cannot say; calibrate with other samples.`,
    );
  return { scale, lower, upper, offset };
}
