/** The bit-widths that a method is asked for. */
import { UserError } from '../errors.js';
import { MAX_BITS } from '../plans/bits.js';

/**
 * Each once, from high to low. Throws UserError for one that the method does not have.
 * @param who what has them, in the message, and `what` they are of where not of weights @param least the fewest bits
 */
export function widthsWithin(who: string, bits: readonly number[], least: number, what = ''): number[] {
  const offered = [...new Set(bits)].sort((a, b) => b - a);
  const outside = offered.find((b) => !Number.isInteger(b) || b < least || b > MAX_BITS);
  if (outside !== undefined)
    throw new UserError(`${who} has bit-widths from ${least} to ${MAX_BITS}${what}, not ${outside}.`);
  return offered;
}
