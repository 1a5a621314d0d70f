/**
 * SliderQuant (Wang et al. 2026) as a method: windows of blocks are trained together, a growing share of their weights
 * rounded (docs/METHOD.md, section 17).
 */
import { UserError } from '../../errors.js';
import type { Outline } from '../../transforms/transform.js';
import type { CommonOptions, Method } from '../method.js';
import { choice, realNumber, refuseOption, wholeNumber, type MethodOptions } from '../options.js';
import { gridForms, gridParts, openWeights, weightTensors } from '../weight-set.js';
import { widthsWithin } from '../widths.js';
import { calibrate } from './calibrate.js';
import { sliderquantCost } from './cost.js';
import { LOSSES, WINDOWS, type SliderquantGiven, type SliderquantSettings } from './settings.js';

/** Below it nothing is left of a weight but its sign. */
const MIN_BITS = 2;
const SAMPLES = 128;
const FILL = 4;
const RATES = { adapters: 1.5e-3, clips: 3e-2 } as const;

/** Epochs and samples of a step. The paper's learning rates are times its batch. */
const RECIPES = { default: { epochs: 8, batch: 4 }, paper: { epochs: 60, batch: 3 } } as const;
const NAMES = Object.keys(RECIPES) as (keyof typeof RECIPES)[];

const options: MethodOptions<SliderquantGiven> = {
  windows: choice(
    {
      help: 'blocks trained together: windows that grow, slide and shrink, slide alone, or single blocks',
      standard: 'growing',
    },
    ...WINDOWS,
  ),
  fill: wholeNumber({ help: 'blocks of the largest window', standard: `${FILL}` }, 1),
  stages: wholeNumber(
    { help: 'times that all windows are trained, more and more columns rounded', standard: '2' },
    1,
    16,
  ),
  epochs: wholeNumber({ help: 'times that a window sees every sample, over all stages', standard: '8' }, 1),
  batch: wholeNumber({ help: 'samples of a step', standard: '4' }, 1),
  rank: wholeNumber({ help: "directions of a weight's correction, 0 for none", standard: '4' }, 0),
  adapterRate: realNumber({ help: 'learning rate of corrections', standard: `${RATES.adapters}` }, 0),
  clipRate: realNumber({ help: 'learning rate of ranges', standard: `${RATES.clips}` }, 0),
  loss: choice(
    { help: 'what a step makes smaller: the mean squared or absolute error', standard: 'mse' },
    ...LOSSES,
  ),
  groupSize: wholeNumber(
    { help: 'input columns that share a scale at 4 bits and below', standard: 'whole rows' },
    1,
  ),
};

function settings(
  _outline: Outline,
  { mode = 'weight-only', recipe = 'default', bits = [4, 3, 2], samples = SAMPLES, seed = 0 }: CommonOptions,
  given: SliderquantGiven,
): SliderquantSettings {
  if (mode !== 'weight-only')
    throw new UserError('SliderQuant quantizes weights alone; leave --mode out, or choose another method.');
  const { windows = 'growing', fill = FILL, stages = 2, rank = 4, loss = 'mse', groupSize = -1 } = given;
  const { epochs, batch } = { ...RECIPES[recipe as keyof typeof RECIPES], ...given };
  if (windows !== 'growing') refuseOption(given, 'fill', 'no windows grow');
  if (rank === 0) refuseOption(given, 'adapterRate', 'there are no corrections (--rank 0)');
  const offered = widthsWithin('SliderQuant', bits, MIN_BITS);
  if (offered.every((width) => width > 4))
    refuseOption(given, 'groupSize', 'above 4 bits whole rows share a scale');
  if (epochs < stages)
    throw new UserError(
      `${stages} stages need as many epochs: --epochs must be at least ${stages}, not ${epochs}.`,
    );
  const rates = { adapters: given.adapterRate ?? RATES.adapters, clips: given.clipRate ?? RATES.clips };
  return { mode, offered, samples, batch, seed, windows, fill, stages, epochs, rank, rates, loss, groupSize };
}

export const sliderquant: Method<SliderquantGiven, SliderquantSettings> = {
  name: 'sliderquant',
  words: {
    title: 'SliderQuant',
    description:
      'learns small corrections of weights in sliding windows of blocks, at one bit-width after another',
  },
  options,
  recipes: NAMES,
  modes: () => ['weight-only'],
  settings,
  cost: sliderquantCost,
  facts: ({ windows, stages, epochs, rank, groupSize }) => [
    { label: 'windows', value: windows },
    { label: 'stages', value: String(stages) },
    { label: 'epochs', value: String(epochs) },
    { label: 'rank', value: String(rank) },
    { label: 'group size', value: groupSize === -1 ? 'whole rows' : `${groupSize} at 4 bits and below` },
  ],
  calibrate,
  tensors: (config) => weightTensors(config, gridForms(config)),
  parts: gridParts,
  open: (_programs, checkpoint, config, tensors) =>
    openWeights(checkpoint, config, tensors, gridForms(config)),
};
