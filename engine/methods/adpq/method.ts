/**
 * AdpQ (Ghaffari et al. 2024) as a method: large weights are rounded apart from the others, and no data is asked for
 * (docs/METHOD.md, section 16).
 */
import { UserError } from '../../errors.js';
import type { QuantizedSource } from '../../execution/source.js';
import { sizeOf } from '../../graph/ir.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { blocksOf } from '../../models/model.js';
import { MAX_BITS } from '../../plans/bits.js';
import { toFloats } from '../../quantized/weight.js';
import type { Outline } from '../../transforms/transform.js';
import type { CalibrationCost, CommonOptions, Method } from '../method.js';
import { choice, realNumber, refuseOption, wholeNumber, type MethodOptions } from '../options.js';
import { widthsWithin } from '../widths.js';
import { calibrate } from './calibrate.js';
import { expectedThresholds, formAt, layoutAt, readConfig } from './config.js';
import { GRIDS, THRESHOLDS, type AdpqGiven, type AdpqSettings } from './settings.js';
import { splitWeight } from './split.js';

const FLOAT = 4;
/** Below it a symmetric grid has no code but 0. */
const MIN_BITS = 2;
const [OUTLIERS, GROUP_SIZE] = [0.08, 128];

const options: MethodOptions<AdpqGiven> = {
  outliers: realNumber(
    { help: 'share of the weights that are outliers, rounded apart', standard: `${OUTLIERS}` },
    0,
    0.5,
  ),
  outlierBits: wholeNumber(
    { help: 'bits of outliers, where they are more than the others have', standard: 'those of the others' },
    MIN_BITS,
    MAX_BITS,
  ),
  threshold: choice(
    { help: 'whether the share is of a whole matrix or of each group of columns', standard: 'matrix' },
    ...THRESHOLDS,
  ),
  grid: choice(
    { help: 'whether grids have zero points or are symmetric around 0', standard: 'asymmetric' },
    ...GRIDS,
  ),
  groupSize: wholeNumber({ help: 'input columns that share scales', standard: `${GROUP_SIZE}` }, 1),
};

function settings(
  _outline: Outline,
  { mode = 'weight-only', bits = [8, 7, 6, 5, 4, 3], seed = 0 }: CommonOptions,
  given: AdpqGiven,
): AdpqSettings {
  if (mode !== 'weight-only')
    throw new UserError('AdpQ quantizes weights alone; leave --mode out, or choose another method.');
  const offered = widthsWithin('AdpQ', bits, MIN_BITS);
  const { outliers = OUTLIERS, outlierBits = MIN_BITS, threshold = 'matrix', grid = 'asymmetric' } = given;
  const { groupSize = GROUP_SIZE } = given;
  if (outliers === 0)
    for (const key of ['outlierBits', 'threshold']) refuseOption(given, key, 'there are no outliers');
  if (outlierBits <= offered.at(-1)!)
    refuseOption(given, 'outlierBits', `all weights have ${outlierBits} bits or more`);
  return { mode, offered, samples: 0, batch: 1, seed, outliers, outlierBits, threshold, grid, groupSize };
}

const percent = (share: number) => `${Number((share * 100).toFixed(2))} %`;

function cost({ model, listing }: Outline): CalibrationCost {
  const blocks = blocksOf(model).map(listing);
  const elements = (entries: readonly { readonly shape: readonly number[] }[]) =>
    entries.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return {
    work: { flops: 0, elements: 0, operators: 0 },
    // Twice to find what is larger, and once to count it.
    looked: 3 * blocks.flatMap(({ linears }) => linears).reduce((sum, l) => sum + l.in * l.out, 0),
    activations: 0,
    stored: 0,
    tensors: Math.max(...blocks.map(({ parameters }) => elements(parameters))) * FLOAT,
  };
}

/** The weights of a set are those of its checkpoint, split at the thresholds that it keeps. */
function open(
  ...[, checkpoint, config, tensors]: Parameters<Method<AdpqGiven, AdpqSettings>['open']>
): QuantizedSource {
  const { model, listing } = checkpoint;
  const { layers } = config;
  const own = readConfig(config);
  const weightOf = async (name: string, weight: HostTensor, bits: number) => {
    const threshold = (await tensors.floats(`${name}.threshold`)).get('')!;
    return splitWeight(weight, threshold.data, layoutAt(own, layers[name]!, bits));
  };
  return {
    offered: [...config.offered].reverse(),
    checkpoint,
    cache: undefined,
    fixedBits: () => undefined,
    form: (name, bits) => formAt(own, name, layers[name]!, bits),
    weight: async (name, bits) => {
      const part = blocksOf(model).find(({ prefix }) => name.startsWith(prefix))!;
      const { name: local } = listing(part).linears.find((l) => part.prefix + l.name === name)!;
      return weightOf(name, (await checkpoint.read(part)).get(`${local}.weight`)!, bits);
    },
    activation: () => Promise.resolve(undefined),
    part: async (part) => ({
      parameters: await checkpoint.read(part),
      cache: undefined,
      activation: () => undefined,
      weights: ({ runtime }, placed) => ({
        quantize: async ({ name, in: columns, out }, bits) => {
          const shape = [out, columns];
          const data = await runtime.read(placed.get(name)!);
          const weight = await weightOf(part.prefix + name, { data, shape }, bits);
          return runtime.place(runtime.tensor(toFloats(weight), shape));
        },
        dispose: () => undefined,
      }),
    }),
  };
}

export const adpq: Method<AdpqGiven, AdpqSettings> = {
  name: 'adpq',
  words: { title: 'AdpQ', description: 'rounds large weights apart from the others; it needs no data' },
  options,
  recipes: ['default'],
  modes: () => ['weight-only'],
  settings,
  cost,
  facts: ({ outliers, threshold, grid, groupSize }) => [
    { label: 'outliers', value: `${percent(outliers)} of each ${threshold}` },
    { label: 'grids', value: grid },
    { label: 'group size', value: String(groupSize) },
  ],
  calibrate,
  tensors: expectedThresholds,
  parts: (config) => [
    { bits: config.offered, facts: [{ label: 'outliers', value: percent(readConfig(config).outliers) }] },
  ],
  form: (config, name, bits) => formAt(readConfig(config), name, config.layers[name]!, bits),
  open,
  baselines: () => [{ label: 'adpq', common: { mode: 'weight-only' }, given: {} }],
};
