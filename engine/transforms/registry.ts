/** All transforms, by the names that adapter sets know them by, and sets' lists of them. */
import { UserError } from '../errors.js';
import { readFields } from '../formats/json-fields.js';
import { show } from '../formats/paths.js';
import type { ExpectedTensors } from '../formats/set.js';
import type { Named, SetConfig } from '../formats/set-config.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Programs } from '../runtime/programs.js';
import { rescaling } from './rescaling.js';
import { rotation } from './rotation/transform.js';
import type { Outline, TensorsOf, Transform } from './transform.js';

const all = [rotation, rescaling] as unknown as readonly Transform<object>[];

function find({ name, ...config }: Named): {
  readonly transform: Transform<object>;
  readonly config: object;
} {
  const where = `transform ${show(name, 40)}`;
  const transform = all.find((other) => other.name === name);
  if (!transform)
    throw new UserError(`There is no ${where}; a newer version of Elastic Precision may have it.`);
  return { transform, config: readFields(config, transform.fields, where, 'dropped') };
}

/** The tensors that the transforms of a set have. Throws UserError for one that is not known or not whole. */
export function transformTensors({ transforms, layers }: SetConfig): ExpectedTensors {
  const expected = transforms.map(find).map(({ transform, config }) => transform.tensors(config, layers));
  return new Map(expected.flatMap((tensors) => [...tensors]));
}

/** Model and listings after the transforms, in their order. */
export const transformedOutline = (checkpoint: Outline, transforms: readonly Named[]): Outline =>
  transforms
    .map(find)
    .reduce((before, { transform, config }) => transform.outline(before, config), checkpoint);

/** The checkpoint after the transforms, in their order. @param tensorsOf what the set keeps of a part */
export const applyTransforms = (
  programs: Programs,
  checkpoint: Checkpoint,
  transforms: readonly Named[],
  tensorsOf: TensorsOf,
): Checkpoint =>
  transforms
    .map(find)
    .reduce(
      (before, { transform, config }) => transform.apply(programs, before, config, tensorsOf),
      checkpoint,
    );
