/**
 * The direct method: weights computed, not trained, for all bit-widths from a few passes; at high effort those of 4 bits and
 * less are trained, too (docs/METHOD.md, section 13).
 */
import { UserError } from '../../errors.js';
import { fixedBits } from '../../execution/source.js';
import {
  integer,
  list,
  mapOf,
  oneOf,
  optional,
  readFields,
  text,
  type Fields,
} from '../../formats/json-fields.js';
import type { ExpectedTensor } from '../../formats/set.js';
import { groupSizeOf, type SetConfig } from '../../formats/set-config.js';
import { blocksOf } from '../../models/model.js';
import { MAX_BITS, MIN_BITS } from '../../plans/bits.js';
import type { Mode } from '../../protocol/protocol.js';
import { rotateModel } from '../../transforms/rotation/checkpoint.js';
import type { Outline } from '../../transforms/transform.js';
import { expectedGrids, gridName } from '../activation-grids.js';
import {
  refuseWeighting,
  weightingFacts,
  weightingOption,
  WEIGHTINGS,
  type Weighting,
} from '../loss-weights.js';
import type { CommonOptions, Method } from '../method.js';
import { choice, onOrOff, refuseOption, wholeNumber, type MethodOptions } from '../options.js';
import { calibrate } from './calibrate.js';
import { directCost } from './cost.js';
import { keptName, STAGES, type Stage } from './kept.js';
import {
  ACTIVATIONS,
  EFFORTS,
  LOW_BITS,
  type Activations,
  type DirectGiven,
  type DirectLayout,
  type DirectSettings,
  type Effort,
} from './settings.js';
import { besideBase, formAt, readWeight, storedBits, tensorsAt } from './stored.js';
import { widthsWithin } from '../widths.js';

const GROUP_SIZE = 128;
/** Below it nothing is left of an activation but its sign. */
const MIN_ACTIVATION_BITS = 2;
/** Of embedding and head where they are quantized: pictures, weights and activations (docs/METHOD.md, section 3). */
const FIXED_BITS = 8;

const options: MethodOptions<DirectGiven> = {
  effort: choice(
    {
      help: 'one pass for all bit-widths; a stream each for 4 bits and less, whose errors are made up for; their weights trained, block by block, or all blocks at once',
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
  weighting: weightingOption,
  rotation: onOrOff({
    help: 'whether a language model is rotated before weights and activations are quantized',
    standard: 'on',
  }),
  kvBits: wholeNumber(
    { help: 'bits of keys and values in the cache', standard: 'floating point' },
    2,
    MAX_BITS,
  ),
};

/** Windows of text, and pictures (docs/METHOD.md, section 13). */
const SAMPLES = { tokens: 128, pixels: 1024 } as const;
/** Where all blocks are trained at once. */
const MANY_SAMPLES = { tokens: 2048, pixels: 2048 } as const;
const USUAL_BITS = { 'weight-only': [8, 7, 6, 5, 4, 3, 2], 'weight-activation': [8, 7, 6, 5, 4] } as const;

/** What a set's config says of the method. */
interface DirectConfig {
  readonly effort: Effort;
  /** Input columns that share a scale at 4 bits and below, -1 for whole rows. */
  readonly group_size: number;
  readonly half_zeros: number;
  /** How the weights of each bit-width were made. */
  readonly made: Readonly<Record<string, Stage>>;
  /** Absent where it is plain. */
  readonly weighting?: Weighting;
  /** How activations are quantized, and full names of operands of attention products that are; both with weights alone absent. */
  readonly activations?: Activations;
  readonly products?: readonly string[];
}
const fields: Fields<DirectConfig> = {
  effort: oneOf(...EFFORTS),
  group_size: integer(-1),
  half_zeros: integer(0, LOW_BITS),
  made: mapOf(oneOf(...STAGES)),
  weighting: optional(oneOf(...WEIGHTINGS)),
  activations: optional(oneOf(...ACTIVATIONS)),
  products: optional(list(text())),
};

const where = 'adapter_config.json: method';
const readConfig = ({ method: { name: _name, ...own } }: SetConfig): DirectConfig =>
  readFields(own, fields, where, 'dropped');

function layoutOf(config: SetConfig): DirectLayout {
  const { offered } = config;
  const { group_size, half_zeros } = readConfig(config);
  if (group_size === 0) throw new UserError(`${where}: "group_size" must be -1 or at least 1, found 0.`);
  const outside = offered.find((bits) => !Number.isInteger(bits));
  if (outside !== undefined)
    throw new UserError(`adapter_config.json: "offered" must hold whole bit-widths, found ${outside}.`);
  return { offered: [...offered].sort((a, b) => b - a), groupSize: group_size, halfZeros: half_zeros };
}

const readsTokens = ({ model }: Pick<Outline, 'model'>) => model.reads === 'tokens';
const modes = (outline: Outline): readonly Mode[] =>
  readsTokens(outline) ? ['weight-only', 'weight-activation'] : ['weight-activation', 'weight-only'];

function settings(outline: Outline, common: CommonOptions, given: Partial<DirectGiven>): DirectSettings {
  const { mode = modes(outline)[0]!, bits = USUAL_BITS[mode], seed = 0 } = common;
  const {
    effort = 'default',
    groupSize = GROUP_SIZE,
    halfZeros = LOW_BITS,
    kvBits = 16,
    weighting = 'plain',
  } = given;
  const isWeightOnly = mode === 'weight-only';
  const isText = readsTokens(outline);
  refuse(outline, isWeightOnly, given);
  refuseWeighting(outline, given);
  const offered = isWeightOnly
    ? widthsWithin('The direct method', bits, MIN_BITS)
    : widthsWithin('The direct method', bits, MIN_ACTIVATION_BITS, ' for weights and activations');
  const canRotate = isText && outline.model.stem.roles !== undefined;
  const rotate = !isWeightOnly && canRotate && given.rotation !== 'off';
  if (rotate) rotateModel(outline, { keys: kvBits <= MAX_BITS });
  const fixed = isWeightOnly || isText ? 16 : FIXED_BITS;
  return {
    mode,
    offered,
    samples: common.samples ?? (effort === 'best' ? MANY_SAMPLES : SAMPLES)[outline.model.reads],
    batch: 32,
    seed,
    effort,
    halfZeros,
    weighting,
    groupSize: isWeightOnly ? groupSize || -1 : -1,
    activations: isWeightOnly ? 'none' : isText ? 'token' : 'static',
    rotate,
    kvBits,
    embeddingBits: fixed,
    headBits: fixed,
  };
}

function refuse({ model }: Outline, isWeightOnly: boolean, given: Partial<DirectGiven>): void {
  if (isWeightOnly) {
    refuseOption(given, 'rotation', 'only weights are quantized');
    refuseOption(given, 'kvBits', 'only weights are quantized');
  } else {
    refuseOption(given, 'groupSize', 'with activations, whole rows share a scale');
    if (given.effort === 'high' || given.effort === 'best')
      throw new UserError(
        `With --effort ${given.effort} the direct method trains weights alone: leave --effort out, or activations.`,
      );
  }
  if (given.effort === 'best' && model.towers?.length)
    throw new UserError(
      'With --effort best the direct method trains models of one chain alone: take --effort high.',
    );
  if (!model.stem.roles)
    refuseOption(given, 'rotation', `models of the family "${model.family}" cannot be rotated`);
  if (!blocksOf(model).some(({ roles }) => roles?.attention))
    refuseOption(given, 'kvBits', `models of the family "${model.family}" keep no keys and values`);
}

export const direct: Method<DirectGiven, DirectSettings> = {
  name: 'direct',
  words: {
    title: 'Direct',
    description: 'computes the weights of all bit-widths from a few passes, without training',
  },
  options,
  recipes: ['default'],
  extremes: [{ bits: [2, 1], given: { effort: 'best' } }],
  modes,
  settings,
  cost: directCost,
  facts: ({ effort, groupSize, weighting, rotate }) => [
    { label: 'effort', value: effort },
    {
      label: 'group size',
      value: groupSize === -1 ? 'whole rows' : `${groupSize} at ${LOW_BITS} bits and below`,
    },
    ...weightingFacts({ weighting }),
    ...(rotate ? [{ label: 'rotation', value: 'on' }] : []),
  ],
  calibrate,
  tensors: (config) => {
    const layout = layoutOf(config);
    const { activations, products = [] } = readConfig(config);
    const weights = Object.entries(config.layers).flatMap(([name, layer]) =>
      storedBits(layout).flatMap((bits) =>
        [...tensorsAt(layout, layer, bits)].map(([what, expected]): readonly [string, ExpectedTensor] => [
          keptName(name, what, bits),
          expected,
        ]),
      ),
    );
    return new Map([...weights, ...(activations === 'static' ? expectedGrids(config, products) : [])]);
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
    const { activations = 'none' } = readConfig(config);
    const numbers = async (name: string) => [...(await tensors.floats(name)).values()][0]!.data;
    return {
      offered: [...layout.offered].reverse(),
      checkpoint,
      cache: config.kv_bits,
      fixedBits: fixedBits(checkpoint.model, config.embedding_bits, config.head_bits),
      form: (name, bits) => formAt(layout, config.layers[name]!, bits),
      beside: (bits) => besideBase(layout, bits),
      weight: (name, bits) =>
        readWeight(layout, config.layers[name]!, bits, (what, width) =>
          what === 'scale'
            ? numbers(keptName(name, what, width))
            : tensors.bytes(keptName(name, what, width)),
        ),
      activation: async (owner, bits) => {
        if (activations !== 'static') return activations === 'token' ? 'token' : undefined;
        const [scale] = await numbers(gridName(owner, 'act_scale', bits));
        const [zero] = await numbers(gridName(owner, 'act_zero', bits));
        return { scale: scale!, zero: zero! };
      },
    };
  },
  // As the sets are, where all of them quantize activations.
  baselines: ({ model }, sets) => {
    const samples = sets.find(({ calibration }) => calibration)?.calibration?.samples ?? SAMPLES[model.reads];
    const isBoth = sets.length > 0 && sets.every(({ mode }) => mode === 'weight-activation');
    const kvBits = isBoth ? sets.find(({ kv_bits }) => kv_bits !== undefined)?.kv_bits : undefined;
    const mode = isBoth ? 'weight-activation' : 'weight-only';
    const given: DirectGiven = { effort: 'quick', ...(kvBits !== undefined && { kvBits }) };
    return [{ label: 'direct', common: { mode, samples }, given }];
  },
};
