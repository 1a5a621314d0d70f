/** Sets that hold, for each layer and bit-width, a weight as data: kept block by block, written, opened. */
import type { QuantizedSource } from '../execution/source.js';
import type { ExpectedTensors, SetTensors, WrittenTensor } from '../formats/set.js';
import { groupSizeOf, type SetConfig } from '../formats/set-config.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { PartListing } from '../models/listing.js';
import { blocksOf, type Model, type Part } from '../models/model.js';
import type { SetPart } from '../protocol/protocol.js';
import type { WeightForm } from '../quantized/form.js';
import type { QuantizedWeight } from '../quantized/weight.js';
import type { Kept, KeptTensor, ProgressFiles } from './progress.js';
import { readWeight, storedTensors, storeWeight } from './stored-weight.js';

/** Input columns that share a scale at a bit-width, -1 for whole rows: finer grids at few bits only. */
export const groupSizeAt = ({ groupSize }: { readonly groupSize: number }, bits: number): number =>
  bits <= 4 ? groupSize : -1;

/** The form of a layer, by its full name, at an offered bit-width. */
export type FormAt = (layer: string, bits: number) => WeightForm;

/** Layers of a set on grids of so many bits and their group sizes, with nothing else. */
export const gridForms =
  ({ layers }: Pick<SetConfig, 'layers'>): FormAt =>
  (name, bits) => {
    const { in: columns, out } = layers[name]!;
    return { kind: 'grid', in: columns, out, bits, groupSize: groupSizeOf(layers[name]!, bits) };
  };

/** A weight as a progress file keeps it. @param name of the layer in the file */
export const keptWeight = (name: string, weight: QuantizedWeight): (readonly [string, KeptTensor])[] =>
  [...storeWeight(weight)].map(([what, tensor]) => [`${name}.${what}`, tensor]);

/** Reads what `keptWeight` made. */
export const readKept = (
  { tensors, bytes }: Kept,
  name: string,
  form: WeightForm,
): Promise<QuantizedWeight> =>
  readWeight(form, name, (what) => {
    const key = `${name}.${what}`;
    return Promise.resolve((bytes.get(key) ?? tensors.get(key)!).data);
  });

/**
 * Every tensor of the set; a progress file is read when the first of its tensors is asked for.
 * @param place the file that keeps a layer of a block at a bit-width, and the layer's name there
 */
export function writtenTensors(
  { model, listing }: { readonly model: Model; readonly listing: (part: Part) => PartListing },
  offered: readonly number[],
  formAt: FormAt,
  progress: ProgressFiles,
  place: (bits: number, index: number, layer: string) => { readonly file: string; readonly name: string },
): Map<string, WrittenTensor> {
  let latest: { readonly file: string; readonly saved: Promise<Kept> } | undefined;
  const read = async (file: string, name: string) => {
    if (latest?.file !== file) latest = { file, saved: progress.load(file).then((saved) => saved!) };
    const { tensors, bytes } = await latest.saved;
    return (bytes.get(name) ?? tensors.get(name)!).data;
  };
  return new Map(
    offered.flatMap((bits) =>
      blocksOf(model).flatMap((part, index) =>
        listing(part).linears.flatMap((layer) => {
          const full = part.prefix + layer.name;
          const { file, name } = place(bits, index, layer.name);
          return [...storedTensors(formAt(full, bits))].map(([what, { shape }]) => {
            const data = () => read(file, `${name}.${what}`);
            return [`${full}.${what}.${bits}`, { shape, data }] as const;
          });
        }),
      ),
    ),
  );
}

/** What a set holds of its layers. */
export const weightTensors = (
  { layers, offered }: Pick<SetConfig, 'layers' | 'offered'>,
  formAt: FormAt,
): ExpectedTensors =>
  new Map(
    Object.keys(layers).flatMap((name) =>
      offered.flatMap((bits) =>
        [...storedTensors(formAt(name, bits))].map(
          ([what, expected]) => [`${name}.${what}.${bits}`, expected] as const,
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

export function openWeights(
  checkpoint: Checkpoint,
  { offered }: Pick<SetConfig, 'offered'>,
  tensors: SetTensors,
  formAt: FormAt,
): QuantizedSource {
  return {
    offered: [...offered].sort((a, b) => a - b),
    checkpoint,
    cache: undefined,
    fixedBits: () => undefined,
    form: formAt,
    weight: (name, bits) => {
      const form = formAt(name, bits);
      const expected = storedTensors(form);
      return readWeight(form, name, async (what) => {
        const key = `${name}.${what}.${bits}`;
        if (expected.get(what)!.dtype === 'U8') return tensors.bytes(key);
        return (await tensors.floats(key)).get('')!.data;
      });
    },
    activation: () => Promise.resolve(undefined),
  };
}
