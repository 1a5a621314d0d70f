/** All calibration methods. */
import { UserError } from '../errors.js';
import { show } from '../formats/paths.js';
import type { AnyMethod, SetReader } from './method.js';
import { adpq } from './adpq/method.js';
import { direct } from './direct/method.js';
import { elastic } from './elastic/reader.js';
import { gptq } from './gptq/method.js';
import { oac } from './oac/method.js';
import { quept } from './quept/method.js';
import { rounding } from './rounding/method.js';
import { sliderquant } from './sliderquant/method.js';

/** Which of them is a model's usual one, `usual.ts` says. */
export const methods: readonly AnyMethod[] = [quept, direct, gptq, oac, sliderquant, adpq, rounding];

/** All that sets can be of: methods, and what exports make of their sets. */
export const readers: readonly SetReader[] = [...methods, elastic];

/** Throws UserError for a set of none of them. */
export function readerNamed(name: string, known: readonly SetReader[] = readers): SetReader {
  const found = known.find((reader) => reader.name === name);
  if (found) return found;
  throw new UserError(
    `There is no calibration method ${show(name, 40)}; there are ${known.map((m) => m.name).join(', ')}.`,
  );
}

/** Throws UserError for a name that no method has. */
export function methodNamed(name: string, known: readonly AnyMethod[] = methods): AnyMethod {
  const found = known.find((method) => method.name === name);
  if (found) return found;
  throw new UserError(
    `There is no calibration method ${show(name, 40)}; there are ${known.map((m) => m.name).join(', ')}.`,
  );
}
