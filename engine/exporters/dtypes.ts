/** The floating-point types of a checkpoint's tensors. */
import { bfloat16ToFloat32, float32ToBfloat16, float32ToHalf, halfToFloat32 } from '../formats/floats.js';
import type { SafetensorsDType } from '../formats/safetensors.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { storedName, type LinearEntry } from '../models/listing.js';
import type { Part } from '../models/model.js';

/** Whether it holds any float32. */
export const isFull = (dtype: SafetensorsDType) => dtype === 'F32' || dtype === 'F64';

/** Values as a dtype holds them. */
export function roundedTo(values: Float32Array, dtype: SafetensorsDType): Float32Array {
  if (dtype === 'F16') return halfToFloat32(float32ToHalf(values));
  return dtype === 'BF16' ? bfloat16ToFloat32(float32ToBfloat16(values)) : values;
}

/** What a layer's weight has in the model's files. */
export function storedDtype(
  { source, listing }: Checkpoint,
  part: Part,
  layer: LinearEntry,
): SafetensorsDType {
  const entry = listing(part).parameters.find(({ name }) => name === `${layer.name}.weight`)!;
  return source.tensors.get(storedName(part, entry))!.dtype as SafetensorsDType;
}
