/** What is trained of a layer, and how that of a window's layers lies in one flat tensor of each kind. */
import type { Random } from '../../data/random.js';
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { scaleRows } from '../../graph/quantizers.js';
import type { HostTensor } from '../../models/checkpoint.js';
import type { Layer, Trained } from './weight.js';

/** `adapters`: every layer's A, then B. `clips`: every layer's upper, then lower logits. */
export const KINDS = ['adapters', 'clips'] as const;
export type Kind = (typeof KINDS)[number];
const OF = { adapters: ['a', 'b'], clips: ['upper', 'lower'] } as const satisfies Record<
  Kind,
  readonly (keyof Trained<never>)[]
>;
type Shapes = readonly (readonly [number, number])[];

export interface StateLayout {
  readonly layers: readonly (Layer & { readonly name: string })[];
  /** 0 for no adapters. */
  readonly rank: number;
  readonly groupSize: number;
}

/** A whole range to begin with, but for 2 %. */
const WHOLE = 4;

const shapesOf = (layer: Layer, kind: Kind, { rank, groupSize }: StateLayout): Shapes => {
  const rows = scaleRows(layer, groupSize);
  return kind === 'clips'
    ? [
        [rows, 1],
        [rows, 1],
      ]
    : [
        [rank, layer.in],
        [layer.out, rank],
      ];
};

const sizeOf = ([a, b]: readonly [number, number]) => a * b;

/** The kinds that there are, with the number of elements. */
export function stateSizes(layout: StateLayout): Map<Kind, number> {
  const kinds = layout.rank > 0 ? KINDS : (['clips'] as const);
  return new Map(
    kinds.map((kind) => [
      kind,
      layout.layers.flatMap((layer) => shapesOf(layer, kind, layout).map(sizeOf)).reduce((a, b) => a + b, 0),
    ]),
  );
}

/** The pieces of the flat tensors, by layer. */
export function splitState(
  layout: StateLayout,
  state: ReadonlyMap<Kind, Value>,
): Map<string, Trained<Value>> {
  const pieces = layout.layers.map((): Partial<Record<keyof Trained<Value>, Value>> => ({}));
  for (const [kind, flat] of state) {
    const shapes = layout.layers.map((layer) => shapesOf(layer, kind, layout));
    const parts = op.split(flat, shapes.flat().map(sizeOf), 0);
    for (const [i, of] of shapes.entries())
      for (const [j, what] of OF[kind].entries()) pieces[i]![what] = op.reshape(parts[2 * i + j]!, of[j]!);
  }
  return new Map(layout.layers.map(({ name }, i) => [name, pieces[i] as Trained<Value>]));
}

/** What is trained of one layer. */
export type LayerState = Trained<HostTensor>;

/** W as it is, nearly its whole range: A uniform in ±1 / √in, as linear layers are begun, and B zeros. */
export function beginLayer(layer: Layer, layout: StateLayout, random: Random): LayerState {
  const [clip] = shapesOf(layer, 'clips', layout);
  const clips = () => ({ shape: clip!, data: new Float32Array(sizeOf(clip!)).fill(WHOLE) });
  if (layout.rank === 0) return { upper: clips(), lower: clips() };
  const [a, b] = shapesOf(layer, 'adapters', layout);
  const bound = 1 / Math.sqrt(layer.in);
  return {
    a: { shape: a!, data: Float32Array.from({ length: sizeOf(a!) }, () => bound * (2 * random.next() - 1)) },
    b: { shape: b!, data: new Float32Array(sizeOf(b!)) },
    upper: clips(),
    lower: clips(),
  };
}

/** One flat tensor of each kind. */
export function packState(
  layout: StateLayout,
  layers: ReadonlyMap<string, LayerState>,
): Map<Kind, Float32Array> {
  return new Map(
    [...stateSizes(layout)].map(([kind, size]) => {
      const flat = new Float32Array(size);
      let at = 0;
      for (const { name } of layout.layers)
        for (const what of OF[kind]) {
          const { data } = layers.get(name)![what]!;
          flat.set(data, at);
          at += data.length;
        }
      return [kind, flat];
    }),
  );
}

/** The inverse of `packState`. */
export function unpackState(
  layout: StateLayout,
  state: ReadonlyMap<Kind, Float32Array>,
): Map<string, LayerState> {
  const found = new Map<string, Partial<Record<keyof LayerState, HostTensor>>>(
    layout.layers.map(({ name }) => [name, {}]),
  );
  for (const [kind, flat] of state) {
    let at = 0;
    for (const layer of layout.layers)
      for (const [j, shape] of shapesOf(layer, kind, layout).entries()) {
        const data = flat.slice(at, (at += sizeOf(shape)));
        found.get(layer.name)![OF[kind][j]!] = { data, shape };
      }
  }
  return found as Map<string, LayerState>;
}
