/** The tensors of an adapter set, a part at a time. */
import type { SetTensors } from '../formats/set.js';
import type { NamedTensors } from '../execution/tensors.js';
import type { Part } from '../models/model.js';

/** The float tensors of one part under their local names. The head's prefix is empty: it has none. */
export const floatsOf =
  (tensors: Pick<SetTensors, 'floats'>) =>
  async ({ prefix }: Pick<Part, 'prefix'>): Promise<NamedTensors> =>
    prefix === '' ? new Map() : tensors.floats(prefix);
