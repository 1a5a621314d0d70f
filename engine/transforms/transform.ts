/** The same function written with other weights: a checkpoint in, a checkpoint of the same function out. */
import type { NamedTensors } from '../execution/tensors.js';
import type { Fields } from '../formats/json-fields.js';
import type { ExpectedTensors } from '../formats/set.js';
import type { SetLayer } from '../formats/set-config.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';

/** Model and listings of a checkpoint, without its weights. */
export type Outline = Pick<Checkpoint, 'name' | 'model' | 'listing'>;

/** The tensors that an adapter set keeps of a part, by local name. */
export type TensorsOf = (part: Part) => Promise<NamedTensors>;

/** @typeParam C what the head of an adapter set keeps of it beside its name */
export interface Transform<C extends object> {
  readonly name: string;
  readonly fields: Fields<C>;
  /** The tensors that it may or must have in a set with these layers. */
  tensors(config: C, layers: Readonly<Record<string, SetLayer>>): ExpectedTensors;
  /** Model and listings after it. Throws UserError for a model that it does not fit. */
  outline(checkpoint: Outline, config: C): Outline;
  /** Throws as `outline` does. */
  apply(programs: Programs, checkpoint: Checkpoint, config: C, tensorsOf: TensorsOf): Checkpoint;
}
