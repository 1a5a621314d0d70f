/** Numbers as they are stored. */
import { float32ToHalf, halfToFloat32 } from '../formats/floats.js';

export type Precision = 'float16' | 'float32';

export type Round = (x: number) => number;

export const rounderTo = (precision: Precision): Round => (precision === 'float16' ? toHalf : Math.fround);

const own = new Float32Array(1);

function toHalf(x: number): number {
  own[0] = x;
  return halfToFloat32(float32ToHalf(own))[0]!;
}
