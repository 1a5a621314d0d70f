/** How far what a format holds is from what a set says. */

/** Squared error of stored values to the set's, over that of the set's to the model's own; 0 where nothing is lost. */
export function distanceOf(stored: Float32Array, quantized: Float32Array, own: Float32Array): number {
  let [lost, error] = [0, 0];
  for (let i = 0; i < stored.length; i++) {
    lost += (stored[i]! - quantized[i]!) ** 2;
    error += (quantized[i]! - own[i]!) ** 2;
  }
  return lost === 0 ? 0 : error === 0 ? 1 : lost / error;
}
