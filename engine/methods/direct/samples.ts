/** Some of the samples of a calibration set. */
import type { ModelInputs, Samples } from '../../execution/sample-store.js';

/** Samples `from` to `to` of what a model reads. */
export function cut(inputs: ModelInputs, from: number, to: number): ModelInputs {
  return {
    ...range(inputs, from, to),
    ...(inputs.side && {
      side: new Map([...inputs.side].map(([name, source]) => [name, range(source, from, to)])),
    }),
  };
}

function range(source: Samples, from: number, to: number): Samples {
  return {
    samples: to - from,
    size: source.size,
    read: (indices: readonly number[], into: never) =>
      source.read(
        indices.map((i) => i + from),
        into,
      ),
  };
}
