/** The kind `evaluate`: scores of a model at many bit-widths. */
import { UserError } from '../../errors.js';
import {
  flag,
  integer,
  list,
  oneOf,
  optional,
  path,
  record,
  text,
  type Fields,
} from '../../formats/json-fields.js';
import { checkName } from '../../formats/paths.js';
import type { VerifiedExport } from '../../protocol/protocol.js';
import { evaluationPath } from '../evaluations.js';
import { evaluateResult, rows } from './evaluation-fields.js';
import { bits, placement } from './fields.js';
import type { Kind } from './kind.js';

const verified: Fields<VerifiedExport> = {
  path: path(),
  bits: (object, key, where) => {
    if ((object[key] === undefined) === (object.plan === undefined))
      throw new UserError(`${where}: it must have either "${key}" or "plan".`);
    return optional(bits)(object, key, where);
  },
  plan: optional(path()),
  tie: optional(flag()),
};

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
    exports: optional(list(record(verified))),
    save: optional((object, key, where) => checkName(text()(object, key, where))),
  },
  result: evaluateResult,
  partial: { rows },
  writes: evaluationPath,
  sets: ({ adapters = [] }) => adapters,
  run: async (request, hooks) => (await import('../runs/evaluate.js')).runEvaluate(request, hooks),
};
