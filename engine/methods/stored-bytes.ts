/** What sets take on disk, before there is one. */
import type { ExpectedTensor } from '../formats/set.js';
import { sizeOf } from '../graph/ir.js';
import { storedTensors } from './stored-weight.js';

const BYTES = { F32: 4, F16: 2, BF16: 2, U8: 1, I8: 1 } as const;

export function bytesOfTensors(tensors: Iterable<ExpectedTensor>): number {
  let bytes = 0;
  for (const { shape, dtype = 'F32' } of tensors) bytes += sizeOf(shape) * BYTES[dtype];
  return bytes;
}

/** Of layers whose weights a set holds on grids, at each of its bit-widths. */
export const gridBytes = (
  layers: readonly { readonly in: number; readonly out: number }[],
  offered: readonly number[],
  groupSizeAt: (bits: number) => number,
): number =>
  layers.reduce(
    (sum, layer) =>
      offered.reduce((n, bits) => {
        const form = { ...layer, kind: 'grid', bits, groupSize: groupSizeAt(bits) } as const;
        return n + bytesOfTensors(storedTensors(form).values());
      }, sum),
    0,
  );
