/**
 * Output-adaptive calibration (OAC: Edalati et al. 2025) as a method: errors of weights weigh what the model's loss makes of them
 * (docs/METHOD.md, sections 14 and 15).
 */
import { UserError } from '../../errors.js';
import { openWeights, weightTensors } from '../weight-set.js';
import type { Method } from '../method.js';
import {
  choice,
  realNumber,
  realNumbers,
  refuseOption,
  wholeNumber,
  type MethodOptions,
} from '../options.js';
import { averageLayout } from './averages.js';
import { backendAt, DAMPING, dampingOf, GROUP_SIZE } from './backends.js';
import { calibrate } from './calibrate.js';
import { formsOf, partsOf } from './config.js';
import { oacCost } from './cost.js';
import {
  BACKENDS,
  HESSIANS,
  LABELS,
  SCHEMES,
  type BackendName,
  type OacGiven,
  type OacSettings,
} from './settings.js';
import { MAX_BITS } from '../../plans/bits.js';
import { widthsWithin } from '../widths.js';

/** Of averages; below it nothing is left of a weight but its sign. */
const MIN_AVERAGE = 2;
const SAMPLES = 128;
/** Averages that a set has where none are asked for. */
const AVERAGES = [4.3, 3.3, 2.3, 2.1];

const options: MethodOptions<OacGiven> = {
  backend: choice(
    {
      help: 'what rounds by the Hessians: GPTQ, at whole bit-widths, with signs of BiLLM at 1; SpQR, with outliers, at averages; BiLLM, to signs',
      standard: 'gptq',
    },
    ...BACKENDS,
  ),
  averageBits: realNumbers(
    {
      help: 'bits per weight on average, as SpQR counts them, for SpQR in place of --bits; one or a list',
      standard: AVERAGES.join(','),
    },
    MIN_AVERAGE,
    MAX_BITS,
  ),
  hessian: choice(
    {
      help: "what an error weighs: the squared gradient of a whole sample's loss, of each token's, that of each token in full precision, or no loss at all",
      standard: 'sequence',
    },
    ...HESSIANS,
  ),
  rowSlices: wholeNumber(
    {
      help: "with --hessian token and --backend gptq, into how many slices a layer's rows are cut that have a Hessian each",
      standard: '1',
    },
    1,
  ),
  mix: realNumber(
    { help: 'share of the Hessian l2 in that of the loss, both with the same trace', standard: '0' },
    0,
    1,
  ),
  scheme: choice(
    {
      help: 'whether all Hessians are those of the full-precision model, or those before are quantized: blocks, or layers too',
      standard: 'once, weighted layer',
    },
    ...SCHEMES,
  ),
  labels: choice(
    {
      help: "what the loss compares with: the text's next tokens, or draws from the model's own prediction",
      standard: 'data for text, sampled for pictures',
    },
    ...LABELS,
  ),
  damping: realNumber(
    {
      help: 'share of the mean diagonal that is added to a Hessian',
      standard: `${DAMPING.gptq}, billm ${DAMPING.billm}`,
    },
    1e-6,
    100,
  ),
  groupSize: wholeNumber(
    {
      help: 'input columns that share statistics; for GPTQ at 4 bits and below',
      standard: `${GROUP_SIZE}; of SpQR the finest that leave room for outliers`,
    },
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
  extremes: [
    { bits: [2.3, 2.1], given: { backend: 'spqr', hessian: 'weighted' } },
    { bits: [1], given: { backend: 'billm', hessian: 'weighted' } },
  ],
  // Gradients are carried back through one chain.
  modes: ({ model }) => (model.towers?.length ? [] : ['weight-only']),
  settings: ({ model }, { mode = 'weight-only', bits, samples = SAMPLES, seed = 0 }, given) => {
    if (mode !== 'weight-only')
      throw new UserError('OAC quantizes weights alone; leave --mode out, or choose another method.');
    const isText = model.reads === 'tokens';
    const { backend = 'gptq', hessian = 'sequence', damping, groupSize, rowSlices = 1, mix = 0 } = given;
    const { labels = isText ? 'data' : 'sampled', scheme = hessian === 'weighted' ? 'layer' : 'once' } =
      given;
    const offered = offeredBy(backend, bits, given);
    if (hessian !== 'token') refuseOption(given, 'rowSlices', `the Hessian ${hessian} is one for all rows`);
    if (rowSlices > 1 && offered.some((bits) => backendAt(backend, bits) !== 'gptq'))
      throw new UserError(
        'Only GPTQ rounds slices of rows apart: leave --row-slices out, or outliers and signs.',
      );
    if (hessian === 'l2')
      for (const key of ['labels', 'mix']) refuseOption(given, key, 'the Hessian l2 has no part of the loss');
    if (hessian === 'weighted' && scheme === 'once')
      throw new UserError(
        'The Hessian weighted sees the layers before it quantized: choose the scheme block or layer, or the Hessian token.',
      );
    if (labels === 'data' && !isText)
      throw new UserError('Labels of pictures are not read; leave --labels out, and they are drawn.');
    return {
      ...{
        mode,
        offered,
        samples,
        batch: 32,
        seed,
        backend,
        hessian,
        rowSlices,
        mix,
        scheme,
        labels,
        damping,
      },
      groupSize: groupSize ?? (backend === 'spqr' ? undefined : GROUP_SIZE),
    };
  },
  cost: oacCost,
  facts: ({ offered, backend, hessian, rowSlices, mix, scheme, labels, damping, groupSize }) => [
    { label: 'back-end', value: backendsOf(backend, offered).join(', ') },
    { label: 'Hessian', value: mix > 0 ? `${hessian}, with ${mix} of l2` : hessian },
    ...(rowSlices > 1 ? [{ label: 'slices of rows', value: `${rowSlices}` }] : []),
    { label: 'scheme', value: scheme },
    ...(hessian === 'l2' ? [] : [{ label: 'labels', value: labels }]),
    {
      label: 'damping',
      value: backendsOf(backend, offered)
        .map((own) => dampingOf({ damping }, own))
        .join(', '),
    },
    ...(groupSize === undefined
      ? []
      : [{ label: 'group size', value: `${groupSize}${backend === 'gptq' ? ' at 4 bits and below' : ''}` }]),
  ],
  calibrate,
  tensors: (config) => weightTensors(config, formsOf(config)),
  parts: partsOf,
  form: (config, layer, bits) => formsOf(config)(layer, bits),
  open: (_programs, checkpoint, config, tensors) => openWeights(checkpoint, config, tensors, formsOf(config)),
};

/** The back-ends that a set of these bit-widths is made by. */
const backendsOf = (backend: BackendName, offered: readonly number[]): BackendName[] => [
  ...new Set(offered.map((bits) => backendAt(backend, bits))),
];

/** Bit-widths of GPTQ, averages of SpQR, the one bit of BiLLM. Throws UserError for what a back-end does not have. */
function offeredBy(
  backend: BackendName,
  bits: readonly number[] | undefined,
  given: OacGiven,
): readonly number[] {
  if (backend !== 'spqr') {
    refuseOption(given, 'averageBits', `the back-end ${backend} has no outliers to make an average of`);
    if (backend === 'gptq') return widthsWithin('OAC', bits ?? [8, 7, 6, 5, 4, 3, 2], 1);
    const other = bits?.find((b) => b !== 1);
    if (other !== undefined) throw new UserError(`The back-end billm has 1 bit, not ${other}.`);
    return [1];
  }
  if (bits && given.averageBits !== undefined)
    throw new UserError(
      'The bits of the back-end spqr are averages: give --average-bits or --bits, not both.',
    );
  const { averageBits = bits ?? AVERAGES, groupSize } = given;
  const averages = new Set(typeof averageBits === 'number' ? [averageBits] : averageBits);
  for (const average of averages) averageLayout(average, groupSize);
  return [...averages].sort((a, b) => b - a);
}
