/**
 * The direct method: weights computed, not trained, for all bit-widths from a few passes; at high effort those of 4 bits and
 * less are trained, too (docs/METHOD.md, section 13).
 */
import { UserError } from '../../errors.js';
import { integer, mapOf, oneOf, readFields, type Fields } from '../../formats/json-fields.js';
import type { ExpectedTensor } from '../../formats/set.js';
import { groupSizeOf, type SetConfig } from '../../formats/set-config.js';
import { MAX_BITS, MIN_BITS } from '../../plans/bits.js';
import type { Method } from '../method.js';
import { choice, wholeNumber, type MethodOptions } from '../options.js';
import { calibrate } from './calibrate.js';
import { directCost } from './cost.js';
import { keptName, STAGES, type Stage } from './kept.js';
import {
  EFFORTS,
  LOW_BITS,
  type DirectGiven,
  type DirectLayout,
  type DirectSettings,
  type Effort,
} from './settings.js';
import { formAt, readWeight, storedBits, tensorsAt } from './stored.js';

const GROUP_SIZE = 128;

const options: MethodOptions<DirectGiven> = {
  effort: choice(
    {
      help: 'one pass for all bit-widths; a stream each for 4 bits and less, whose errors are made up for; their weights trained, too',
      standard: 'default',
    },
    ...EFFORTS,
  ),
  groupSize: wholeNumber(
    {
      help: 'input columns that share a scale at 4 bits and below; 0 for whole rows',
      standard: `${GROUP_SIZE}`,
    },
    0,
  ),
  halfZeros: wholeNumber(
    { help: 'highest bit-width whose zero points may be halves; 0 for none', standard: `${LOW_BITS}` },
    0,
    LOW_BITS,
  ),
};

/** Windows of text (docs/METHOD.md, section 13). */
const SAMPLES = 128;
const USUAL_BITS = [8, 7, 6, 5, 4, 3, 2];

/** What a set's config says of the method. */
interface DirectConfig {
  readonly effort: Effort;
  /** Input columns that share a scale at 4 bits and below, -1 for whole rows. */
  readonly group_size: number;
  readonly half_zeros: number;
  /** How the weights of each bit-width were made. */
  readonly made: Readonly<Record<string, Stage>>;
}
const fields: Fields<DirectConfig> = {
  effort: oneOf(...EFFORTS),
  group_size: integer(-1),
  half_zeros: integer(0, LOW_BITS),
  made: mapOf(oneOf(...STAGES)),
};

function layoutOf({ offered, method: { name: _name, ...own } }: SetConfig): DirectLayout {
  const where = 'adapter_config.json: method';
  const { group_size, half_zeros } = readFields(own, fields, where, 'dropped');
  if (group_size === 0) throw new UserError(`${where}: "group_size" must be -1 or at least 1, found 0.`);
  const outside = offered.find((bits) => !Number.isInteger(bits));
  if (outside !== undefined)
    throw new UserError(`adapter_config.json: "offered" must hold whole bit-widths, found ${outside}.`);
  return { offered: [...offered].sort((a, b) => b - a), groupSize: group_size, halfZeros: half_zeros };
}

export const direct: Method<DirectGiven, DirectSettings> = {
  name: 'direct',
  words: {
    title: 'Direct',
    description: 'computes the weights of all bit-widths from a few passes, without training',
  },
  options,
  recipes: ['default'],
  modes: () => ['weight-only'],
  settings: (_outline, { mode = 'weight-only', bits, samples = SAMPLES, seed = 0 }, given) => {
    if (mode !== 'weight-only')
      throw new UserError(
        'The direct method quantizes weights alone; leave --mode out, or choose another method.',
      );
    const offered = [...new Set(bits ?? USUAL_BITS)].sort((a, b) => b - a);
    const outside = offered.find((b) => !Number.isInteger(b) || b < MIN_BITS || b > MAX_BITS);
    if (outside !== undefined)
      throw new UserError(
        `The direct method has bit-widths from ${MIN_BITS} to ${MAX_BITS}, not ${outside}.`,
      );
    const { effort = 'default', groupSize = GROUP_SIZE, halfZeros = LOW_BITS } = given;
    return { ...{ mode, offered, samples, batch: 32, seed, effort, halfZeros }, groupSize: groupSize || -1 };
  },
  cost: directCost,
  facts: ({ effort, groupSize }) => [
    { label: 'effort', value: effort },
    {
      label: 'group size',
      value: groupSize === -1 ? 'whole rows' : `${groupSize} at ${LOW_BITS} bits and below`,
    },
  ],
  calibrate,
  tensors: (config) => {
    const layout = layoutOf(config);
    return new Map(
      Object.entries(config.layers).flatMap(([name, layer]) =>
        storedBits(layout).flatMap((bits) =>
          [...tensorsAt(layout, layer, bits)].map(([what, expected]): readonly [string, ExpectedTensor] => [
            keptName(name, what, bits),
            expected,
          ]),
        ),
      ),
    );
  },
  parts: ({ offered, layers }) =>
    offered.map((bits) => {
      const sizes = new Set(Object.values(layers).map((layer) => groupSizeOf(layer, bits)));
      const value = [...sizes].map((size) => (size === -1 ? 'whole rows' : `${size} columns`)).join(', ');
      return { bits: [bits], facts: [{ label: 'scale per', value }] };
    }),
  form: (config, name, bits) => formAt(layoutOf(config), config.layers[name]!, bits),
  open: (_programs, checkpoint, config, tensors) => {
    const layout = layoutOf(config);
    const numbers = async (name: string) => [...(await tensors.floats(name)).values()][0]!.data;
    return {
      offered: [...layout.offered].reverse(),
      checkpoint,
      cache: undefined,
      fixedBits: () => undefined,
      form: (name, bits) => formAt(layout, config.layers[name]!, bits),
      weight: (name, bits) =>
        readWeight(layout, config.layers[name]!, bits, (what, width) =>
          what === 'scale'
            ? numbers(keptName(name, what, width))
            : tensors.bytes(keptName(name, what, width)),
        ),
      activation: () => Promise.resolve(undefined),
    };
  },
  baselines: (_outline, sets) => {
    const samples = sets.find(({ calibration }) => calibration)?.calibration?.samples ?? SAMPLES;
    return [{ label: 'direct', common: { mode: 'weight-only', samples }, given: { effort: 'quick' } }];
  },
};
