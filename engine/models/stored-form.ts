/** Between a parameter as its part has it and as the checkpoint does. */
import type { ParameterEntry } from './listing.js';

type Form = Pick<ParameterEntry, 'shape' | 'transposed' | 'offset'>;

/** @param data as stored, which may become the result */
export function fromStored({ shape, transposed, offset = 0 }: Form, data: Float32Array): Float32Array {
  if (offset !== 0) for (let i = 0; i < data.length; i++) data[i] = data[i]! + offset;
  return transposed ? exchanged(data, shape[1]!, shape[0]!) : data;
}

/** The opposite, which leaves `data` as it is. */
export function toStored({ shape, transposed, offset = 0 }: Form, data: Float32Array): Float32Array {
  const moved = offset === 0 ? data : data.map((x) => x - offset);
  return transposed ? exchanged(moved, shape[0]!, shape[1]!) : moved;
}

/** A matrix [rows, columns] as [columns, rows]. */
function exchanged(data: Float32Array, rows: number, columns: number): Float32Array {
  const other = new Float32Array(data.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) other[c * rows + r] = data[r * columns + c]!;
  return other;
}
