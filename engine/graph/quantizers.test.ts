import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { evaluate, type Array_ } from '../../test/support.js';
import { gradients } from './gradients.js';
import { sizeOf, type Shape, type Value } from './ir.js';
import * as op from './ops.js';
import {
  fakeQuantizeActivation,
  fakeQuantizeCache,
  fakeQuantizeTokens,
  fakeQuantizeWeight,
  roundToGrid,
} from './quantizers.js';

const array = (shape: Shape, data: Iterable<number>): Array_ => ({ shape, data: Float32Array.from(data) });
const normal = (shape: Shape, ...path: (number | string)[]) => {
  const random = createRandom(1, ...path);
  return array(
    shape,
    Array.from({ length: sizeOf(shape) }, () => random.normal()),
  );
};

describe('roundToGrid', () => {
  type Clamp = (integers: Value) => Value;
  /** The same with the table's gradients alone. The factors are swapped: the value that has the rule is another. */
  const plainly = (x: Value, s: Value, clamp: Clamp) => op.mul(s, clamp(op.round(op.div(x, s))));
  /** Limits to −3..4, or to −z..7 − z with a zero point a row, as the quantizers below do. */
  const bounded: Clamp = (q) => op.clip(q, -3, 4);
  const shifted: Clamp = (q) => {
    const zero = op.stopGradient(q.graph.constant(Float32Array.of(3, 0, 7, -2), [4, 1]));
    return op.sub(op.clip(op.add(q, zero), 0, 7), zero);
  };

  const scales = array([4, 1], [0.5, 0.3, 0.7, 0.11]);
  it.each<[string, Array_, Clamp]>([
    ['a scale for the tensor', array([], [0.4]), bounded],
    ['a scale for the tensor, shape [1]', array([1], [0.25]), bounded],
    ['a scale a row', scales, bounded],
    [
      'a scale a column',
      array(
        [24],
        Array.from({ length: 24 }, (_, i) => 0.1 + i / 50),
      ),
      bounded,
    ],
    ['scale and zero point a row', scales, shifted],
  ])('has the gradients of its formula: %s', async (name, s, clamp) => {
    const x = normal([4, 24], name);
    // On the bounds and on ties between grid points, for a scale of a quarter and for one of a half.
    x.data.set([-1.5, 2, -0.75, 1, 0.25, -1.75, 2.25, 0.125, 0]);
    const inputs = { x, s, g: normal(x.shape, name, 'cotangent') };
    const found = await evaluate(inputs, (v) => {
      const y = [roundToGrid, plainly].map((f) => f(v.x!, v.s!, clamp));
      const [[dx, ds], [dx2, ds2]] = y.map((value) => gradients([{ value, cotangent: v.g! }], [v.x!, v.s!])) as [Value[], Value[]]; // prettier-ignore
      const [dxAlone, dsAlone] = [v.x!, v.s!].map(
        (wrt) => gradients([{ value: y[0]!, cotangent: v.g! }], [wrt])[0]!,
      );
      return {
        y: y[0]!,
        y2: y[1]!,
        dx: dx!,
        dx2: dx2!,
        ds: ds!,
        ds2: ds2!,
        dxAlone: dxAlone!,
        dsAlone: dsAlone!,
      };
    });
    expect(found.y).toEqual(found.y2);
    expect(found.dx!.filter((d) => d === 0).length, 'some are outside').toBeGreaterThan(5);
    for (const [one, other, size] of [
      [found.dx!, found.dx2!, 1],
      // A sum of that many terms, each a difference of numbers of order one (x/s grows with 1/s).
      [found.ds!, found.ds2!, found.ds2!.reduce((most, d) => Math.max(most, Math.abs(d)), 1)],
    ] as const)
      one.forEach((d, i) => expect(Math.abs(d - other[i]!) / size).toBeLessThan(1e-5));
    expect(found.dxAlone).toEqual(found.dx);
    expect(found.dsAlone).toEqual(found.ds);
  });

  it('leaves what is on the grid as it is', async () => {
    const x = normal([3, 8], 'idempotent');
    const { once, twice } = await evaluate({ x }, (v, graph) => {
      const quantize = (y: Value) => roundToGrid(y, graph.scalar(0.3), (q) => op.clip(q, -4, 3));
      return { once: quantize(v.x!), twice: quantize(quantize(v.x!)) };
    });
    expect(once).toEqual(twice);
    expect(new Set(once).size).toBeLessThanOrEqual(8);
  });
});

describe('fakeQuantizeWeight', () => {
  const quantize = async (weight: Array_, bits: number, groupSize = -1, logit = 30) => {
    const [out, columns] = weight.shape as [number, number];
    const count = groupSize === -1 ? out : out * Math.ceil(columns / groupSize);
    const clip = array([count, 1], new Float32Array(count).fill(logit));
    const inputs = { weight, upper: clip, lower: clip, g: normal(weight.shape, 'g') };
    const found = await evaluate(inputs, (v, graph) => {
      const y = fakeQuantizeWeight(v.weight!, v.upper!, v.lower!, graph.scalar(2 ** bits - 1), groupSize);
      const [dw, dUpper, dLower] = gradients(
        [{ value: y, cotangent: v.g! }],
        [v.weight!, v.upper!, v.lower!],
      );
      return { y, dw: dw!, dUpper: dUpper!, dLower: dLower! };
    });
    for (const [name, values] of Object.entries(found))
      expect(values.every(Number.isFinite), name).toBe(true);
    return found;
  };

  it.each([2, 4, 8])(
    '%i bits: at most 2^bits numbers a row, none further off than half a step',
    async (bits) => {
      const weight = normal([3, 400], 'weight');
      const { y } = await quantize(weight, bits);
      for (let row = 0; row < 3; row++) {
        const [before, after] = [weight.data, y!].map((v) => v.slice(row * 400, row * 400 + 400)) as [
          Float32Array,
          Float32Array,
        ];
        const step = (Math.max(...before) - Math.min(...before)) / (2 ** bits - 1);
        expect(new Set(after).size).toBeLessThanOrEqual(2 ** bits);
        // The zero point is rounded, so an end of the range may be half a step off the grid as well.
        before.forEach((w, i) => expect(Math.abs(w - after[i]!)).toBeLessThan(step * 1.001));
      }
    },
  );

  it('treats a group of columns as a row of its own, the last one with zeros behind it', async () => {
    const weight = normal([2, 7], 'groups');
    const { y } = await quantize(weight, 3, 3);
    const parts = [0, 7].flatMap((row) =>
      [0, 3, 6].map((at) => [...weight.data.slice(row + at, Math.min(row + at + 3, row + 7))]),
    );
    const padded = parts.flatMap((part) => [...part, 0, 0].slice(0, 3));
    const alone = (await quantize(array([6, 3], padded), 3)).y!;
    expect([...y!]).toEqual([...alone].filter((_, i) => i % 9 < 7));
  });

  it('has levels at halves of a step, with the same gradient, where zero points may be halves', async () => {
    const weight = array([1, 6], [-1.5, -0.6, -0.4, 0.4, 0.6, 1.5]);
    const clip = array([1, 1], [30]);
    const g = normal([1, 6], 'g');
    const found = await evaluate({ weight, clip, g }, (v, graph) => {
      const quantize = (of: Value, halves: boolean) =>
        fakeQuantizeWeight(of, v.clip!, v.clip!, graph.scalar(3), -1, halves);
      const [y, whole] = [quantize(v.weight!, true), quantize(v.weight!, false)];
      const [dw, dClip] = gradients([{ value: y, cotangent: v.g! }], [v.weight!, v.clip!]);
      return { y, whole, dw: dw!, dClip: dClip!, again: quantize(y, true) };
    });
    expect([...found.y!]).toEqual([-1.5, -0.5, -0.5, 0.5, 0.5, 1.5]);
    expect([...found.whole!]).not.toEqual([...found.y!]);
    expect(found.again).toEqual(found.y);
    // The ends also move the step: (Σ g · ŵ − Σ dw · w) / s, and the range is 3 steps.
    const sum = weight.data.reduce((total, w, i) => total + g.data[i]! * (found.y![i]! - w), 0);
    const expected = [...g.data].map((x, i) => x + (i === 5 ? sum / 3 : i === 0 ? -sum / 3 : 0));
    expected.forEach((x, i) => expect(found.dw![i]!).toBeCloseTo(x, 5));
  });

  it('rows without a range stay finite, in value and gradient', async () => {
    const { y, dw } = await quantize(array([4, 2], [0, 0, 0.5, 0.5, -0.25, -0.25, 1e-12, -1e-12]), 4, -1, 4);
    expect([...y!.slice(0, 2)]).toEqual([0, 0]);
    [0.5, 0.5, -0.25, -0.25].forEach((w, i) =>
      expect(y![2 + i]! / w, 'clipped to σ(4)').toBeCloseTo(1 / (1 + Math.exp(-4)), 3),
    );
    expect(dw!.some((d) => d !== 0)).toBe(true);
  });

  it.each([2 ** -30, 2 ** 20])(
    'a weight %d times as large has the same codes, and gradients of its clip',
    async (k) => {
      const rows = [
        ...normal([3, 8], 'multiple').data,
        ...[0, 0, 0, 0, 0, 0, 0, 0],
        ...Array<number>(8).fill(0.7),
      ];
      for (const groupSize of [-1, 4]) {
        const one = await quantize(array([5, 8], rows), 3, groupSize, 4);
        const other = await quantize(
          array(
            [5, 8],
            rows.map((x) => x * k),
          ),
          3,
          groupSize,
          4,
        );
        expect(other.y).toEqual(one.y!.map((x) => x * k));
        expect(other.dw).toEqual(one.dw);
        expect(other.dUpper).toEqual(one.dUpper!.map((x) => x * k));
      }
    },
  );

  it('a single column is a row without a range', async () => {
    const { y } = await quantize(array([3, 1], [0.5, -2, 0]), 8);
    [0.5, -2, 0].forEach((w, i) => expect(y![i]).toBeCloseTo(w, 4));
  });
});

describe('activations', () => {
  it('the limits are constants to the gradient', async () => {
    const inputs = { x: normal([4, 4], 'x'), zero: array([], [7]), g: normal([4, 4], 'g') };
    const { dz } = await evaluate(inputs, (v, graph) => {
      const y = fakeQuantizeActivation(
        v.x!,
        graph.scalar(0.1),
        op.neg(v.zero!),
        op.sub(graph.scalar(15), v.zero!),
      );
      return { dz: gradients([{ value: y, cotangent: v.g! }], [v.zero!])[0]! };
    });
    expect([...dz!]).toEqual([0]);
  });

  it('a token of zeros stays zero and its gradient finite; the largest element of a token is exact', async () => {
    const inputs = { x: array([1, 3, 2], [0, 0, 3, -1, 1e-9, -7]), g: array([1, 3, 2], [1, 2, 3, 4, 5, 6]) };
    const { y, dx } = await evaluate(inputs, (v, graph) => {
      const quantized = fakeQuantizeTokens(v.x!, graph.scalar(-7), graph.scalar(7));
      return { y: quantized, dx: gradients([{ value: quantized, cotangent: v.g! }], [v.x!])[0]! };
    });
    expect([...y!.slice(0, 3)].map((v) => Math.abs(v))).toEqual([0, 0, 3]);
    expect(y![5]).toBe(-7);
    expect(dx!.every(Number.isFinite)).toBe(true);
  });

  it.each([2 ** -30, 2 ** 20])('tokens, keys and values %d times as large have the same codes', async (k) => {
    const x = normal([6, 8], 'multiple');
    x.data.fill(0, 0, 8).fill(3, 8, 16);
    const found = await evaluate(
      {
        x,
        larger: array(
          x.shape,
          x.data.map((v) => v * k),
        ),
      },
      (v, graph) => {
        const tokens = (of: Value) => fakeQuantizeTokens(of, graph.scalar(-7), graph.scalar(7));
        const cache = (of: Value) => fakeQuantizeCache(of, 4, graph.scalar(15));
        const [one, other] = [v.x!, v.larger!];
        return { tokens: tokens(one), tokens2: tokens(other), cache: cache(one), cache2: cache(other) };
      },
    );
    expect(found.tokens2).toEqual(found.tokens!.map((v) => v * k));
    expect(found.cache2).toEqual(found.cache!.map((v) => v * k));
  });

  it.each([2, 4, 8])('keys and values have a grid for each group of channels, at %i bits', async (bits) => {
    const [tokens, channels, size] = [5, 12, 4];
    const x = normal([tokens, channels], 'cache', bits);
    x.data.set([2, 2, 2, 2]);
    const levels = 2 ** bits - 1;
    const { y } = await evaluate({ x }, (v, graph) => ({
      y: fakeQuantizeCache(v.x!, size, graph.scalar(levels)),
    }));
    for (let from = 0; from < x.data.length; from += size) {
      const group = [...x.data.slice(from, from + size)];
      const [hi, lo] = [0.95 * Math.max(...group), 0.95 * Math.min(...group)];
      const scale = Math.max((hi - lo) / levels, 1e-5 * Math.max(...group.map(Math.abs)));
      const zero = Math.round(-lo / scale);
      group.forEach((value, i) => {
        const q = Math.min(Math.max(Math.round(value / scale) + zero, 0), levels);
        expect(y![from + i]).toBeCloseTo(scale * (q - zero), 3);
      });
    }
  });

  it('the gradient of keys and values is that of their grid, ends included', async () => {
    const inputs = { x: array([1, 4], [-1, 0.3, 2, 0.1]), g: array([1, 4], [1, 10, 100, 1000]) };
    const { dx } = await evaluate(inputs, (v, graph) => ({
      dx: gradients([{ value: fakeQuantizeCache(v.x!, 4, graph.scalar(3)), cotangent: v.g! }], [v.x!])[0]!,
    }));
    // s = 0.95 (2 − (−1)) / 3 = 0.95 and z = 1: integers −1, 0, 2, 0. Both ends are within the grid at −1 and 2.
    const steps = [-1, 0.3, 2, 0.1].map((x) => x / 0.95);
    const slope =
      1 * (-1 - steps[0]!) + 10 * (0 - steps[1]!) + 100 * (2 - steps[2]!) + 1000 * (0 - steps[3]!);
    const expected = [1 - (slope * 0.95) / 3, 10, 100 + (slope * 0.95) / 3, 1000];
    expected.forEach((d, i) => expect(dx![i]! / d).toBeCloseTo(1, 4));
  });
});
