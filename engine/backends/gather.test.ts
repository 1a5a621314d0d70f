import { expect, it } from 'vitest';
import { inOrder } from './gather.js';

// Less than is taken at once, and not a multiple of it.
it.each([1, 3, 8, 1030])('%i elements, some twice, bit for bit', (n) => {
  const order = Uint32Array.from({ length: n }, (_, i) => (7 * i * i + 3) % n);
  const arranged = inOrder(order);
  for (const start of [0, 5]) {
    const line = Float32Array.from({ length: n }, (_, i) => Math.fround(Math.sin(start + i)));
    line[0] = -0;
    expect([...arranged(line)]).toEqual([...order].map((place) => line[place]));
  }
});
