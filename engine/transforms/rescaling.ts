/**
 * Channels scaled, and shifted, between a norm or layer and the layers that read it, as tensors of an adapter set. Folded
 * norms (`fold-norms.ts`) and smoothing (`smooth.ts`) are both written so, and compose: what the second makes of
 * parameters that the first has rescaled is joined to what the first made.
 *
 *   `<norm>.weight`, `<norm>.bias`, `<layer>.bias`   replace the parameter
 *   `<layer>.input_scale` [in]                       multiplies the weight's columns
 *   `<layer>.output_scale` [out]                     multiplies the weight's rows, and the bias
 */
import { listPart, type PartListing } from '../models/listing.js';
import { blocksOf, type Builder, type Chain, type Part } from '../models/model.js';
import { integer, mapOf } from '../formats/json-fields.js';
import type { NamedTensors } from '../execution/tensors.js';
import type { Checkpoint, HostTensor } from '../models/checkpoint.js';
import type { Outline, TensorsOf, Transform } from './transform.js';

export interface RescalingConfig {
  /** Norms whose weight (and bias) differ from the model's, by full name, with their size. */
  readonly norms: Readonly<Record<string, number>>;
}

const SCALES = ['input_scale', 'output_scale'] as const;
const scaleOf = (name: string) => SCALES.find((scale) => name.endsWith(`.${scale}`));

/** Whether a tensor of an adapter set, by local name, is a rescaling's. */
const isRescaling = (name: string) =>
  name.endsWith('.weight') || name.endsWith('.bias') || scaleOf(name) !== undefined;

/** One rescaling after another: `next` was made of parameters that `first` had rescaled. */
export function composed(first: NamedTensors, next: NamedTensors): NamedTensors {
  const both: NamedTensors = new Map(first);
  for (const [name, { shape, data }] of next) {
    if (scaleOf(name) !== undefined) {
      const before = first.get(name)?.data;
      both.set(name, { shape, data: before ? data.map((x, i) => x * before[i]!) : data });
      continue;
    }
    // A replaced bias is multiplied by the joined scale, of which it has the first's share already.
    const scale = first.get(name.replace(/\.bias$/, '.output_scale'))?.data;
    const isScaled = name.endsWith('.bias') && scale !== undefined;
    both.set(name, { shape, data: isScaled ? data.map((x, i) => x / scale[i]!) : data });
  }
  return both;
}

/** The parameters of a part, rescaled. */
export function rescaledParameters(
  parameters: ReadonlyMap<string, HostTensor>,
  tensors: NamedTensors,
): Map<string, HostTensor> {
  const rescaled = new Map(parameters);
  for (const [name, tensor] of tensors)
    if (name.endsWith('.weight') || name.endsWith('.bias')) rescaled.set(name, tensor);
  const change = (name: string, by: (data: Float32Array) => Float32Array) => {
    const tensor = rescaled.get(name);
    if (tensor) rescaled.set(name, { data: by(tensor.data), shape: tensor.shape });
  };
  for (const [name, { data: scale }] of tensors) {
    const kind = scaleOf(name);
    if (kind === undefined) continue;
    const layer = name.slice(0, -kind.length - 1);
    const columns = rescaled.get(`${layer}.weight`)!.shape[1]!;
    if (kind === 'input_scale') change(`${layer}.weight`, (data) => scaledColumns(data, scale));
    else {
      change(`${layer}.weight`, (data) => data.map((w, i) => w * scale[Math.floor(i / columns)]!));
      change(`${layer}.bias`, (data) => data.map((b, row) => b * scale[row]!));
    }
  }
  return rescaled;
}

/** W·diag(scale) for W [out, in]. */
export const scaledColumns = (weight: Float32Array, scale: Float32Array): Float32Array =>
  weight.map((w, i) => w * scale[i % scale.length]!);

export const rescaling: Transform<RescalingConfig> = {
  name: 'rescaling',
  fields: { norms: mapOf(integer(1)) },
  tensors: ({ norms }, layers) =>
    new Map([
      ...Object.entries(layers).flatMap(([name, layer]) => [
        [`${name}.bias`, { shape: [layer.out], optional: true }] as const,
        [`${name}.input_scale`, { shape: [layer.in], positive: true, optional: true }] as const,
        [`${name}.output_scale`, { shape: [layer.out], positive: true, optional: true }] as const,
      ]),
      ...Object.entries(norms).flatMap(([name, size]) => [
        [`${name}.weight`, { shape: [size] }] as const,
        [`${name}.bias`, { shape: [size], optional: true }] as const,
      ]),
    ]),
  outline: (checkpoint, config) => withBiases(checkpoint, config).outline,
  apply: (_programs, checkpoint, config, tensorsOf) => {
    const { outline, before } = withBiases(checkpoint, config);
    const inner = rescaled(checkpoint, tensorsOf);
    return {
      ...inner,
      ...outline,
      read: async (part) => {
        const parameters = await inner.read(before.get(part) ?? part);
        for (const { name, out } of outline.listing(part).linears.filter((layer) => layer.bias))
          if (!parameters.has(`${name}.bias`))
            parameters.set(`${name}.bias`, { data: new Float32Array(out), shape: [out] });
        return parameters;
      },
    };
  },
};

/**
 * Model and listings in which layers that read a rescaled norm have a bias where the norm has one: what the norm is shifted by
 * goes out again in theirs. And what parts that have changed so were before.
 */
function withBiases(
  checkpoint: Outline,
  { norms }: RescalingConfig,
): { readonly outline: Outline; readonly before: ReadonlyMap<Part, Part> } {
  const before = new Map<Part, Part>();
  const listings = new Map<string, PartListing>();
  const changed = (part: Part): Part => {
    const { norms: own, linears } = checkpoint.listing(part);
    const shifted = own
      .filter(({ name, bias }) => bias && part.prefix + name in norms)
      .map(({ name }) => name);
    const given = linears.filter(({ norm, bias }) => !bias && norm !== undefined && shifted.includes(norm));
    if (given.length === 0) return part;
    const names = new Set(given.map(({ name }) => name));
    const other: Part = {
      ...part,
      kind: `${part.kind}, with biases of ${[...names].join(' ')}`,
      forward: (b, ...rest) => {
        const linear: Builder['linear'] = (name, x, out, options) =>
          b.linear(name, x, out, names.has(name) ? { ...options, bias: true } : options);
        return part.forward({ ...b, linear }, ...rest);
      },
    };
    before.set(other, part);
    if (!listings.has(other.kind)) listings.set(other.kind, listPart(other));
    return other;
  };
  const changedAll = <C extends Chain>(chain: C): C => ({ ...chain, blocks: chain.blocks.map(changed) });
  const model = changedAll(checkpoint.model);
  const { towers } = model;
  return {
    outline:
      before.size === 0 && !towers
        ? checkpoint
        : {
            ...checkpoint,
            model: towers ? { ...model, towers: towers.map(changedAll) } : model,
            listing: (part) => listings.get(part.kind) ?? checkpoint.listing(part),
          },
    before,
  };
}

/** The checkpoint with its blocks rescaled. @param tensorsOf what is kept of a block, other tensors among it */
export const rescaled = (checkpoint: Checkpoint, tensorsOf: TensorsOf): Checkpoint => ({
  ...checkpoint,
  read: async (part) => {
    const parameters = await checkpoint.read(part);
    if (!blocksOf(checkpoint.model).includes(part)) return parameters;
    const own = [...(await tensorsOf(part))].filter(([name]) => isRescaling(name));
    return rescaledParameters(parameters, new Map(own));
  },
});
