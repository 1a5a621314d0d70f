/** Several blocks as one part. */
import * as op from '../../graph/ops.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { LinearEntry, PartListing } from '../../models/listing.js';
import type { Builder, Part, SidePort } from '../../models/model.js';

/** What a block's names begin with in a window. */
export const placeName = (place: number): string => `${place}.`;

/** The blocks one after another: local names are those of the blocks, behind their places in the window. */
export function windowPart(blocks: readonly Part[]): Part {
  const [first, last] = [blocks[0]!, blocks.at(-1)!];
  const ports = new Map<string, SidePort>(
    blocks.flatMap(({ side = [] }) => side.map((port) => [port.name, port] as const)),
  );
  return {
    prefix: first.prefix,
    kind: blocks.map(({ kind }) => kind).join(' + '),
    inputShape: (batch) => first.inputShape(batch),
    outputShape: (batch) => last.outputShape(batch),
    ...(first.inputType && { inputType: first.inputType }),
    side: [...ports.values()],
    forward: (builder, x, batch, side) =>
      blocks.reduce((value, block, place) => {
        // What one block yields, the next may read in another shape.
        const read = place === 0 ? value : op.reshape(value, block.inputShape(batch));
        const own = Object.fromEntries((block.side ?? []).map(({ name }) => [name, side[name]!]));
        return block.forward(behind(builder, placeName(place)), read, batch, own);
      }, x),
  };
}

/** The builder with names that begin with the place. */
const behind = (builder: Builder, place: string): Builder => ({
  linear: (name, ...others) => builder.linear(place + name, ...others),
  layerNorm: (name, ...others) => builder.layerNorm(place + name, ...others),
  rmsNorm: (name, ...others) => builder.rmsNorm(place + name, ...others),
  embedding: (name, ...others) => builder.embedding(place + name, ...others),
  operand: (name, x) => builder.operand(place + name, x),
  parameter: (name, shape) => builder.parameter(place + name, shape),
});

/** The layers of a window's blocks, by their names in it. */
export const windowLayers = (
  blocks: readonly Part[],
  listing: (part: Part) => PartListing,
): Pick<LinearEntry, 'name' | 'in' | 'out'>[] =>
  blocks.flatMap((block, place) =>
    listing(block).linears.map((layer) => ({
      name: placeName(place) + layer.name,
      in: layer.in,
      out: layer.out,
    })),
  );

/** The parameters of a window's blocks, by their names in it. */
export const windowParameters = (
  blocks: readonly ReadonlyMap<string, HostTensor>[],
): Map<string, HostTensor> =>
  new Map(
    blocks.flatMap((own, place) =>
      [...own].map(([name, tensor]) => [placeName(place) + name, tensor] as const),
    ),
  );
