/** What plans of an adapter set cost, measured on samples. */
import { tmpdir } from 'node:os';
import { layerNames } from '../../execution/model.js';
import { divergences } from '../../execution/divergences.js';
import { quantizedParts, widthsOf } from '../../execution/quantized-model.js';
import { openSource } from '../../methods/sets.js';
import { withDevice } from '../../runtime/with-device.js';
import type { ComparePlansRequest, ComparePlansResult, JobHooks } from '../requests.js';
import { withMeasuring } from './measuring.js';

/** Throws UserError for a set of another model, unfit data, and bits that the set does not have. */
export const runComparePlans = (
  request: ComparePlansRequest,
  hooks: JobHooks<'compare-plans'>,
): Promise<ComparePlansResult> =>
  withMeasuring(request, tmpdir(), hooks, ({ original, adapters, task, set, batch, cache }) =>
    withDevice({ ...request, signal: hooks.signal }, async (programs) => {
      const layers = layerNames(original);
      const source = openSource(programs, original, adapters);
      const { checkpoint } = source;
      const costs = await divergences(
        programs,
        { checkpoint, inputs: set.inputs, batch, cache, distance: task.distance },
        request.plans.map((bits) => quantizedParts(programs, source, widthsOf(layers, bits))),
        {
          signal: hooks.signal,
          status: (done) => hooks.status({ done, phase: 'measuring plans' }),
        },
      );
      return { costs: costs.map((cost) => Math.max(0, cost)), samples: set.inputs.samples, data: set.name };
    }),
  );
