/** Rotation (`checkpoint.ts`) as a transform of adapter sets. */
import { UserError } from '../../errors.js';
import { flag, type Field } from '../../formats/json-fields.js';
import { expectString } from '../../formats/json.js';
import { show } from '../../formats/paths.js';
import { streamFeatures } from '../../models/model.js';
import type { Transform } from '../transform.js';
import { rotateCheckpoint, rotateModel } from './checkpoint.js';
import { signsFromText } from './signs.js';

export interface RotationConfig {
  /** Of the stream's rotation, as hex digits (`signs.ts`). */
  readonly signs: string;
  /** Whether queries and keys are turned too. */
  readonly keys: boolean;
}

const signs: Field<string> = (object, key, where) => {
  const found = expectString(object, key, where);
  if (!/^[0-9a-f]+$/.test(found))
    throw new UserError(`${where}: "${key}" must be hex digits, found ${show(found, 40)}.`);
  return found;
};

export const rotation: Transform<RotationConfig> = {
  name: 'rotation',
  fields: { signs, keys: flag() },
  tensors: () => new Map(),
  outline: (checkpoint, config) => ({ name: checkpoint.name, ...rotateModel(checkpoint, config) }),
  apply: (programs, checkpoint, { signs: text, keys }) =>
    rotateCheckpoint(programs, checkpoint, {
      signs: signsFromText(text, streamFeatures(checkpoint.model)),
      keys,
    }),
};
