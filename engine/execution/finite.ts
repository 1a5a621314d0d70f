import { UserError } from '../errors.js';

/**
 * Throws UserError for what overflowed or is not a number: no grid, moment or Hessian can be made of it.
 * @param values what a layer reads, or sums over it
 * @param where the full name of the layer or operand
 */
export function requireFinite(values: Float32Array, where: string): void {
  if (!values.every(Number.isFinite))
    throw new UserError(
      `${where}: what it reads is NaN, infinite or too large to calculate with on this data; check the model and how its data is prepared.`,
    );
}
