/** What rounds the layers of a block by their Hessians, and what forms weights then have. */
import { binarize } from '../../backends/billm.js';
import { factorHessian } from '../../backends/factor.js';
import { roundCorrecting } from '../../backends/gptq.js';
import { bothInOrder, byFallingDiagonal } from '../../backends/order.js';
import { roundSparse, type OrderedFactor } from '../../backends/spqr.js';
import { rowSlices } from '../../execution/hessians.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { LinearEntry } from '../../models/listing.js';
import { formOf, type WeightForm } from '../../quantized/form.js';
import type { GridWeight, QuantizedWeight } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import type { CalibrationHooks } from '../method.js';
import { groupSizeAt } from '../weight-set.js';
import { averageLayout, LEVEL, thresholdFor } from './averages.js';
import type { BackendName, OacSettings } from './settings.js';

/** Share of the mean diagonal that is added to a Hessian (docs/METHOD.md, section 15). */
export const DAMPING: Readonly<Record<BackendName, number>> = { gptq: 0.1, spqr: 0.1, billm: 1 };
export const GROUP_SIZE = 128;

/** What rounds at an offered bit-width: one bit of GPTQ's is BiLLM's signs. */
export const backendAt = (backend: BackendName, bits: number): BackendName =>
  backend === 'gptq' && bits === 1 ? 'billm' : backend;

export const dampingOf = ({ damping }: Pick<OacSettings, 'damping'>, backend: BackendName): number =>
  damping ?? DAMPING[backend];

/** A layer to be rounded. */
export interface LayerHessian {
  /** Its full name, in messages. */
  readonly label: string;
  readonly layer: LinearEntry;
  readonly weight: HostTensor;
  /** [in, in], or one for each slice of rows. */
  readonly hessian: Float32Array;
  readonly isDead: (column: number) => boolean;
}

/** A layer's slices of rows, each with its own Hessian; the layer itself where it has one. */
export function slicesOf(
  own: LayerHessian,
  { rowSlices: slices }: Pick<OacSettings, 'rowSlices'>,
): LayerHessian[] {
  const { layer, weight, hessian } = own;
  if (slices === 1) return [own];
  const n = layer.in;
  let first = 0;
  return rowSlices(layer.out, slices).map((out, i) => {
    const data = weight.data.subarray(first * n, (first + out) * n);
    first += out;
    return {
      ...own,
      layer: { ...layer, out },
      weight: { data, shape: [out, n] },
      hessian: hessian.subarray(i * n * n, (i + 1) * n * n),
    };
  });
}

/** One weight of those of its slices of rows. */
export function joinRows(weights: readonly QuantizedWeight[]): QuantizedWeight {
  const [first] = weights;
  if (weights.length === 1) return first!;
  const grids = weights.map((weight) => {
    if (weight.kind !== 'grid') throw new Error('Only grids are joined.');
    return weight;
  });
  const sum = (of: (weight: GridWeight) => number) => grids.reduce((n, weight) => n + of(weight), 0);
  const [, columns] = grids[0]!.shape;
  const out = sum(({ shape }) => shape[0]);
  const rows = sum(({ scale }) => scale.length);
  const joined: GridWeight = {
    ...grids[0]!,
    shape: [out, columns],
    codes: new Uint8Array(out * columns),
    scale: new Float32Array(rows),
    zero: new Float32Array(rows),
  };
  let [code, row] = [0, 0];
  for (const { codes, scale, zero } of grids) {
    joined.codes.set(codes, code);
    joined.scale.set(scale, row);
    joined.zero.set(zero, row);
    code += codes.length;
    row += scale.length;
  }
  return joined;
}

/** A layer with the factor of its Hessian, for any number of roundings. */
export type FactoredLayer = LayerHessian & OrderedFactor;

type Layout = Pick<OacSettings, 'backend' | 'groupSize'>;

/** Columns that share statistics at an offered bit-width, -1 for whole rows. */
export function groupSizeOf({ backend, groupSize }: Layout, bits: number): number {
  if (backend === 'spqr') return averageLayout(bits, groupSize).groupSize;
  const size = groupSize ?? GROUP_SIZE;
  return backend === 'billm' ? size : groupSizeAt({ groupSize: size }, bits);
}

/**
 * The form of a layer's weight at an offered bit-width.
 * @param count what the weight alone says: outliers (SpQR), or columns of two planes (BiLLM)
 */
export function formAt(
  layout: Layout,
  { in: columns, out }: Pick<LinearEntry, 'in' | 'out'>,
  bits: number,
  count: number,
): WeightForm {
  const common = { in: columns, out, groupSize: groupSizeOf(layout, bits) };
  const backend = backendAt(layout.backend, bits);
  if (backend === 'billm') return { kind: 'binary', ...common, classes: 2, second: count };
  if (backend === 'gptq') return { kind: 'grid', ...common, bits };
  const own = averageLayout(bits, layout.groupSize);
  return { kind: 'grid', ...common, bits: own.bits, level: LEVEL, outliers: count, ordered: true };
}

/** The `count` of `formAt`. */
export function countOf(weight: QuantizedWeight): number {
  const form = formOf(weight);
  return form.kind === 'binary' ? form.second : (form.outliers ?? 0);
}

export async function factorLayer(
  programs: Programs,
  own: LayerHessian,
  settings: OacSettings,
  backend: BackendName,
  hooks: Pick<CalibrationHooks, 'signal' | 'note'>,
): Promise<FactoredLayer> {
  const { layer, hessian, label } = own;
  const damping = dampingOf(settings, backend);
  const order = backend === 'spqr' ? byFallingDiagonal(hessian, layer.in) : undefined;
  const placed = order ? bothInOrder(hessian, order) : hessian;
  return { ...own, order, factor: await factorHessian(programs, placed, layer.in, label, hooks, damping) };
}

/** Layers as they are rounded: an average is of all together, else each is by itself. */
export const unitsOf = (
  layers: readonly LayerHessian[],
  { backend }: OacSettings,
): readonly (readonly LayerHessian[])[] => (backend === 'spqr' ? [layers] : layers.map((own) => [own]));

/** Rounds layers that are rounded together at an offered bit-width; a threshold or an average is one for all of them. */
export async function roundLayers(
  programs: Programs,
  layers: readonly FactoredLayer[],
  settings: OacSettings,
  bits: number,
  signal: AbortSignal,
): Promise<QuantizedWeight[]> {
  const backend = backendAt(settings.backend, bits);
  const groupSize = groupSizeOf(settings, bits);
  const each = async (round: (own: FactoredLayer) => Promise<QuantizedWeight>) => {
    const found: QuantizedWeight[] = [];
    for (const own of layers) found.push(await round(own));
    return found;
  };
  if (backend === 'gptq')
    return each(({ weight, factor, isDead }) =>
      roundCorrecting(programs, weight, factor, isDead, { bits, groupSize }, signal),
    );
  if (backend === 'billm')
    return each((own) => binarize(programs, own.weight, own, { block: groupSize }, signal));
  const shape = { ...averageLayout(bits, settings.groupSize), level: LEVEL };
  return thresholdFor(bits, (threshold) =>
    each((own) => roundSparse(programs, own.weight, own, { ...shape, threshold }, signal)),
  );
}
