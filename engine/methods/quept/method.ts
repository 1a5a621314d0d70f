/** QuEPT (AAAI 2026) as a method: adapters learned block by block, shared between bit-widths in cascades (docs/METHOD.md). */
import { blocksOf } from '../../models/model.js';
import { UserError } from '../../errors.js';
import { list, integer } from '../../formats/json-fields.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { Mode } from '../../protocol/protocol.js';
import { rotateModel } from '../../transforms/rotation/checkpoint.js';
import type { Outline } from '../../transforms/transform.js';
import { refuseWeighting, weightingFacts, weightingOption, type Weighting } from '../loss-weights.js';
import type { CommonOptions, CommonSettings, Method } from '../method.js';
import {
  choice,
  onOrOff,
  realNumber,
  refuseOption,
  wholeNumber,
  wholeNumbers,
  type MethodOption,
  type MethodOptions,
} from '../options.js';
import { calibrate } from './calibrate.js';
import { elasticSettings, queptParts, queptTensors, readQueptConfig, storageOf } from './config.js';
import { calibrationCost } from './cost.js';
import { hasOwnStreams, mergeWeights, type MergeMode } from './merge.js';
import {
  bitGroups,
  checkOptions,
  DEFAULT_TEXT,
  DEFAULT_TEXT_ACTIVATIONS,
  DEFAULT_VIT,
  defaultGroups,
  MIN_BITS,
  PAPER_TEXT,
  PAPER_TEXT_ACTIVATIONS,
  PAPER_VIT,
  parseGroups,
  ranksOf,
  type QueptOptions,
} from './options.js';
import { elasticSource, queptForm } from './source.js';
import { storedReader, type Storage } from './stored.js';
import { widthsWithin } from '../widths.js';

/** What can be given beside what all methods have. */
export interface QueptGiven {
  readonly groups?: readonly (readonly number[])[];
  readonly rank?: number | readonly number[];
  readonly epochs?: number;
  readonly batch?: number;
  readonly loss?: 'mae' | 'mse';
  readonly merge?: MergeMode;
  readonly keep?: number;
  readonly clipStart?: 'paper' | 'search';
  readonly smooth?: 'on' | 'off';
  readonly guard?: 'on' | 'off';
  readonly rotation?: 'on' | 'off';
  readonly kvBits?: number;
  readonly rateLora?: number;
  readonly rateClip?: number;
  readonly rateScale?: number;
  readonly halfZeros?: number;
  readonly heldOut?: number;
  readonly adapterStart?: 'computed' | 'random';
  readonly storage?: Storage;
  readonly weighting?: Weighting;
}

export type QueptSettings = QueptOptions & Pick<CommonSettings, 'offered'>;

const groups: MethodOption<readonly (readonly number[])[]> = {
  value: 'list',
  help: 'bit groups from high to low, such as 7,8/5,6/4',
  standard: 'pairs from the top',
  field: list(list(integer(MIN_BITS, MAX_BITS), 1), 1),
  parse: parseGroups,
};

const options: MethodOptions<QueptGiven> = {
  groups,
  rank: wholeNumbers(
    {
      help: 'adapter directions that each group adds, or those it uses: 16,32,48',
      standard: '16; 16,32,64,112,208 for text',
    },
    0,
  ),
  epochs: wholeNumber({ help: 'passes over the samples, for every block', standard: '20; 15 for text' }, 1),
  batch: wholeNumber({ help: 'samples per step', standard: '32; 2 for text' }, 1),
  loss: choice({ help: 'reconstruction loss' }, 'mae', 'mse'),
  merge: choice(
    { help: "how the groups' outputs become the next block's input" },
    'selective',
    'uniform',
    'random',
    'off',
    'drawn',
  ),
  keep: realNumber({ help: "share of tokens that keep the highest group's feature" }, 0, 1),
  clipStart: choice({ help: 'start of the clip logits' }, 'paper', 'search'),
  smooth: onOrOff({ help: 'whether input channels are scaled before weights are quantized, as AWQ does' }),
  guard: onOrOff({ help: 'whether a bit-width that calibration did not improve keeps its start' }),
  rotation: onOrOff({
    help: 'whether a language model is rotated before weights and activations are quantized',
    standard: 'on',
  }),
  kvBits: wholeNumber(
    { help: 'bits of keys and values in the cache', standard: 'floating point' },
    MIN_BITS,
    MAX_BITS,
  ),
  rateLora: realNumber({ help: 'learning rate of the adapters' }, 0),
  rateClip: realNumber({ help: 'learning rate of the clip logits' }, 0),
  rateScale: realNumber({ help: 'learning rate of the activation scales' }, 0),
  halfZeros: wholeNumber(
    { help: 'highest bits whose zero points are halves', standard: '0; 3 for weights of text' },
    0,
    MAX_BITS,
  ),
  heldOut: realNumber(
    {
      help: 'share of the samples that nothing is trained on and that tells when to stop and what to keep',
      standard: '0; 0.1 for weights of text',
    },
    0,
    0.5,
  ),
  adapterStart: choice(
    {
      help: 'whether adapters of 4 bits and less are computed before they are trained',
      standard: 'random; computed for weights of text',
    },
    'computed',
    'random',
  ),
  storage: choice(
    { help: 'how the set stores adapters', standard: 'float32; int8 for weights of text' },
    'int8',
    'float32',
  ),
  weighting: weightingOption,
};

const modes = ({ model }: Outline): readonly Mode[] =>
  model.reads === 'tokens' ? ['weight-only', 'weight-activation'] : ['weight-activation'];

function recipesOf({ model }: Outline, mode: Mode): Record<'default' | 'paper', QueptOptions> {
  if (model.reads === 'pixels') return { default: DEFAULT_VIT, paper: PAPER_VIT };
  if (mode === 'weight-only') return { default: DEFAULT_TEXT, paper: PAPER_TEXT };
  // What cannot be rotated is calibrated as it is.
  const rotate = model.stem.roles !== undefined;
  return {
    default: { ...DEFAULT_TEXT_ACTIVATIONS, rotate },
    paper: { ...PAPER_TEXT_ACTIVATIONS, rotate },
  };
}

/** The recipe's settings with what was given in their place. */
function settings(outline: Outline, common: CommonOptions, given: QueptGiven): QueptSettings {
  const [usual] = modes(outline);
  const { mode = usual!, recipe: name = 'default' } = common;
  if (!modes(outline).includes(mode))
    throw new UserError(
      `The mode "${mode}" is for language models; pictures are calibrated in weight-activation.`,
    );
  const recipe = recipesOf(outline, mode)[name as 'default' | 'paper'];
  const own: QueptOptions = {
    ...recipe,
    ...grouping(recipe, common, given),
    ...overrides(given),
    ...(common.samples !== undefined && { samples: common.samples }),
    ...(common.seed !== undefined && { seed: common.seed }),
    computed: isComputed(recipe, given),
    rates: {
      lora: given.rateLora ?? recipe.rates.lora,
      clip: given.rateClip ?? recipe.rates.clip,
      scale: given.rateScale ?? recipe.rates.scale,
    },
  };
  refuseWithoutEffect(outline, own, given);
  refuseWeighting(outline, given);
  checkOptions(own);
  if (own.rotate) rotateModel(outline, { keys: own.kvBits <= MAX_BITS });
  return { ...own, offered: own.groups.flatMap(({ bits }) => bits).sort((a, b) => b - a) };
}

/** Adapters are computed where weights alone are quantized and every group has a stream of its own to compute them from. */
function isComputed({ mode, computed, merge }: QueptOptions, given: QueptGiven): boolean {
  if (mode === 'weight-only' && hasOwnStreams(given.merge ?? merge))
    return given.adapterStart === undefined ? computed : given.adapterStart === 'computed';
  refuseOption(
    given,
    'adapterStart',
    'adapters are computed for weights alone, with a stream for each bit group',
  );
  return false;
}

/** Bit groups with their ranks and merge weights. */
function grouping(recipe: QueptOptions, { bits }: CommonOptions, given: QueptGiven) {
  if (bits && given.groups) throw new UserError('Name either bit-widths or bit groups, not both.');
  const offered = bits && widthsWithin('QuEPT', bits, MIN_BITS);
  const groups =
    given.groups ?? (offered && defaultGroups(offered, recipe.apart)) ?? recipe.groups.map((g) => g.bits);
  // A group apart from the others needs more directions of its own.
  const { rank: asked = recipe.groups[0]!.rank } = given;
  const ranks = typeof asked === 'number' ? ranksOf(groups, asked, recipe.apart) : asked;
  if (ranks.length !== groups.length)
    throw new UserError(`${groups.length} bit groups need as many ranks, not ${ranks.length}.`);
  return { groups: bitGroups(groups, ranks), mergeWeights: mergeWeights(groups.length) };
}

function overrides(given: QueptGiven): Partial<QueptOptions> {
  const same = (
    [
      'epochs',
      'batch',
      'loss',
      'merge',
      'keep',
      'clipStart',
      'kvBits',
      'halfZeros',
      'heldOut',
      'storage',
      'weighting',
    ] as const
  ).flatMap((key) => (given[key] === undefined ? [] : [[key, given[key]]]));
  return {
    ...(Object.fromEntries(same) as Partial<QueptOptions>),
    ...(given.guard !== undefined && { guard: given.guard === 'on' }),
    ...(given.smooth !== undefined && { smooth: given.smooth === 'on' }),
    ...(given.rotation !== undefined && { rotate: given.rotation === 'on' }),
  };
}

function refuseWithoutEffect({ model }: Outline, own: QueptOptions, given: QueptGiven): void {
  if (!blocksOf(model).some(({ roles }) => roles?.attention))
    refuseOption(given, 'kvBits', `models of the family "${model.family}" keep no keys and values`);
  if (!model.stem.roles)
    refuseOption(given, 'rotation', `models of the family "${model.family}" cannot be rotated`);
  if (own.merge !== 'selective' && own.merge !== 'random')
    refuseOption(given, 'keep', `with --merge ${own.merge} no tokens are kept`);
  if (own.mode === 'weight-only') {
    refuseOption(given, 'rateScale', 'only weights are quantized');
    if (given.rotation === 'off') refuseOption(given, 'rotation', 'only weights are quantized');
  }
  if (own.activations === 'dynamic')
    refuseOption(given, 'rateScale', 'activations are quantized per token, without learned scales');
}

export const quept: Method<QueptGiven, QueptSettings> = {
  name: 'quept',
  words: {
    title: 'QuEPT',
    description: 'learns low-rank adapters block by block; one set runs at every bit-width',
  },
  options,
  recipes: ['default', 'paper'],
  modes,
  settings,
  cost: (outline, own, samples) =>
    calibrationCost(
      own.rotate ? rotateModel(outline, { keys: own.kvBits <= MAX_BITS }) : outline,
      own,
      samples,
    ),
  facts: (own) => [
    {
      label: 'bit groups',
      value: own.groups
        .map(({ bits, rank }) => `${[...bits].sort((a, b) => b - a).join(', ')} (rank ${rank})`)
        .join('; '),
    },
    { label: 'epochs', value: `${own.epochs}` },
    { label: 'batch', value: `${own.batch}` },
    ...weightingFacts(own),
  ],
  calibrate,
  tensors: queptTensors,
  parts: queptParts,
  form: (config, name, bits) => {
    const { groupSizeOf, hasHalves } = elasticSettings(config, readQueptConfig(config));
    const { in: columns, out } = config.layers[name]!;
    return queptForm({ in: columns, out, groupSize: groupSizeOf(name, bits) }, bits, hasHalves(bits));
  },
  open: (programs, checkpoint, config, tensors) => {
    const own = readQueptConfig(config);
    const tensorsOf = storedReader(storageOf(own), tensors);
    return elasticSource(programs, checkpoint, elasticSettings(config, own), tensorsOf);
  },
};
