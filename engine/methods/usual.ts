/** Which methods a model is calibrated with, and which of them where nobody names one. */
import { openCheckpoint } from '../models/checkpoint.js';
import type { Model } from '../models/model.js';
import type { Mode } from '../protocol/protocol.js';
import type { Outline } from '../transforms/transform.js';
import type { AnyMethod } from './method.js';
import { methods } from './registry.js';

/** What measured best on models that read these goes before the others (docs/FIGURES.md). */
const FIRST: Readonly<Record<Model['reads'], string>> = { tokens: 'direct', pixels: 'quept' };

/** Those that have something for a model, the usual one first. */
export function methodsFor(outline: Outline): AnyMethod[] {
  const first = FIRST[outline.model.reads];
  return methods
    .filter((method) => method.modes(outline).length > 0)
    .sort((a, b) => Number(b.name === first) - Number(a.name === first));
}

interface Asked {
  readonly mode?: Mode;
  readonly recipe?: string;
  /** Options of its own that the method is given, by name. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** `usualMethod` of the checkpoint in a folder. Throws UserError where it is not supported. */
export async function usualMethodFor(folder: string, asked: Asked): Promise<AnyMethod> {
  const checkpoint = await openCheckpoint(folder);
  await checkpoint.close();
  return usualMethod(checkpoint, asked);
}

/**
 * The method of a calibration that names none: the first for the model that has the mode, the recipe and the options asked
 * for. Where none has all, the first of all, which refuses them in its own words.
 */
export function usualMethod(outline: Outline, { mode, recipe, options = {} }: Asked): AnyMethod {
  const fit = methodsFor(outline);
  const found = fit.find(
    (method) =>
      (mode === undefined || method.modes(outline).includes(mode)) &&
      (recipe === undefined || method.recipes.includes(recipe)) &&
      Object.keys(options).every((name) => Object.hasOwn(method.options, name)),
  );
  return found ?? fit[0] ?? methods[0]!;
}
