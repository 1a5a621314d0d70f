/**
 * Output-adaptive calibration (OAC: Edalati et al. 2025) as a method: errors of weights weigh what the model's loss makes of them
 * (docs/METHOD.md, sections 14 and 15).
 */
import { UserError } from '../../errors.js';
import { gridForms, gridParts, openWeights, weightTensors } from '../weight-set.js';
import type { Method } from '../method.js';
import { choice, realNumber, refuseOption, wholeNumber, type MethodOptions } from '../options.js';
import { calibrate } from './calibrate.js';
import { oacCost } from './cost.js';
import { HESSIANS, LABELS, type OacGiven, type OacSettings } from './settings.js';
import { widthsWithin } from '../widths.js';

/** Below it nothing is left of a weight but its sign. */
const MIN_BITS = 2;
const [DAMPING, GROUP_SIZE, SAMPLES] = [0.1, 128, 128];

const options: MethodOptions<OacGiven> = {
  hessian: choice(
    {
      help: "what an error weighs: the squared gradient of a whole sample's loss, of each token's, or no loss at all",
      standard: 'sequence',
    },
    ...HESSIANS,
  ),
  labels: choice(
    {
      help: "what the loss compares with: the text's next tokens, or draws from the model's own prediction",
      standard: 'data for text, sampled for pictures',
    },
    ...LABELS,
  ),
  damping: realNumber(
    { help: 'share of the mean diagonal that is added to a Hessian', standard: `${DAMPING}` },
    1e-6,
    100,
  ),
  groupSize: wholeNumber(
    { help: 'input columns that share a scale at 4 bits and below', standard: `${GROUP_SIZE}` },
    1,
  ),
};

export const oac: Method<OacGiven, OacSettings> = {
  name: 'oac',
  words: {
    title: 'OAC',
    description: "rounds as GPTQ does, by what the model's own loss makes of each error",
  },
  options,
  recipes: ['default'],
  // Gradients are carried back through one chain.
  modes: ({ model }) => (model.towers?.length ? [] : ['weight-only']),
  settings: ({ model }, { mode = 'weight-only', bits, samples = SAMPLES, seed = 0 }, given) => {
    if (mode !== 'weight-only')
      throw new UserError('OAC quantizes weights alone; leave --mode out, or choose another method.');
    const offered = widthsWithin('OAC', bits ?? [8, 7, 6, 5, 4, 3, 2], MIN_BITS);
    const isText = model.reads === 'tokens';
    const { hessian = 'sequence', damping = DAMPING, groupSize = GROUP_SIZE } = given;
    const { labels = isText ? 'data' : 'sampled' } = given;
    if (hessian === 'l2') refuseOption(given, 'labels', 'the Hessian l2 has no part of the loss');
    if (labels === 'data' && !isText)
      throw new UserError('Labels of pictures are not read; leave --labels out, and they are drawn.');
    return { mode, offered, samples, batch: 32, seed, hessian, labels, damping, groupSize };
  },
  cost: oacCost,
  facts: ({ hessian, labels, damping, groupSize }) => [
    { label: 'Hessian', value: hessian },
    ...(hessian === 'l2' ? [] : [{ label: 'labels', value: labels }]),
    { label: 'damping', value: String(damping) },
    { label: 'group size', value: `${groupSize} at 4 bits and below` },
  ],
  calibrate,
  tensors: (config) => weightTensors(config, gridForms(config)),
  parts: gridParts,
  open: (_programs, checkpoint, config, tensors) =>
    openWeights(checkpoint, config, tensors, gridForms(config)),
};
