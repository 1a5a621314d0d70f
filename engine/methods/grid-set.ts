/** Sets that hold, for each layer and bit-width, packed codes on a grid: kept block by block, written, opened. */
import type { QuantizedSource } from '../execution/source.js';
import type { ExpectedTensor, ExpectedTensors, SetTensors, WrittenTensor } from '../formats/set.js';
import { groupSizeOf, type SetConfig } from '../formats/set-config.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { LinearEntry, PartListing } from '../models/listing.js';
import { blocksOf, type Model, type Part } from '../models/model.js';
import type { SetPart } from '../protocol/protocol.js';
import { packCodes, unpackCodes } from '../quantized/packing.js';
import type { GridWeight } from '../quantized/weight.js';
import type { KeptTensor, ProgressFiles } from './progress.js';

/** Input columns that share a scale at a bit-width, -1 for whole rows: finer grids at few bits only. */
export const groupSizeAt = ({ groupSize }: { readonly groupSize: number }, bits: number): number =>
  bits <= 4 ? groupSize : -1;

/** What is kept of a layer at a bit-width: packed codes, a scale and a zero point per group of columns of a row. */
export function shapesOf(
  { in: columns, out }: Pick<LinearEntry, 'in' | 'out'>,
  bits: number,
  groupSize: number,
): ReadonlyMap<'codes' | 'scale' | 'zero', readonly [number, number]> {
  const groups = groupSize === -1 ? 1 : Math.ceil(columns / groupSize);
  return new Map([
    ['codes', [out, Math.ceil((columns * bits) / 8)]],
    ['scale', [out, groups]],
    ['zero', [out, groups]],
  ] as const);
}

/** A weight as a progress file keeps it. @param name of the layer in the file */
export function keptWeight(
  name: string,
  { codes, scale, zero, shape, bits }: GridWeight,
): (readonly [string, KeptTensor])[] {
  const packed = packCodes(codes, shape[1], bits);
  return [
    [`${name}.codes`, { shape: [shape[0], packed.length / shape[0]], data: packed }],
    [`${name}.scale`, { shape: [shape[0], scale.length / shape[0]], data: scale }],
    [`${name}.zero`, { shape: [shape[0], zero.length / shape[0]], data: zero }],
  ];
}

export type Saved = NonNullable<Awaited<ReturnType<ProgressFiles['load']>>>;

/** Reads what `keptWeight` made. */
export function readWeight(
  { tensors, bytes }: Saved,
  name: string,
  { in: columns, out }: Pick<LinearEntry, 'in' | 'out'>,
  { bits, groupSize }: Pick<GridWeight, 'bits' | 'groupSize'>,
): GridWeight {
  return {
    kind: 'grid',
    shape: [out, columns],
    bits,
    codes: unpackCodes(bytes.get(`${name}.codes`)!.data, columns, bits),
    groupSize,
    scale: tensors.get(`${name}.scale`)!.data,
    zero: tensors.get(`${name}.zero`)!.data,
  };
}

/**
 * Every tensor of the set; a progress file is read when the first of its tensors is asked for.
 * @param place the file that keeps a layer of a block at a bit-width, and the layer's name there
 */
export function writtenTensors(
  { model, listing }: { readonly model: Model; readonly listing: (part: Part) => PartListing },
  settings: { readonly offered: readonly number[]; readonly groupSize: number },
  progress: ProgressFiles,
  place: (bits: number, index: number, layer: string) => { readonly file: string; readonly name: string },
): Map<string, WrittenTensor> {
  let latest: { readonly file: string; readonly saved: Promise<Saved> } | undefined;
  const read = async (file: string, name: string) => {
    if (latest?.file !== file) latest = { file, saved: progress.load(file).then((saved) => saved!) };
    const { tensors, bytes } = await latest.saved;
    return (bytes.get(name) ?? tensors.get(name)!).data;
  };
  return new Map(
    settings.offered.flatMap((bits) =>
      blocksOf(model).flatMap((part, index) =>
        listing(part).linears.flatMap((layer) =>
          [...shapesOf(layer, bits, groupSizeAt(settings, bits))].map(([what, shape]) => {
            const { file, name } = place(bits, index, layer.name);
            const data = () => read(file, `${name}.${what}`);
            return [`${part.prefix}${layer.name}.${what}.${bits}`, { shape, data }] as const;
          }),
        ),
      ),
    ),
  );
}

/** What a set of this form holds. */
export const gridTensors = ({ layers, offered }: Pick<SetConfig, 'layers' | 'offered'>): ExpectedTensors =>
  new Map(
    Object.entries(layers).flatMap(([name, layer]) =>
      offered.flatMap((bits) =>
        [...shapesOf(layer, bits, groupSizeOf(layer, bits))].map(
          ([what, shape]): readonly [string, ExpectedTensor] => [
            `${name}.${what}.${bits}`,
            { shape, ...(what === 'codes' ? { dtype: 'U8' } : what === 'scale' ? { positive: true } : {}) },
          ],
        ),
      ),
    ),
  );

/** How many columns share a scale, for people. */
export const gridParts = ({ offered, layers }: Pick<SetConfig, 'layers' | 'offered'>): SetPart[] =>
  offered.map((bits) => {
    const sizes = new Set(Object.values(layers).map((layer) => groupSizeOf(layer, bits)));
    const value = [...sizes].map((size) => (size === -1 ? 'whole rows' : `${size} columns`)).join(', ');
    return { bits: [bits], facts: [{ label: 'scale per', value }] };
  });

export function openGrids(
  checkpoint: Checkpoint,
  { offered, layers }: Pick<SetConfig, 'layers' | 'offered'>,
  tensors: SetTensors,
): QuantizedSource {
  const numbers = async (name: string) => [...(await tensors.floats(name)).values()][0]!.data;
  return {
    offered: [...offered].sort((a, b) => a - b),
    checkpoint,
    cache: undefined,
    fixedBits: () => undefined,
    form: (name, bits) => {
      const { in: columns, out } = layers[name]!;
      return { kind: 'grid', in: columns, out, bits, groupSize: groupSizeOf(layers[name]!, bits) };
    },
    weight: async (name, bits) => {
      const { in: columns, out } = layers[name]!;
      return {
        kind: 'grid',
        shape: [out, columns],
        bits,
        codes: unpackCodes(await tensors.bytes(`${name}.codes.${bits}`), columns, bits),
        groupSize: groupSizeOf(layers[name]!, bits),
        scale: await numbers(`${name}.scale.${bits}`),
        zero: await numbers(`${name}.zero.${bits}`),
      };
    },
    activation: () => Promise.resolve(undefined),
  };
}
