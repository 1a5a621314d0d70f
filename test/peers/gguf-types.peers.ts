/** The types of ggml that tensors of GGUF files are read from, beside the format's own library. */
import { expect } from 'vitest';
import { TYPES } from '../../engine/imports/gguf/values.js';
import { floats, peerSuite, type Case } from './suite.js';

interface TypeCase extends Case {
  readonly type: string;
  /** Rows, and blocks in each. */
  readonly shape: readonly [number, number];
}

peerSuite<TypeCase, { readonly bytes: string; readonly values: string; readonly id: number }>({
  name: 'gguf types',
  python: 'gguf_types.py',
  cases: 120,
  make: ({ pick, whole }, seed) => ({
    seed,
    type: pick(Object.values(TYPES)).name,
    shape: [whole(1, 4), whole(1, 5)],
  }),
  check: ({ type }, answer) => {
    const known = TYPES[answer.id]!;
    expect(known.name).toBe(type);
    const [bytes, expected] = [Buffer.from(answer.bytes, 'base64'), floats(answer.values)];
    const values = new Float32Array((bytes.length / known.bytes) * known.elements);
    known.decode(bytes, values);
    expect(values.length).toBe(expected.length);
    values.forEach((value, i) => {
      const theirs = expected[i]!;
      if (!Number.isFinite(theirs)) expect(Number.isFinite(value)).toBe(false);
      else expect(Math.abs(value - theirs)).toBeLessThanOrEqual(1e-6 * Math.abs(theirs) + 1e-6);
    });
    return Promise.resolve();
  },
});
