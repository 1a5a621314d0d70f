import { describe, expect, it } from 'vitest';
import { bfloat16ToFloat32, float32ToBfloat16, float32ToHalf, halfToFloat32 } from './floats.js';

const all = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);

/** The value of a float of 16 bits by its definition. */
function valueOf(bits: number, exponentBits: number): number {
  const fractionBits = 15 - exponentBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  const exponent = (bits & 0x7fff) >>> fractionBits;
  const fraction = bits & (2 ** fractionBits - 1);
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 2 ** exponentBits - 1) return fraction ? NaN : sign * Infinity;
  const significand = fraction / 2 ** fractionBits + (exponent ? 1 : 0);
  return sign * significand * 2 ** (Math.max(exponent, 1) - bias);
}

describe.each([
  ['float16', 5, halfToFloat32, float32ToHalf],
  ['bfloat16', 8, bfloat16ToFloat32, float32ToBfloat16],
] as const)('%s', (_, exponentBits, widen, narrow) => {
  it('widens every bit pattern exactly', () => {
    const values = widen(all);
    expect(all.findIndex((bits) => !Object.is(values[bits], valueOf(bits, exponentBits)))).toBe(-1);
  });

  it('narrows every widened value, NaN included, to where it came from', () => {
    const back = narrow(widen(all));
    const isNaN16 = (bits: number) => Number.isNaN(valueOf(bits, exponentBits));
    expect(all.findIndex((bits) => (isNaN16(bits) ? !isNaN16(back[bits]!) : back[bits] !== bits))).toBe(-1);
  });

  it('rounds to the nearest, and half-way to even', () => {
    const positive = all.filter((bits) => Number.isFinite(valueOf(bits + 1, exponentBits)) && bits < 0x7f80);
    const wrong = positive.filter((bits) => {
      const [low, high] = [valueOf(bits, exponentBits), valueOf(bits + 1, exponentBits)];
      const middle = low + (high - low) / 2;
      const [atMiddle, below, above] = narrow(
        Float32Array.of(middle, low + (high - low) * 0.499, low + (high - low) * 0.501),
      );
      return atMiddle !== bits + (bits & 1) || below !== bits || above !== bits + 1;
    });
    expect([...wrong]).toEqual([]);
  });

  it('sends what is too large to infinity', () => {
    const values = Float32Array.of(3.4028234663852886e38, -Infinity);
    expect([...widen(narrow(values))]).toEqual([Infinity, -Infinity]);
  });
});

it('keeps the payload of a NaN of 16 bits', () => {
  const bits = new Uint32Array(halfToFloat32(Uint16Array.of(0xfd55)).buffer);
  expect(bits[0]).toBe((0xff800000 | (0x155 << 13)) >>> 0);
});
