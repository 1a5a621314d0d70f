/** The kind `sensitivity`: what each bit-width of each layer of an adapter set costs by itself. */
import { flag, integer, list, number, oneOf, optional, path, text } from '../../formats/json-fields.js';
import { SENSITIVITY_KINDS } from '../../formats/sensitivity.js';
import { followLinks } from '../../formats/output.js';
import { whileLocked } from '../../locks/lock.js';
import { discardMeasured, isUnfinished, sensitivityPath } from '../sensitivity-file.js';
import { bits, device, placement } from './fields.js';
import type { Kind } from './kind.js';

export const sensitivity: Kind<'sensitivity'> = {
  title: 'Measure sensitivity of',
  request: {
    ...placement,
    model: path(),
    adapters: path(),
    data: path(),
    out: optional(path()),
    samples: optional(integer(1)),
    length: optional(integer(2)),
    exact: optional(flag()),
    batch: optional(integer(1)),
    resume: optional(flag()),
    force: optional(flag()),
    cacheMemory: optional(integer(0)),
  },
  result: {
    out: text(),
    device: optional(device),
    layers: integer(0),
    bits: list(bits),
    samples: integer(0),
    kind: oneOf(...SENSITIVITY_KINDS),
    saved: number(0, 1),
    seconds: number(0),
    peakMemory: integer(0),
  },
  writes: sensitivityPath,
  sets: ({ adapters }) => [adapters],
  progress: {
    place: 'layer',
    made: async (request) => isUnfinished(await followLinks(sensitivityPath(request))),
    discard: async (request) => {
      const place = await followLinks(sensitivityPath(request));
      await whileLocked(place, () => discardMeasured(place));
    },
    resumed: (request) => ({ ...request, resume: true }),
  },
  run: async (request, hooks) => (await import('../runs/sensitivity.js')).runSensitivity(request, hooks),
};
