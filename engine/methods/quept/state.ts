import type { NamedTensors } from '../../execution/tensors.js';
import { scaleRows } from '../../graph/quantizers.js';
/** A block's learned state in host memory: named tensors in, the flat tensors of a step out, and back. */
import { clipSize, loraSize, type AdapterLayout } from './adapters.js';
/** A step's state tensors (`lora`, `clip.g`, `scale.g`) without their moments. */
export type FlatState = Map<string, Float32Array>;

/** Walks the pieces of every flat tensor in their order: the one statement of the layout on the host's side. */
function* pieces(layout: AdapterLayout): Generator<{ flat: string; name: string; shape: readonly number[] }> {
  if (layout.rank > 0)
    for (const layer of layout.layers) {
      yield { flat: 'lora', name: `${layer.name}.lora_A`, shape: [layout.rank, layer.in] };
      yield { flat: 'lora', name: `${layer.name}.lora_B`, shape: [layer.out, layout.rank] };
    }
  for (const [g, group] of layout.groups.entries())
    for (const bits of group.bits) {
      for (const layer of layout.layers) {
        const shape = [scaleRows(layer, layout.groupSizes[g]!), 1];
        yield { flat: `clip.${g}`, name: `${layer.name}.clip_upper.${bits}`, shape };
        yield { flat: `clip.${g}`, name: `${layer.name}.clip_lower.${bits}`, shape };
      }
      for (const name of layout.quantizers)
        yield { flat: `scale.${g}`, name: `${name}.act_scale.${bits}`, shape: [1] };
    }
}

const sizes = (layout: AdapterLayout) => {
  const all = new Map<string, number>();
  if (layout.rank > 0) all.set('lora', loraSize(layout));
  for (const [g, { bits }] of layout.groups.entries()) {
    all.set(`clip.${g}`, bits.length * clipSize(layout, g));
    if (layout.quantizers.length > 0) all.set(`scale.${g}`, bits.length * layout.quantizers.length);
  }
  return all;
};

/** Flat state from named tensors; every name of the layout must be there. */
export function packState(layout: AdapterLayout, tensors: NamedTensors): FlatState {
  const flat: FlatState = new Map([...sizes(layout)].map(([name, size]) => [name, new Float32Array(size)]));
  const at = new Map<string, number>();
  for (const piece of pieces(layout)) {
    const { data } = tensors.get(piece.name)!;
    const offset = at.get(piece.flat) ?? 0;
    flat.get(piece.flat)!.set(data, offset);
    at.set(piece.flat, offset + data.length);
  }
  return flat;
}

/** Named tensors from flat state; the inverse of `packState`. */
export function unpackState(layout: AdapterLayout, flat: FlatState): NamedTensors {
  const tensors: NamedTensors = new Map();
  const at = new Map<string, number>();
  for (const { flat: source, name, shape } of pieces(layout)) {
    const offset = at.get(source) ?? 0;
    const length = shape.reduce((a, b) => a * b, 1);
    tensors.set(name, { shape, data: flat.get(source)!.slice(offset, offset + length) });
    at.set(source, offset + length);
  }
  return tensors;
}
