/** A small model's table for tests. */
import type { PrecisionTable } from '../../engine/protocol/protocol.js';

export const table: PrecisionTable = {
  model: { name: 'vit', task: 'image-classification', family: 'vit' },
  bits: [2, 4, 8],
  layers: ['b.0.q', 'b.0.k', 'b.1.q', 'b.1.k'].map((name) => ({
    name,
    block: name.slice(0, 3),
    shape: [10, 10] as const,
    weights: 100,
    bytes: [30, 55, 105],
  })),
  otherBytes: 1000,
  fullBytes: 4000,
  switchableBytes: 9000,
  sensitivity: {
    path: '/m/a/sensitivity.json',
    costs: [1, 2, 3, 4].map((cost) => [cost, cost / 10, cost / 100]),
    kind: 'estimated',
    samples: 64,
    data: 'pictures',
  },
};
