/** From what is asked of a calibration to a method and its settings. */
import { UserError } from '../errors.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { CalibrateRequest, EstimateRequest } from '../protocol/protocol.js';
import type { AnyMethod, CommonSettings } from './method.js';
import { readOptions } from './options.js';
import { methodNamed, methods } from './registry.js';

/** The method that a request names, or the default one. Throws UserError for one that there is not. */
export const methodOf = ({ method }: Pick<EstimateRequest, 'method'>): AnyMethod =>
  method === undefined ? methods[0]! : methodNamed(method);

/** Throws UserError for options that the method does not have. @param where such as "params: request" */
export function checkMethodOptions(
  request: Pick<EstimateRequest, 'method' | 'options'>,
  where: string,
): void {
  const method = methodOf(request);
  readOptions(method.options, request.options ?? {}, `${where}: options of ${method.name}`);
}

/**
 * Method and settings of a request. Throws UserError, before any work, for what the method refuses, and for what would
 * have no effect.
 */
export function resolveRequest(
  checkpoint: Pick<Checkpoint, 'name' | 'model' | 'listing'>,
  request: Omit<CalibrateRequest, 'out' | 'resume'>,
): { readonly method: AnyMethod; readonly settings: CommonSettings } {
  const method = methodOf(request);
  const { mode, recipe, bits, samples, seed, data } = request;
  if (recipe !== undefined && !method.recipes.includes(recipe))
    throw new UserError(
      `The method "${method.name}" has no recipe "${recipe}"; it has ${method.recipes.join(', ')}.`,
    );
  const given = readOptions(method.options, request.options ?? {}, `options of ${method.name}`);
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
