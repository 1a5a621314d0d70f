/** What holds the quantized weights of an ONNX model. */
import type { LinearEntry } from '../../models/listing.js';
import { blocksOf, type Part } from '../../models/model.js';
import type { WeightForm } from '../../quantized/form.js';
import type { GridWeight, QuantizedWeight } from '../../quantized/weight.js';
import type { ExportContext } from '../exporter.js';
import { withZeroInside } from '../grids.js';
import { exportedForm } from '../layer-weight.js';
import { integersFor, type Integers } from './integers.js';
import { heldInNBits, nbitsFor, type NBits } from './nbits.js';

export type Container =
  | ({ readonly kind: 'nbits' } & NBits)
  /** For inputs that are integers too. */
  | ({ readonly kind: 'integers' } & Integers);

/** Codes of fewer bits run slowly where inputs are not rounded to 8 bits in blocks. */
const LEAST_BITS_UNROUNDED = 4;

/** What holds a layer that is quantized. */
export function containerOf(context: ExportContext, part: Part, layer: LinearEntry): Container {
  const form = exportedForm(context, part, layer);
  return containerFor(form, quantizesInputs(context, part));
}

/** @param isBoth whether inputs are quantized too, at the same bits */
export function containerFor(form: WeightForm, isBoth: boolean): Container {
  const integers = isBoth ? integersFor(form) : undefined;
  if (integers) return { kind: 'integers', ...integers };
  return { kind: 'nbits', ...nbitsFor(form, isBoth ? LEAST_BITS_UNROUNDED : undefined) };
}

/** Whether the inputs of a part's layers are quantized. */
export const quantizesInputs = ({ source, config }: ExportContext, part: Part): boolean =>
  config.mode === 'weight-activation' && blocksOf(source.checkpoint.model).includes(part);

/** As people are told of it. */
export const containerName = (container: Container): string =>
  container.kind === 'nbits' ? `MatMulNBits of ${container.bits} bits` : 'MatMulInteger of 8 bits';

/** Whether codes go over; else values are rounded again. */
export const isOnGrid = (container: Container): boolean =>
  container.kind === 'integers' || container.isOnGrid;

/** What a container holds of a weight: as `containerFor` says of its form. */
export const heldIn = (weight: QuantizedWeight, container: Container): GridWeight =>
  container.kind === 'integers' ? withZeroInside(weight as GridWeight) : heldInNBits(weight, container);
