/** Grids of activations as sets keep them (docs/FORMATS.md): a scale and a zero point for each, at every bit-width. */
import type { ActivationForm } from '../execution/source.js';
import type { ExpectedTensor } from '../formats/set.js';
import type { SetConfig } from '../formats/set-config.js';

export const GRID = ['act_scale', 'act_zero'] as const;

/** @param owner the first layer that reads an activation, or an operand */
export const gridName = (owner: string, what: (typeof GRID)[number], bits: number): string =>
  `${owner}.${what}.${bits}`;

/** The tensors of a grid. @param owner by whatever name the others have */
export const gridTensors = (
  owner: string,
  { scale, zero }: Exclude<ActivationForm, 'token'>,
  bits: number,
): (readonly [string, { readonly shape: readonly number[]; readonly data: Float32Array }])[] => [
  [gridName(owner, 'act_scale', bits), { shape: [1], data: Float32Array.of(scale) }],
  [gridName(owner, 'act_zero', bits), { shape: [1], data: Float32Array.of(zero) }],
];

/** Those of a set in which every input of layers has grids, and so have `products`, operands by their full names. */
export function expectedGrids(
  { offered, layers }: Pick<SetConfig, 'offered' | 'layers'>,
  products: readonly string[],
): Map<string, ExpectedTensor> {
  const owners = [...new Set(Object.values(layers).map(({ input }) => input)), ...products];
  return new Map(
    owners.flatMap((owner) =>
      offered.flatMap((bits): (readonly [string, ExpectedTensor])[] => [
        [gridName(owner, 'act_scale', bits), { shape: [1], positive: true }],
        [gridName(owner, 'act_zero', bits), { shape: [1] }],
      ]),
    ),
  );
}
