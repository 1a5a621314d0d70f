/** From what is asked of a calibration to a method and its settings. */
import { UserError } from '../errors.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { CalibrateRequest, EstimateRequest } from '../protocol/protocol.js';
import type { AnyMethod, CommonSettings } from './method.js';
import { readOptions } from './options.js';
import { methodNamed } from './registry.js';
import { usualMethod } from './usual.js';

/**
 * Throws UserError for options that the method does not have. Where none is named, that is seen when the model is known.
 * @param where such as "params: request"
 */
export function checkMethodOptions(
  { method: name, options }: Pick<EstimateRequest, 'method' | 'options'>,
  where: string,
): void {
  if (name !== undefined) givenOptions(methodNamed(name), options, `${where}: `);
}

const givenOptions = (method: AnyMethod, options: EstimateRequest['options'], where = ''): object =>
  readOptions(method.options, options ?? {}, `${where}options of ${method.name}`);

/**
 * Method and settings of a request. Throws UserError, before any work, for what the method refuses, and for what would
 * have no effect.
 */
export function resolveRequest(
  checkpoint: Pick<Checkpoint, 'name' | 'model' | 'listing'>,
  request: Omit<CalibrateRequest, 'out' | 'resume'>,
): { readonly method: AnyMethod; readonly settings: CommonSettings } {
  const { mode, recipe, bits, samples, seed, data } = request;
  const method =
    request.method === undefined ? usualMethod(checkpoint, request) : methodNamed(request.method);
  if (recipe !== undefined && !method.recipes.includes(recipe))
    throw new UserError(
      `The method "${method.name}" has no recipe "${recipe}"; it has ${method.recipes.join(', ')}.`,
    );
  const given = givenOptions(method, request.options);
  const common = {
    ...(mode !== undefined && { mode }),
    ...(recipe !== undefined && { recipe }),
    ...(bits !== undefined && { bits }),
    ...(samples !== undefined && { samples }),
    ...(seed !== undefined && { seed }),
  };
  const settings: CommonSettings = method.settings(checkpoint, common, given);
  if (settings.samples === 0 && (data !== undefined || samples !== undefined))
    throw new UserError(
      `The method "${method.name}" needs no samples for ${settings.mode}: leave ${data === undefined ? '--samples' : '--data'} out.`,
    );
  return { method, settings };
}
