import { describe, expect, it } from 'vitest';
import { evaluate, maxDifference } from '../../../test/support.js';
import { gradients } from '../../graph/gradients.js';
import { Graph } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import {
  adaptedWeight,
  adapterLayout,
  clipSize,
  loraSize,
  splitClip,
  splitLora,
  splitScale,
} from './adapters.js';
import { packState, stateTensors } from './state.js';
import { normals, rowsOf, tinyBlock } from '../../execution/testing.js';
import { randomAdapters } from './testing.js';

const [OUT, IN, RANK] = [5, 7, 6];
const tensors = {
  w: normals([OUT, IN], 'w'),
  a: normals([RANK, IN], 'a'),
  b: normals([OUT, RANK], 'b'),
  g: normals([OUT, IN], 'g'),
};

/** W + gain · B[:, from:to] A[from:to, :] in float64, without W where `from` > 0. */
function product(from: number, to: number, gain = 1): number[] {
  const [w, a, b] = [tensors.w, tensors.a, tensors.b].map(rowsOf) as [number[][], number[][], number[][]];
  return w.flatMap((row, o) =>
    row.map((x, i) => {
      let sum = from === 0 ? x : 0;
      for (let r = from; r < to; r++) sum += gain * b[o]![r]! * a[r]![i]!;
      return sum;
    }),
  );
}

const far = (found: Float32Array, expected: readonly number[]) =>
  maxDifference(found, Float32Array.from(expected));

describe('adaptedWeight', () => {
  it('adds the first directions, so that a lower group adds to what the group above it has', async () => {
    const found = await evaluate(tensors, (v) => {
      const at = (rank: number, gain = 1) => adaptedWeight(v.w!, { a: v.a!, b: v.b! }, { rank, gain });
      return { high: at(2), middle: at(4), low: at(6), half: at(4, 0.5) };
    });
    expect(far(found.high!, product(0, 2))).toBeLessThan(1e-5);
    expect(far(found.low!, product(0, 6))).toBeLessThan(1e-5);
    expect(far(found.half!, product(0, 4, 0.5))).toBeLessThan(1e-5);
    expect(
      far(
        found.middle!.map((x, i) => x - found.high![i]!),
        product(2, 4),
      ),
    ).toBeLessThan(1e-5);
  });

  it('gives gradients to the directions in use, and to no others', async () => {
    const found = await evaluate(tensors, (v) => {
      const value = adaptedWeight(v.w!, { a: v.a!, b: v.b! }, { rank: 4, gain: 0.5 });
      const [a, b] = gradients([{ value, cotangent: v.g! }], [v.a!, v.b!]);
      return { dA: a!, dB: b! };
    });
    const [a, b, g] = [tensors.a, tensors.b, tensors.g].map(rowsOf) as [number[][], number[][], number[][]];
    const dA = a.flatMap((row, r) =>
      row.map((_, i) => (r < 4 ? 0.5 * g.reduce((sum, out, o) => sum + out[i]! * b[o]![r]!, 0) : 0)),
    );
    const dB = b.flatMap((row, o) =>
      row.map((_, r) => (r < 4 ? 0.5 * g[o]!.reduce((sum, x, i) => sum + x * a[r]![i]!, 0) : 0)),
    );
    expect(far(found.dA!, dA)).toBeLessThan(1e-5);
    expect(far(found.dB!, dB)).toBeLessThan(1e-5);
  });

  it('is the weight itself at rank 0 and at gain 0', () => {
    const graph = new Graph();
    const [w, a, b] = [
      graph.input('w', [OUT, IN]),
      graph.input('a', [RANK, IN]),
      graph.input('b', [OUT, RANK]),
    ];
    expect(adaptedWeight(w, { a, b }, { rank: 0, gain: 1 })).toBe(w);
    expect(adaptedWeight(w, { a, b }, { rank: 4, gain: 0 })).toBe(w);
  });
});

const { listing } = tinyBlock();
const groups = [
  { bits: [7, 8], rank: 2, gain: 1 },
  { bits: [4], rank: 3, gain: 1 },
];

describe('adapterLayout', () => {
  const names = (activations: boolean, operands?: boolean) =>
    adapterLayout(listing, groups, activations, operands).quantizers;

  it('has a quantizer for each distinct input, and one for each operand of a product', () => {
    const inputs = [
      'attention.attention.query',
      'attention.output.dense',
      'intermediate.dense',
      'output.dense',
    ];
    expect(names(true, false)).toEqual(inputs);
    expect(names(true).slice(0, 4)).toEqual(inputs);
    expect(names(true).slice(4).sort()).toEqual(['k', 'q', 'v'].map((x) => `attention.attention.${x}`));
    expect(names(false)).toEqual([]);
  });

  it('has the rank of the last group, and room for every layer', () => {
    const layout = adapterLayout(listing, groups, true);
    expect(layout.rank).toBe(3);
    expect(loraSize(layout)).toBe(3 * (4 * (16 + 16) + 2 * (16 + 32)));
    expect(clipSize(layout, 0)).toBe(2 * (5 * 16 + 32));
    // Groups of 12 columns: two per row of 16, three per row of 32.
    const grouped = adapterLayout(listing, groups, true, true, [-1, 12]);
    expect(clipSize(grouped, 0)).toBe(clipSize(layout, 0));
    expect(clipSize(grouped, 1)).toBe(2 * (2 * (4 * 16 + 32) + 3 * 16));
  });
});

it.each([[[-1, -1]], [[-1, 8]]])(
  'splits the flat tensors in the graph as they are packed on the host, scales per %j',
  async (sizes) => {
    const layout = adapterLayout(listing, groups, true, true, sizes);
    const named = randomAdapters(layout);
    const flat = packState(layout, named);
    const inputs = Object.fromEntries(
      stateTensors(layout).map(({ name, shape }) => [name, { shape, data: flat.get(name)! }]),
    );
    const found = await evaluate(inputs, (v) => {
      const outputs: Record<string, (typeof v)[string]> = {};
      // A piece of one row may be the very row: an output needs a value of its own.
      const output = (name: string, value: (typeof v)[string]) => (outputs[name] = op.neg(value));
      for (const [layer, { a, b }] of splitLora(layout, v.lora!)) {
        output(`${layer}.lora_A`, a);
        output(`${layer}.lora_B`, b);
      }
      groups.forEach(({ bits }, g) =>
        bits.forEach((b, i) => {
          for (const [layer, { upper, lower }] of splitClip(
            layout,
            g,
            op.slice(v[`clip.${g}`]!, 0, i, i + 1),
          )) {
            output(`${layer}.clip_upper.${b}`, upper);
            output(`${layer}.clip_lower.${b}`, lower);
          }
          for (const [name, scale] of splitScale(layout, op.slice(v[`scale.${g}`]!, 0, i, i + 1)))
            output(`${name}.act_scale.${b}`, scale);
        }),
      );
      return outputs;
    });
    for (const [name, { data }] of named)
      if (!name.includes('act_zero')) expect(found[name], name).toEqual(data.map((x) => -x));
    expect(Object.keys(found)).toHaveLength(
      [...named.keys()].filter((name) => !name.includes('act_zero')).length,
    );
  },
);
