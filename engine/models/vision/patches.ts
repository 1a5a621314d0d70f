/** Pictures as grids of patches. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { VisionModel } from '../model.js';

/** Patches of a picture, row by row. */
export interface Grid {
  readonly rows: number;
  readonly columns: number;
}

export interface Patching {
  readonly image: VisionModel['image'];
  readonly patch: { readonly height: number; readonly width: number };
}

/** Patches that a picture is cut into; the last ones may reach beyond it. */
export const gridOf = ({ image, patch }: Patching): Grid => ({
  rows: Math.ceil(image.height / patch.height),
  columns: Math.ceil(image.width / patch.width),
});

export const patchesIn = ({ rows, columns }: Grid): number => rows * columns;

/**
 * Cuts a picture into patches, zeros where they reach beyond it: [batch, C, H, W] → [batch·patches, C·h·w], the order of a
 * convolution's weight.
 */
export function cutPatches(pixels: Value, patching: Patching, batch: number): Value {
  const { image, patch } = patching;
  const { rows, columns } = gridOf(patching);
  const { channels } = image;
  const full = op.pad(
    op.pad(pixels, 2, 0, rows * patch.height - image.height),
    3,
    0,
    columns * patch.width - image.width,
  );
  const cut = op.reshape(full, [batch * channels, rows, patch.height, columns, patch.width]);
  const gridFirst = op.transpose(cut, [0, 1, 3, 2, 4]);
  const grid = op.reshape(gridFirst, [batch, channels, rows * columns, patch.height * patch.width]);
  return op.reshape(op.transpose(grid, [0, 2, 1, 3]), [
    batch * rows * columns,
    channels * patch.height * patch.width,
  ]);
}

/** How a patch embedding's weight is stored: as a convolution whose stride is its kernel. */
export const patchWeight = (
  { image, patch }: Patching,
  features: number,
): readonly [number, number, number, number] => [features, image.channels, patch.height, patch.width];

/** [batch, tokens, features] → [batch, features]. */
export const meanOfTokens = (x: Value): Value =>
  op.reshape(op.reduceMean(x, [1]), [x.shape[0]!, x.shape[2]!]);
