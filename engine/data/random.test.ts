import { expect, test } from 'vitest';
import { createRandom } from './random.js';

test('draws the same numbers forever', () => {
  const random = createRandom(42, 'calibration', 3);
  expect([random.next(), random.next()]).toEqual([0.05357478306959518, 0.013824901287374014]);
  expect([random.integer(10), random.integer(1000), random.integer(2 ** 32)]).toEqual([4, 755, 904875742]);
  expect(random.shuffle([0, 1, 2, 3, 4, 5, 6, 7])).toEqual([5, 6, 1, 0, 3, 7, 2, 4]);
  expect(createRandom(-0.5).integer(2 ** 32)).toBe(3152142577);
});

test('gives every path a stream of its own', () => {
  const paths: (number | string)[][] = [
    [],
    ['1'],
    [1],
    [1, 1],
    [11],
    ['1', '1'],
    ['11'],
    ['n1;'],
    ['a'],
    ['b'],
  ];
  const firsts = [0, 1].flatMap((seed) => paths.map((path) => createRandom(seed, ...path).next()));
  expect(new Set(firsts).size).toBe(firsts.length);
  expect(createRandom(7, 'x').next()).toBe(createRandom(7, 'x').next());
});

test('is uniform, for neighbouring seeds too', () => {
  const counts = new Array<number>(10).fill(0);
  let sum = 0;
  for (let seed = 0; seed < 1000; seed++) {
    const random = createRandom(seed);
    for (let draw = 0; draw < 20; draw++) counts[random.integer(10)]!++;
    sum += random.next();
  }
  const chiSquare = counts.reduce((total, count) => total + (count - 2000) ** 2 / 2000, 0);
  expect(chiSquare).toBeLessThan(27.9);
  expect(sum / 1000).toBeCloseTo(0.5, 1);
});

test('shuffles every order with equal chance', () => {
  const counts = new Map<string, number>();
  const random = createRandom(1, 'orders');
  for (let draw = 0; draw < 6000; draw++) {
    const order = random.shuffle(['a', 'b', 'c']).join('');
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  expect(counts.size).toBe(6);
  for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
});

test('draws normal samples', () => {
  const random = createRandom(3);
  const samples = Array.from({ length: 20000 }, () => random.normal());
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  const variance = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0) / samples.length;
  expect(mean).toBeCloseTo(0, 1);
  expect(variance).toBeCloseTo(1, 1);
  expect(samples.every(Number.isFinite)).toBe(true);
});

test('refuses what has no meaning', () => {
  expect(() => createRandom(NaN)).toThrow(RangeError);
  expect(() => createRandom(1).integer(0)).toThrow(RangeError);
  expect(() => createRandom(1).integer(2 ** 32 + 1)).toThrow(RangeError);
});
