/**
 * Rounding to nearest as a method: whole weight ranges, percentile ranges of activations, nothing learned
 * (docs/METHOD.md, section 7).
 */
import { roundedCodes, roundedWeights } from '../../execution/rounded.js';
import { fixedBits, type ActivationForm, type QuantizedSource } from '../../execution/source.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { list, oneOf, readFields, text, type Fields } from '../../formats/json-fields.js';
import { groupSizeOf, type SetConfig } from '../../formats/set-config.js';
import { blocksOf } from '../../models/model.js';
import { MAX_BITS } from '../../plans/bits.js';
import type { Mode } from '../../protocol/protocol.js';
import { rotateModel } from '../../transforms/rotation/checkpoint.js';
import type { Outline } from '../../transforms/transform.js';
import { expectedGrids } from '../activation-grids.js';
import type { CommonOptions, Method } from '../method.js';
import { onOrOff, refuseOption, wholeNumber, type MethodOptions } from '../options.js';
import { floatsOf } from '../tensors-of.js';
import { calibrate } from './calibrate.js';
import { roundingCost } from './cost.js';
import type { RoundingGiven, RoundingSettings } from './settings.js';
import { widthsWithin } from '../widths.js';

/** Below it nothing is left of a weight but its sign. */
const MIN_BITS = 2;

const options: MethodOptions<RoundingGiven> = {
  groupSize: wholeNumber(
    { help: 'input columns that share a scale at 4 bits and below, weights alone', standard: '128' },
    1,
  ),
  rotation: onOrOff({
    help: 'whether a language model is rotated before weights and activations are rounded',
    standard: 'off',
  }),
  kvBits: wholeNumber(
    { help: 'bits of keys and values in the cache', standard: 'floating point' },
    MIN_BITS,
    MAX_BITS,
  ),
};

const readsTokens = ({ model }: Outline) => model.reads === 'tokens';
const modes = (outline: Outline): readonly Mode[] =>
  readsTokens(outline) ? ['weight-only', 'weight-activation'] : ['weight-activation', 'weight-only'];

/** Pictures whose activations give the ranges (docs/METHOD.md, section 3). */
const RANGE_SAMPLES = 256;

function settings(outline: Outline, common: CommonOptions, given: RoundingGiven): RoundingSettings {
  const { mode = modes(outline)[0]!, seed = 0 } = common;
  const isWeightOnly = mode === 'weight-only';
  refuse(outline, mode, given);
  const isStatic = !readsTokens(outline);
  const usual = isWeightOnly ? [8, 7, 6, 5, 4, 3, 2] : [8, 7, 6, 5, 4];
  const own: RoundingSettings = {
    mode,
    offered: widthsWithin('Rounding', common.bits ?? usual, MIN_BITS),
    samples: isWeightOnly || !isStatic ? 0 : (common.samples ?? RANGE_SAMPLES),
    batch: 32,
    seed,
    groupSize: isWeightOnly ? (given.groupSize ?? 128) : -1,
    activations: isStatic ? 'static' : 'token',
    rotate: given.rotation === 'on',
    kvBits: given.kvBits ?? 16,
    embeddingBits: isStatic ? 8 : 16,
    headBits: isStatic ? 8 : 16,
  };
  if (own.rotate) rotateModel(outline, { keys: own.kvBits <= MAX_BITS });
  return own;
}

function refuse(outline: Outline, mode: Mode, given: RoundingGiven): void {
  const { family, stem } = outline.model;
  if (mode === 'weight-only') {
    refuseOption(given, 'rotation', 'only weights are rounded');
    refuseOption(given, 'kvBits', 'only weights are rounded');
  } else refuseOption(given, 'groupSize', 'with activations, whole rows share a scale');
  if (!stem.roles) refuseOption(given, 'rotation', `models of the family "${family}" cannot be rotated`);
  if (!blocksOf(outline.model).some(({ roles }) => roles?.attention))
    refuseOption(given, 'kvBits', `models of the family "${family}" keep no keys and values`);
}

/** What a set's config says of the method. */
export interface RoundingConfig {
  readonly activations: RoundingSettings['activations'];
  /** Full names of quantized operands of attention products. */
  readonly products: readonly string[];
}
const fields: Fields<RoundingConfig> = { activations: oneOf('static', 'token'), products: list(text()) };

function readConfig({ method: { name: _name, ...own } }: SetConfig): RoundingConfig {
  return readFields(own, fields, 'adapter_config.json: method', 'dropped');
}

function open(
  ...[programs, checkpoint, config, tensors]: Parameters<Method<RoundingGiven, RoundingSettings>['open']>
): QuantizedSource {
  const { model, listing } = checkpoint;
  const { mode, offered, layers } = config;
  const { activations } = readConfig(config);
  const tensorsOf = floatsOf(tensors);
  const formOf = (own: NamedTensors, owner: string, bits: number): ActivationForm | undefined => {
    if (mode === 'weight-only') return undefined;
    if (activations === 'token') return 'token';
    const [scale, zero] = ['scale', 'zero'].map((what) => own.get(`${owner}.act_${what}.${bits}`)?.data[0]);
    return scale === undefined || zero === undefined ? undefined : { scale, zero };
  };
  const partWith = (name: string) => blocksOf(model).find(({ prefix }) => name.startsWith(prefix))!;
  const sizeOf = (name: string, bits: number) => groupSizeOf(layers[name]!, bits);
  return {
    offered: [...offered].sort((a, b) => a - b),
    checkpoint,
    cache: config.kv_bits,
    fixedBits: fixedBits(model, config.embedding_bits, config.head_bits),
    form: (name, bits) => {
      const { in: columns, out } = layers[name]!;
      return { kind: 'grid', in: columns, out, bits, groupSize: sizeOf(name, bits) };
    },
    weight: async (name, bits) => {
      const part = partWith(name);
      const layer = listing(part).linears.find((l) => part.prefix + l.name === name)!;
      const { data } = (await checkpoint.read(part)).get(`${layer.name}.weight`)!;
      return roundedCodes(programs, layer, data, bits, sizeOf(name, bits));
    },
    activation: async (owner, bits) => {
      const part = partWith(owner);
      return formOf(await tensorsOf(part), owner.slice(part.prefix.length), bits);
    },
    part: async (part) => {
      const own = await tensorsOf(part);
      return {
        parameters: await checkpoint.read(part),
        cache: config.kv_bits,
        activation: (owner, bits) => formOf(own, owner, bits),
        weights: (programs, placed) =>
          roundedWeights(programs, (layer, bits) => sizeOf(part.prefix + layer, bits), placed),
      };
    },
  };
}

export const rounding: Method<RoundingGiven, RoundingSettings> = {
  name: 'rounding',
  words: { title: 'Rounding', description: 'rounds to nearest, nothing is learned' },
  options,
  recipes: ['default'],
  modes,
  settings,
  cost: roundingCost,
  facts: ({ groupSize, rotate }) => [
    ...(groupSize === -1 ? [] : [{ label: 'group size', value: `${groupSize}` }]),
    ...(rotate ? [{ label: 'rotation', value: 'on' }] : []),
  ],
  calibrate,
  tensors: (config) => {
    const { activations, products } = readConfig(config);
    if (config.mode === 'weight-only' || activations === 'token') return new Map();
    return expectedGrids(config, products);
  },
  parts: ({ offered }) => [{ bits: offered, facts: [{ label: 'rounded to nearest', value: '' }] }],
  open,
  // Weights alone where there is no set or one of that mode; weights and activations where there is one of both, as that
  // set has them: with rotation, and without to tell what it does.
  baselines: (outline, sets) => {
    const label = 'rounding';
    if (!readsTokens(outline)) return [{ label, common: { mode: 'weight-activation' }, given: {} }];
    const alone = { label, common: { mode: 'weight-only' as const }, given: {} };
    const both = sets.find((set) => set.mode === 'weight-activation');
    if (!both) return [alone];
    const common = { mode: 'weight-activation' as const, seed: both.seed };
    const given = both.kv_bits === undefined ? {} : { kvBits: both.kv_bits };
    const isRotated = both.transforms.some(({ name }) => name === 'rotation');
    return [
      ...(sets.some((set) => set.mode === 'weight-only')
        ? [{ ...alone, label: 'rounding, weights alone' }]
        : []),
      { label, common, given },
      ...(isRotated
        ? [{ label: 'rounding, rotated', common, given: { ...given, rotation: 'on' as const } }]
        : []),
    ];
  },
};
