/** What training changes of a block, and how it lies in the flat tensors of a step (`adapters.ts`). */
import type { NamedTensors } from '../../execution/tensors.js';
import { sizeOf } from '../../graph/ir.js';
import { scaleRows } from '../../graph/quantizers.js';
import { clipSize, loraSize, type AdapterLayout } from './adapters.js';

/** Adapters, clip logits and activation scales: the kind decides the learning rate. */
export type StateKind = 'lora' | 'clip' | 'scale';

/** A tensor that a step replaces. */
export interface StateTensor {
  readonly kind: StateKind;
  /** The bit group that it belongs to; adapters belong to all. */
  readonly group?: number;
  readonly name: string;
  readonly shape: readonly number[];
}

/** The tensors that a step replaces; each has two moments, `<name>.m` and `<name>.v`. */
export function stateTensors(layout: AdapterLayout): StateTensor[] {
  const { groups, quantizers, rank } = layout;
  return [
    ...(rank > 0 ? [{ kind: 'lora', name: 'lora', shape: [loraSize(layout)] } as const] : []),
    ...groups.flatMap(({ bits }, group): StateTensor[] => [
      { kind: 'clip', group, name: `clip.${group}`, shape: [bits.length, clipSize(layout, group)] },
      ...(quantizers.length > 0
        ? [{ kind: 'scale', group, name: `scale.${group}`, shape: [bits.length, quantizers.length] } as const]
        : []),
    ]),
  ];
}

/** A tensor of a set that training changes. */
export interface LearnedTensor {
  readonly kind: StateKind;
  /** The bit-width that it is for; an adapter serves all. */
  readonly bits?: number;
  readonly name: string;
  readonly shape: readonly number[];
  /** The state tensor that it is a piece of. */
  readonly flat: string;
}

/** What training changes of a block: the pieces of every state tensor in their order. */
export function learnedTensors(layout: AdapterLayout): LearnedTensor[] {
  const { layers, groups, groupSizes, quantizers, rank } = layout;
  const adapters = layers.flatMap(({ name, in: columns, out }): LearnedTensor[] => [
    { kind: 'lora', flat: 'lora', name: `${name}.lora_A`, shape: [rank, columns] },
    { kind: 'lora', flat: 'lora', name: `${name}.lora_B`, shape: [out, rank] },
  ]);
  const ofWidth = (g: number, bits: number): LearnedTensor[] => [
    ...layers.flatMap((layer) =>
      ['clip_upper', 'clip_lower'].map((side): LearnedTensor => ({
        kind: 'clip',
        bits,
        flat: `clip.${g}`,
        name: `${layer.name}.${side}.${bits}`,
        shape: [scaleRows(layer, groupSizes[g]!), 1],
      })),
    ),
    ...quantizers.map((name): LearnedTensor => ({
      kind: 'scale',
      bits,
      flat: `scale.${g}`,
      name: `${name}.act_scale.${bits}`,
      shape: [1],
    })),
  ];
  return [
    ...(rank > 0 ? adapters : []),
    ...groups.flatMap(({ bits }, g) => bits.flatMap((b) => ofWidth(g, b))),
  ];
}

/** A step's state tensors by name, without their moments. */
export type FlatState = Map<string, Float32Array>;

/** Flat state from named tensors; every name of the layout must be there. */
export function packState(layout: AdapterLayout, tensors: NamedTensors): FlatState {
  const flat: FlatState = new Map(
    stateTensors(layout).map(({ name, shape }) => [name, new Float32Array(sizeOf(shape))]),
  );
  const at = new Map<string, number>();
  for (const piece of learnedTensors(layout)) {
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
  for (const { flat: source, name, shape } of learnedTensors(layout)) {
    const offset = at.get(source) ?? 0;
    const length = sizeOf(shape);
    tensors.set(name, { shape, data: flat.get(source)!.slice(offset, offset + length) });
    at.set(source, offset + length);
  }
  return tensors;
}

/** Of the starting values those that training replaces at one bit-width each; adapters start without effect. */
export const startedTensors = (layout: AdapterLayout, start: NamedTensors): NamedTensors =>
  new Map(
    learnedTensors(layout).flatMap(({ bits, name }) =>
      bits === undefined ? [] : [[name, start.get(name)!] as const],
    ),
  );
