/** What each byte of a picture becomes: rescaled and normalized, as Hugging Face's numpy code computes it. */

/** Of a `Preprocessor`, what turns bytes into numbers. */
export interface ByteSteps {
  readonly channels: number;
  readonly rescaleFactor?: number;
  readonly normalize?: { readonly mean: readonly number[]; readonly std: readonly number[] };
}

/** For each channel, the float32 value of each of the 256 bytes; rounded to float32 after each step. */
export function byteValues({ channels, rescaleFactor, normalize }: ByteSteps): Float32Array[] {
  return Array.from({ length: channels }, (_, channel) =>
    Float32Array.from({ length: 256 }, (_, byte) => {
      const value = rescaleFactor === undefined ? byte : Math.fround(byte * rescaleFactor);
      if (!normalize) return value;
      const centered = Math.fround(value - Math.fround(normalize.mean[channel]!));
      return centered / Math.fround(normalize.std[channel]!);
    }),
  );
}
