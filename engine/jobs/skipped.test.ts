import { expect, it } from 'vitest';
import { readFields } from '../formats/json-fields.js';
import { skippedSamples } from './kinds/fields.js';
import { namedSkipped } from './skipped.js';

it('any number of samples that were skipped makes a result of bounded size, which its reader takes', () => {
  const all = Array.from({ length: 200_000 }, (_, i) => ({
    name: `${i}`.padEnd(4000, 'x'),
    reason: 'damaged',
  }));
  const kept = namedSkipped(all);
  const written = JSON.stringify(kept);
  expect(written.length).toBeLessThan(100_000);
  expect(kept.skippedCount).toBe(200_000);
  expect(readFields(JSON.parse(written), skippedSamples, 'result')).toEqual(kept);
  expect(namedSkipped(all.slice(0, 2))).not.toHaveProperty('skippedCount');
});
