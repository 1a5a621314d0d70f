/** The layers of a model as an adapter set lists them. */
import { blocksOf } from '../models/model.js';
import type { SetLayer } from '../formats/set-config.js';
import type { Outline } from '../transforms/transform.js';

/** Every layer of the blocks by its full name. @param groupSizeAt input columns that share a weight scale, -1 for whole rows */
export function setLayers(
  { model, listing }: Pick<Outline, 'model' | 'listing'>,
  offered: readonly number[],
  groupSizeAt: (bits: number) => number,
): Record<string, SetLayer> {
  const isWhole = offered.every((bits) => groupSizeAt(bits) === -1);
  const group_size = isWhole ? -1 : Object.fromEntries(offered.map((bits) => [bits, groupSizeAt(bits)]));
  return Object.fromEntries(
    blocksOf(model).flatMap((part) =>
      listing(part).linears.map(
        (l) =>
          [part.prefix + l.name, { in: l.in, out: l.out, group_size, input: part.prefix + l.input }] as const,
      ),
    ),
  );
}
