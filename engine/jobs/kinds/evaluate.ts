/** The kind `evaluate`: scores of a model at many bit-widths. */
import { integer, list, oneOf, optional, path, text } from '../../formats/json-fields.js';
import { checkName } from '../../formats/paths.js';
import { evaluationPath } from '../evaluations.js';
import { evaluateResult, rows } from './evaluation-fields.js';
import { bits, placement } from './fields.js';
import type { Kind } from './kind.js';

export const evaluate: Kind<'evaluate'> = {
  title: 'Evaluate',
  request: {
    ...placement,
    model: path(),
    data: path(),
    adapters: optional(list(path())),
    bits: optional(list(bits)),
    plans: optional(list(path())),
    limit: optional(integer(1)),
    length: optional(integer(2)),
    task: optional(oneOf('perplexity', 'multiple-choice')),
    baseline: optional(list(text())),
    baselineData: optional(path()),
    baselineSamples: optional(integer(1)),
    cacheMemory: optional(integer(0)),
    save: optional((object, key, where) => checkName(text()(object, key, where))),
  },
  result: evaluateResult,
  partial: { rows },
  writes: evaluationPath,
  sets: ({ adapters = [] }) => adapters,
  run: async (request, hooks) => (await import('../runs/evaluate.js')).runEvaluate(request, hooks),
};
