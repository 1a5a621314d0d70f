/** Adapter sets of any method: written, opened, and what lists and sizes need of them without opening. */
import { UserError } from '../errors.js';
import { fixedBits, type QuantizedSource } from '../execution/source.js';
import {
  openSetTensors,
  readSetConfig,
  writeSetFiles,
  type ExpectedTensors,
  type SetTensors,
  type WrittenTensor,
} from '../formats/set.js';
import { fingerprintsOf, groupSizeOf, type SetConfig } from '../formats/set-config.js';
import { show } from '../formats/paths.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { blocksOf } from '../models/model.js';
import type { WeightForm } from '../quantized/form.js';
import type { SizedModel } from '../quantized/size.js';
import type { Programs } from '../runtime/programs.js';
import { applyTransforms, transformedOutline, transformTensors } from '../transforms/registry.js';
import type { Outline } from '../transforms/transform.js';
import { readerNamed } from './registry.js';
import { floatsOf } from './tensors-of.js';

/** An adapter set on disk, its tensors read as they are asked for. */
export interface AdapterSet {
  readonly config: SetConfig;
  readonly tensors: SetTensors;
  close(): Promise<void>;
}

/** Everything that a set with this config must or may hold. Throws UserError for a config that is not whole. */
export function expectedTensors(config: SetConfig): ExpectedTensors {
  const expected = new Map(transformTensors(config));
  for (const [name, rule] of readerNamed(config.method.name).tensors(config)) {
    if (expected.has(name))
      throw new UserError(`adapter_config.json: two parts of the config claim ${show(name)}.`);
    expected.set(name, rule);
  }
  return expected;
}

/** As `writeSetFiles`. */
export const writeAdapterSet = (
  folder: string,
  config: SetConfig,
  tensors: ReadonlyMap<string, WrittenTensor>,
): Promise<void> => writeSetFiles(folder, config, expectedTensors(config), tensors);

/**
 * Opens an adapter set. Throws UserError for a config or a tensor that is missing, unknown or of the wrong shape, and
 * for tensors that are not the ones the config was written with.
 */
export async function openAdapterSet(folder: string): Promise<AdapterSet> {
  const config = await readSetConfig(folder);
  const tensors = await openSetTensors(folder, expectedTensors(config));
  return { config, tensors, close: () => tensors.close() };
}

/** The set as a source for a checkpoint that it was made for, which may be built for texts of any length. */
export function openSource(
  programs: Programs,
  checkpoint: Checkpoint,
  { config, tensors }: Pick<AdapterSet, 'config' | 'tensors'>,
): QuantizedSource {
  const tensorsOf = floatsOf(tensors);
  const transformed = applyTransforms(programs, checkpoint, config.transforms, tensorsOf);
  return readerNamed(config.method.name).open(programs, transformed, config, tensors);
}

/** Throws UserError unless the adapter set was made for this checkpoint as it is now. */
export async function requireMatch(
  checkpoint: Checkpoint,
  { config }: Pick<AdapterSet, 'config'>,
  where: string,
): Promise<void> {
  if (!fingerprintsOf(config).includes(await checkpoint.fingerprint()))
    throw new UserError(
      `${where} was calibrated for another model, or ${checkpoint.name} has changed since; calibrate again.`,
    );
}

/** What a layer of a set takes at an offered bit-width. */
export function setForm(config: SetConfig, layer: string, bits: number): WeightForm {
  const method = readerNamed(config.method.name);
  if (method.form) return method.form(config, layer, bits);
  const own = config.layers[layer]!;
  return { kind: 'grid', in: own.in, out: own.out, bits, groupSize: groupSizeOf(own, bits) };
}

/** What the sizes of a model with a set depend on; without one, layers are rounded by whole rows. */
export function sizedModel(outline: Outline, config?: SetConfig): SizedModel {
  const transformed = transformedOutline(outline, config?.transforms ?? []);
  const { model, listing } = transformed;
  const linears = new Map(
    blocksOf(model).flatMap((part) => listing(part).linears.map((l) => [part.prefix + l.name, l] as const)),
  );
  return {
    checkpoint: transformed,
    fixedBits: fixedBits(model, config?.embedding_bits ?? 16, config?.head_bits ?? 16),
    form: (layer, width) => {
      if (config?.layers[layer]) return setForm(config, layer, width);
      const { in: columns, out } = linears.get(layer)!;
      return { kind: 'grid', in: columns, out, bits: width, groupSize: -1 };
    },
  };
}
