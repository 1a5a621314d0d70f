/** Bit-widths that a layer can have. */
export const MIN_BITS = 2;
export const MAX_BITS = 8;
