/** Tensors on the host. */

/** The learned tensors of a block by the adapter set's names, local to the block. Shapes as in docs/FORMATS.md. */
export type NamedTensors = Map<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;
