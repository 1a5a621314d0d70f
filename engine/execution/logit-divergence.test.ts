import { describe, expect, it } from 'vitest';
import { klDivergence } from '../divergence.js';
import * as op from '../graph/ops.js';
import type { Part } from '../models/model.js';
import { openPlainPart } from './part.js';
import { meanDivergence } from './logit-divergence.js';
import { normals, storeOf, usePrograms } from './testing.js';

const programs = usePrograms();
const [SAMPLES, TOKENS, FEATURES, CLASSES] = [5, 3, 4, 9];
const ROWS = SAMPLES * TOKENS;

/** Logits are three times what the head reads, in more classes than that has channels. */
const head: Part = {
  prefix: '',
  kind: 'head',
  inputShape: (batch) => [batch, FEATURES],
  outputShape: (batch) => [batch, CLASSES],
  forward: (b, x) => op.mul(b.linear('layer', x, CLASSES, { bias: false }), x.graph.scalar(3)),
};
const weights = [0, 1].map((i) => normals([CLASSES, FEATURES], 'weight', i));
const hidden = [0, 1].map((i) => normals([ROWS, FEATURES], 'hidden', i).data);
const { signal } = new AbortController();

const divergence = async (most?: number) => {
  const [p, q] = await Promise.all(
    [0, 1].map(async (i) => ({
      head: await openPlainPart(programs, head, new Map([['layer.weight', weights[i]!]])),
      store: await storeOf(hidden[i]!, SAMPLES),
    })),
  );
  return meanDivergence(programs, { head }, p!, q!, signal, most);
};

/** Rows of logits in float64. */
const logits = (i: number) =>
  Array.from({ length: ROWS }, (_, row) =>
    Float32Array.from({ length: CLASSES }, (_, c) => {
      let sum = 0;
      for (let k = 0; k < FEATURES; k++)
        sum += weights[i]!.data[c * FEATURES + k]! * hidden[i]![row * FEATURES + k]!;
      return 3 * sum;
    }),
  );
const [p, q] = [logits(0), logits(1)];
const expected = p.reduce((sum, row, i) => sum + klDivergence(row, q[i]!), 0) / ROWS;

describe('meanDivergence', () => {
  it('is the mean over tokens of KL in nats', async () => {
    expect((await divergence()) / expected).toBeCloseTo(1, 5);
  });

  it.each([1, 2, 4, 14, 15])(
    'does not depend on running %i rows at a time, nor counts any twice',
    async (rows) => {
      expect((await divergence(rows)) / expected).toBeCloseTo(1, 5);
    },
  );
});
