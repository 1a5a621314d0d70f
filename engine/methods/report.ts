/** What clients are told of the methods. */
import { UserError } from '../errors.js';
import { openCheckpoint } from '../models/checkpoint.js';
import type { ExtremeReport, MethodModeReport, MethodReport, Mode } from '../protocol/protocol.js';
import { WHOLE_BITS } from '../plans/bits.js';
import type { Outline } from '../transforms/transform.js';
import type { AnyMethod } from './method.js';
import { listOptions } from './options.js';
import { methodsFor } from './usual.js';

/** The methods that have something for the checkpoint in a folder, the usual one first. Throws UserError where it is not supported. */
export async function reportMethods(folder: string): Promise<MethodReport[]> {
  const checkpoint = await openCheckpoint(folder);
  try {
    return methodsFor(checkpoint)
      .map((method) => reportOf(method, checkpoint))
      .filter(({ modes }) => modes.length > 0);
  } finally {
    await checkpoint.close();
  }
}

const reportOf = (method: AnyMethod, outline: Outline): MethodReport => ({
  name: method.name,
  title: method.words.title,
  description: method.words.description,
  modes: method.modes(outline).flatMap((mode) => modeOf(method, outline, mode) ?? []),
  recipes: method.recipes,
  options: listOptions(method.options).map(([key, option]) => ({
    name: key,
    help: option.help,
    value: option.value,
    ...(option.choices && { choices: option.choices }),
    ...(option.standard !== undefined && { standard: option.standard }),
  })),
  extremes: (method.extremes ?? [])
    .filter(({ bits, given }) => unlessRefused(() => method.settings(outline, { bits }, given)))
    .map(({ bits, given }) => ({ bits, options: given as ExtremeReport['options'] })),
  baseline: method.baselines !== undefined,
});

/** Undefined for a mode whose standard settings the method refuses for the model. */
const modeOf = (method: AnyMethod, outline: Outline, mode: Mode): MethodModeReport | undefined =>
  unlessRefused(() => {
    const { offered, samples } = method.settings(outline, { mode }, {});
    const takes = (bits: number) =>
      offered.includes(bits) ||
      unlessRefused(() => method.settings(outline, { mode, bits: [bits] }, {})) !== undefined;
    const allowed = [...new Set([...offered, ...WHOLE_BITS])].filter(takes).sort((a, b) => b - a);
    return { mode, bits: offered, allowed, samples };
  });

/** Undefined for a UserError. */
function unlessRefused<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}
