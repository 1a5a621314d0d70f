/** How the activations of a stream are quantized in the graph of a block, and the numbers that this takes. */
import { cacheOf, limitsOf, quantizeInput, quantizeOperand } from '../../execution/activations.js';
import { placeAll } from '../../execution/part.js';
import type { ActivationForm } from '../../execution/source.js';
import type { Quantizers } from '../../execution/taps.js';
import type { Graph } from '../../graph/ir.js';
import { parameterInputs } from '../../models/builders.js';
import type { PartListing } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import type { DirectSettings } from './settings.js';

/** Those whose activations have a quantizer: first layers that read an input, and operands where these have grids. */
export const ownersOf = (
  { linears, operands }: PartListing,
  { activations }: Pick<DirectSettings, 'activations'>,
): readonly string[] =>
  activations === 'none'
    ? []
    : [...new Set(linears.map(({ input }) => input)), ...(activations === 'static' ? operands : [])];

/**
 * The quantizers of a part; graph inputs are, for each owner, the scalars `<owner>.lower` and `<owner>.upper`, and
 * `<owner>.scale` [1, 1] where it has a grid, with a suffix. Undefined where activations stay as they are.
 */
export function streamQuantizers(
  graph: Graph,
  part: Part,
  { linears }: PartListing,
  { activations, kvBits }: Pick<DirectSettings, 'activations' | 'kvBits'>,
  suffix: string,
): Quantizers | undefined {
  if (activations === 'none') return undefined;
  const number = parameterInputs(graph);
  const owner = new Map(linears.map(({ name, input }) => [name, input]));
  const limits = (name: string) => ({
    lower: number(`${name}.lower${suffix}`, []),
    upper: number(`${name}.upper${suffix}`, []),
  });
  const grid = (name: string) =>
    activations === 'static'
      ? { scale: number(`${name}.scale${suffix}`, [1, 1]), ...limits(name) }
      : undefined;
  const cache = cacheOf(part, kvBits);
  return {
    input: (name, x) => {
      const own = owner.get(name)!;
      return quantizeInput(own, x, { grid, tokens: activations === 'token' ? limits(own) : undefined });
    },
    operand: (name, x) => quantizeOperand(name, x, { grid, cache }),
  };
}

/** Puts on the device what the quantizers of `owners` take at a bit-width. */
export async function placeLimits(
  programs: Programs,
  placed: Record<string, Tensor>,
  owners: readonly string[],
  formOf: (owner: string) => ActivationForm,
  bits: number,
  suffix: string,
): Promise<void> {
  const tensors = owners.flatMap((owner) => {
    const { lower, upper, scale } = limitsOf(formOf(owner), bits);
    const one = (what: string, x: number, shape: readonly number[]) =>
      [`${owner}.${what}${suffix}`, { shape, data: Float32Array.of(x) }] as const;
    return [
      one('lower', lower, []),
      one('upper', upper, []),
      ...(scale === undefined ? [] : [one('scale', scale, [1, 1])]),
    ];
  });
  for (const [name] of tensors) placed[name]?.dispose();
  Object.assign(placed, await placeAll(programs, tensors));
}
