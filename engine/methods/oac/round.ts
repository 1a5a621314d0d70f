/** From the Hessians of a block's layers to rounded weights, as a progress file keeps them. */
import { UserError } from '../../errors.js';
import { byInput, type LinearEntry } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import type { QuantizedWeight } from '../../quantized/weight.js';
import type { CalibrationContext } from '../method.js';
import type { KeptTensor, Notes } from '../progress.js';
import type { Parameters } from '../walk.js';
import { keptWeight } from '../weight-set.js';
import {
  backendAt,
  countOf,
  factorLayer,
  joinRows,
  roundLayers,
  slicesOf,
  unitsOf,
  type FactoredLayer,
  type LayerHessian,
} from './backends.js';
import type { OacSettings } from './settings.js';
import { energyOf, plainOf } from './sums.js';

/** Layers of a part with what `oacSums` found of them. Throws UserError for one whose loss does not depend on a live input. */
export function layerHessians(
  { prefix }: Pick<Part, 'prefix'>,
  linears: readonly LinearEntry[],
  parameters: Parameters,
  sums: ReadonlyMap<string, Float32Array>,
  { mix }: Pick<OacSettings, 'mix'>,
): LayerHessian[] {
  return byInput(linears).flatMap((group) => {
    const energy = sums.get(energyOf(group[0].name))!;
    const plain = mix > 0 ? sums.get(plainOf(group[0].name))! : undefined;
    return group.map((layer) => {
      const own = sums.get(layer.name)!;
      const hessian = plain ? mixed(own, plain, mix) : own;
      const label = prefix + layer.name;
      requireLive(hessian, energy, label);
      const isDead = (column: number) => energy[column] === 0;
      return { label, layer, weight: parameters.get(`${layer.name}.weight`)!, hessian, isDead };
    });
  });
}

/** (1 − share) of a Hessian, or of each of several, and a share of another, all with trace 1; one of zeros counts as the other. */
export function mixed(hessians: Float32Array, plain: Float32Array, share: number): Float32Array {
  const n = Math.sqrt(plain.length);
  const traceOf = (h: Float32Array) => {
    let trace = 0;
    for (let i = 0; i < n; i++) trace += h[i * (n + 1)]!;
    return trace;
  };
  const all = traceOf(plain) || 1;
  const other = plain.map((x) => x / all);
  const found = new Float32Array(hessians.length);
  for (let at = 0; at < found.length; at += n * n) {
    const own = hessians.subarray(at, at + n * n);
    const trace = traceOf(own);
    for (const [i, x] of own.entries())
      found[at + i] = trace > 0 ? ((1 - share) * x) / trace + share * other[i]! : other[i]!;
  }
  return found;
}

/** Throws UserError where an input is active but its squared gradients are too small for float32: its weights would be taken for dead. */
function requireLive(hessian: Float32Array, energy: Float32Array, layer: string): void {
  const n = energy.length;
  const slices = Array.from({ length: hessian.length / n ** 2 }, (_, slice) => slice * n * n);
  const lost = energy.findIndex((x, i) => x > 0 && slices.every((at) => hessian[at + i * n + i] === 0));
  if (lost !== -1)
    throw new UserError(
      `${layer}: the model's loss does not depend on input ${lost}, or too little for float32; --hessian l2 does without the loss.`,
    );
}

/** What a progress file keeps of layers. */
export interface KeptLayers {
  readonly tensors: Map<string, KeptTensor>;
  readonly notes: Notes;
}

/** The name in a progress file of a layer at a bit-width, by which its count is noted. */
export const keptName = (layer: string, bits: number): string => `${layer}.${bits}`;

/** Rounds layers at bit-widths, one unit after another. @param take hears of every weight */
export async function roundUnits(
  { programs, hooks }: CalibrationContext,
  settings: OacSettings,
  layers: readonly LayerHessian[],
  widths: readonly number[],
  take: (layer: string, bits: number, weight: QuantizedWeight) => void,
): Promise<void> {
  const at = (bits: number) => backendAt(settings.backend, bits);
  const backends = new Set(widths.map(at));
  const units = unitsOf(layers, settings).flatMap((unit) =>
    [...backends].map((backend) => ({ unit, backend, own: widths.filter((bits) => at(bits) === backend) })),
  );
  for (const { unit, backend, own: ownWidths } of units) {
    const factored: FactoredLayer[] = [];
    for (const own of unit.flatMap((layer) => slicesOf(layer, settings)))
      factored.push(await factorLayer(programs, own, settings, backend, hooks));
    for (const bits of ownWidths) {
      const rounded = await roundLayers(programs, factored, settings, bits, hooks.signal);
      for (const { layer } of unit) {
        const isOwn = (_: QuantizedWeight, i: number) => factored[i]!.layer.name === layer.name;
        take(layer.name, bits, joinRows(rounded.filter(isOwn)));
      }
    }
  }
}

/** Collects weights for a progress file. */
export function keepLayers(): KeptLayers & {
  readonly take: (layer: string, bits: number, weight: QuantizedWeight) => void;
} {
  const tensors = new Map<string, KeptTensor>();
  const notes: Record<string, number[]> = {};
  return {
    tensors,
    notes,
    take: (layer, bits, weight) => {
      const name = keptName(layer, bits);
      for (const [what, tensor] of keptWeight(name, weight)) tensors.set(what, tensor);
      notes[name] = [countOf(weight)];
    },
  };
}
