/**
 * GPTQ (Frantar et al. 2023) as a method: each column's rounding error is corrected in those after it (docs/METHOD.md,
 * section 8).
 */
import { UserError } from '../../errors.js';
import { gridForms, gridParts, openWeights, weightTensors } from '../weight-set.js';
import type { Method } from '../method.js';
import { wholeNumber, type MethodOptions } from '../options.js';
import { calibrate } from './calibrate.js';
import { gptqCost } from './cost.js';
import type { GptqGiven, GptqSettings } from './settings.js';
import { widthsWithin } from '../widths.js';

/** Below it nothing is left of a weight but its sign. */
const MIN_BITS = 2;

const options: MethodOptions<GptqGiven> = {
  groupSize: wholeNumber(
    { help: 'input columns that share a scale at 4 bits and below', standard: '128' },
    1,
  ),
};

/** Windows of text (docs/METHOD.md, section 8). */
const SAMPLES = 128;

export const gptq: Method<GptqGiven, GptqSettings> = {
  name: 'gptq',
  words: {
    title: 'GPTQ',
    description: 'rounds weights one column after another, each correcting the errors of those before it',
  },
  options,
  recipes: ['default'],
  modes: () => ['weight-only'],
  settings: (_outline, { mode = 'weight-only', bits, samples = SAMPLES, seed = 0 }, { groupSize = 128 }) => {
    if (mode !== 'weight-only')
      throw new UserError('GPTQ quantizes weights alone; leave --mode out, or choose another method.');
    const offered = widthsWithin('GPTQ', bits ?? [8, 7, 6, 5, 4, 3, 2], MIN_BITS);
    return { mode, offered, samples, batch: 32, seed, groupSize };
  },
  cost: gptqCost,
  facts: ({ groupSize }) => [{ label: 'group size', value: `${groupSize} at 4 bits and below` }],
  calibrate,
  tensors: (config) => weightTensors(config, gridForms(config)),
  parts: gridParts,
  open: (_programs, checkpoint, config, tensors) =>
    openWeights(checkpoint, config, tensors, gridForms(config)),
  baselines: (_outline, sets) => {
    const samples = sets.find(({ calibration }) => calibration)?.calibration?.samples ?? SAMPLES;
    return [{ label: 'gptq', common: { mode: 'weight-only', samples }, given: {} }];
  },
};
