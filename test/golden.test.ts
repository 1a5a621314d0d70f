import { describe, expect, it } from 'vitest';
import { gradients } from '../engine/graph/gradients.js';
import * as op from '../engine/graph/ops.js';
import { adamScalars } from '../engine/graph/optimizers.js';
import {
  fakeQuantizeActivation,
  fakeQuantizeTokens,
  fakeQuantizeWeight,
} from '../engine/graph/quantizers.js';
import { adaptedWeight, adapterLayout } from '../engine/methods/quept/adapters.js';
import { percentileStart } from '../engine/execution/activation-ranges.js';
import { mergeTokens, tokenSimilarity } from '../engine/methods/quept/merge.js';
import { openElasticPart } from '../engine/execution/quantized-part.js';
import { type NamedTensors } from '../engine/execution/tensors.js';
import { packState, stateTensors, unpackState } from '../engine/methods/quept/state.js';
import { drawnInputs, stepGraph } from '../engine/methods/quept/step.js';
import { learnedBlock } from '../engine/methods/quept/testing.js';
import { attention } from '../engine/models/attention.js';
import { listPart } from '../engine/models/listing.js';
import type { Part } from '../engine/models/model.js';
import { openPrograms } from '../engine/runtime/programs.js';
import { openRuntime, type Tensor } from '../engine/runtime/session.js';
import { evaluate, maxDifference, readGolden, sumTolerance } from './support.js';

const weights = await readGolden('weight_quantizer.safetensors');
const weightCases = [...new Set(weights.names.map((name) => name.split('.').slice(0, 2).join('.')))];

describe('weight quantizer', () => {
  it.each(weightCases)('%s: output and gradients', async (name) => {
    const [, group, bits] = /^g(-?\d+)\.b(\d)$/.exec(name)!.map(Number);
    const at = (key: string) => weights.floats(`${name}.${key}`);
    const keys = ['W', 'A', 'B', 'clip_upper', 'clip_lower', 'cotangent'];
    const found = await evaluate(Object.fromEntries(keys.map((key) => [key, at(key)])), (v, graph) => {
      const adapted = adaptedWeight(v.W!, { a: v.A!, b: v.B! }, { rank: 4, gain: 1 });
      const out = fakeQuantizeWeight(
        adapted,
        v.clip_upper!,
        v.clip_lower!,
        graph.scalar(2 ** bits! - 1),
        group,
      );
      const wrt = [v.A!, v.B!, v.clip_upper!, v.clip_lower!];
      const [dA, dB, dclip_upper, dclip_lower] = gradients([{ value: out, cotangent: v.cotangent! }], wrt);
      return { out, dA: dA!, dB: dB!, dclip_upper: dclip_upper!, dclip_lower: dclip_lower! };
    });
    const [out, columns] = at('W').shape as [number, number];
    const clipped = group === -1 ? columns : group!;
    /** What each gradient sums over. */
    const terms = { out: 1, dA: out, dB: columns, dclip_upper: clipped, dclip_lower: clipped };
    for (const [key, count] of Object.entries(terms))
      expect(maxDifference(found[key]!, at(key).data), key).toBeLessThan(sumTolerance(count));
  });
});

const activations = await readGolden('activation_quantizer.safetensors');
const activationBits = [...new Set(activations.names.map((name) => Number(name[1])))];

describe('activation quantizer', () => {
  it.each(activationBits)('static at %i bits: percentile start, output and gradients', async (bits) => {
    const at = (key: string) => activations.floats(`b${bits}.${key}`);
    const [start] = percentileStart(at('x').data.slice(), [bits]);
    expect(Math.abs(start!.scale - at('static.scale').data[0]!)).toBeLessThan(1e-5);
    expect(start!.zero).toBe(at('static.zero').data[0]);
    const inputs = { x: at('x'), cotangent: at('cotangent'), scale: at('static.scale') };
    const zero = at('static.zero').data[0]!;
    const found = await evaluate(inputs, (v, graph) => {
      const out = fakeQuantizeActivation(
        v.x!,
        v.scale!,
        graph.scalar(-zero),
        graph.scalar(2 ** bits - 1 - zero),
      );
      const [dx, dscale] = gradients([{ value: out, cotangent: v.cotangent! }], [v.x!, v.scale!]);
      return { out, dx: dx!, dscale: dscale! };
    });
    for (const key of ['out', 'dx'])
      expect(maxDifference(found[key]!, at(`static.${key}`).data), key).toBeLessThan(1e-5);
    // A sum over all elements of differences between numbers of the size of x/s, a few digits of which cancel.
    const { data } = at('x');
    const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / at('static.scale').data[0]!;
    expect(maxDifference(found.dscale!, at('static.dscale').data)).toBeLessThan(
      sumTolerance(data.length, 0.1 * largest),
    );
  });

  it.each(activationBits)('dynamic at %i bits: output and gradient', async (bits) => {
    const at = (key: string) => activations.floats(`b${bits}.${key}`);
    const found = await evaluate({ x: at('x'), cotangent: at('cotangent') }, (v, graph) => {
      const top = 2 ** (bits - 1) - 1;
      const out = fakeQuantizeTokens(v.x!, graph.scalar(-top), graph.scalar(top));
      return { out, dx: gradients([{ value: out, cotangent: v.cotangent! }], [v.x!])[0]! };
    });
    for (const key of ['out', 'dx'])
      expect(maxDifference(found[key]!, at(`dynamic.${key}`).data), key).toBeLessThan(1e-5);
  });
});

describe('token merge', () => {
  it.each(['c0', 'c1', 'c2'])('%s: similarity and merged tokens', async (name) => {
    const golden = await readGolden('token_merge.safetensors');
    const at = (key: string) => golden.floats(`${name}.${key}`);
    const keep = Math.floor(at('keep').data[0]! * at('high').shape[0]!);
    const found = await evaluate(
      { high: at('high'), mid: at('mid'), low: at('low') },
      ({ high, mid, low }) => {
        const similarity = tokenSimilarity(high!, low!);
        return { similarity, merged: mergeTokens([high!, mid!, low!], [0.3, 0.3, 0.4], 1, keep, similarity) };
      },
    );
    expect(maxDifference(found.similarity!, at('similarity').data)).toBeLessThan(1e-6);
    expect(maxDifference(found.merged!, at('merged').data)).toBeLessThan(1e-6);
  });
});

describe('block calibration', () => {
  it('follows the trajectory of 40 steps and ends where it ends', async () => {
    const golden = await readGolden('block_calibration.safetensors');
    const at = (key: string) => golden.floats(key);
    const [dim, heads, hidden, tokens, batch, samples, steps] = [48, 3, 96, 17, 8, 32, 40];
    const bitWidths = [4, 5, 6, 7, 8];
    const groups = [
      { bits: [7, 8], rank: 4, gain: 1 },
      { bits: [5, 6], rank: 8, gain: 1 },
      { bits: [4], rank: 12, gain: 1 },
    ];
    const part: Part = {
      prefix: '',
      kind: 'block',
      inputShape: (n) => [n * tokens, dim],
      outputShape: (n) => [n * tokens, dim],
      forward: (b, x, n) => {
        const [q, k, v] = op.split(
          b.linear('qkv', b.layerNorm('norm1', x, 1e-6), 3 * dim),
          [dim, dim, dim],
          1,
        );
        const attended = op.add(
          x,
          b.linear('proj', attention(b, 'attention', { q: q!, k: k!, v: v! }, n, { heads }), dim),
        );
        return op.add(
          attended,
          b.linear('fc2', op.gelu(b.linear('fc1', b.layerNorm('norm2', attended, 1e-6), hidden)), dim),
        );
      },
    };
    const listing = listPart(part);
    const layout = adapterLayout(listing, groups, true, false);

    const named: NamedTensors = new Map();
    for (const { name } of layout.layers) {
      for (const key of ['lora_A', 'lora_B']) named.set(`${name}.${key}`, at(`init.${name}.${key}`));
      bitWidths.forEach((bits, i) => {
        const rows = at(`init.${name}.clip_upper`).shape[1]!;
        for (const key of ['clip_upper', 'clip_lower'])
          named.set(`${name}.${key}.${bits}`, {
            shape: [rows, 1],
            data: at(`init.${name}.${key}`).data.slice(i * rows, (i + 1) * rows),
          });
        for (const key of ['act_scale', 'act_zero'])
          named.set(`${name}.${key}.${bits}`, {
            shape: [1],
            data: at(`init.${name}.${key}`).data.slice(i, i + 1),
          });
      });
    }

    const runtime = openRuntime('cpu', 1);
    const fixed: Record<string, Tensor> = {};
    for (const { name, shape } of listing.parameters)
      fixed[name] = runtime.tensor(at(`init.${name}`).data, shape);
    let state: Record<string, Tensor> = {};
    const start = packState(layout, named);
    for (const { name, shape } of stateTensors(layout)) {
      state[name] = runtime.tensor(start.get(name)!, shape);
      for (const moment of ['m', 'v'])
        state[`${name}.${moment}`] = runtime.tensor(new Float32Array(start.get(name)!.length), shape);
    }

    const options = {
      batch,
      loss: 'mae',
      apart: 'none',
      ownStreams: false,
    } as const;
    const step = await runtime.compile(stepGraph(part, layout, options), 'step');
    const scalar = (x: number) => runtime.tensor(Float32Array.of(x), []);
    const rows = (key: string, first: number) =>
      runtime.tensor(at(key).data.slice(first * tokens * dim, (first + batch) * tokens * dim), [
        batch * tokens,
        dim,
      ]);
    const rates = { lora: 1e-3, clip: 1e-2, scale: 1e-4 };
    const losses: number[][] = [];
    for (let s = 0; s < steps; s++) {
      const feeds: Record<string, Tensor> = { ...fixed, ...state };
      const first = (s * batch) % samples;
      feeds.x = rows('x_quant', first);
      feeds.y = rows('target', first);
      feeds.losses = runtime.tensor(new Float32Array(groups.length), [groups.length]);
      groups.forEach((_, g) => {
        const drawn = at('choices').data[s * groups.length + g]!;
        const inputs = drawnInputs(
          layout,
          g,
          drawn,
          (name) => named.get(`${name}.act_zero.${drawn}`)!.data[0]!,
        );
        for (const [name, { data, shape }] of inputs) feeds[name] = runtime.tensor(data, shape);
      });
      const decay = 0.5 * (1 + Math.cos((Math.PI * s) / steps));
      for (const { kind } of stateTensors(layout)) {
        const { rate, correction } = adamScalars(rates[kind] * decay, s + 1);
        feeds[`rate.${kind}`] = scalar(rate);
        feeds.correction = scalar(correction);
      }
      const outputs = await step.run(feeds);
      losses.push([...(await runtime.read(outputs['next.losses']!))]);
      state = Object.fromEntries(Object.keys(state).map((name) => [name, outputs[`next.${name}`]!]));
    }

    const golden_ = (s: number, g: number) => at('losses').data[s * groups.length + g]!;
    for (let s = 0; s < 5; s++)
      for (let g = 0; g < groups.length; g++)
        expect(losses[s]![g]! / golden_(s, g) - 1, `step ${s}, group ${g}`).toBeCloseTo(0, 4);
    for (let g = 0; g < groups.length; g++) {
      const last = (loss: (s: number) => number) =>
        [...losses.keys()].slice(-8).reduce((sum, s) => sum + loss(s), 0);
      expect(Math.abs(last((s) => losses[s]![g]!) / last((s) => golden_(s, g)) - 1)).toBeLessThan(0.02);
    }

    const flat = new Map<string, Float32Array>();
    for (const { name } of stateTensors(layout)) flat.set(name, await runtime.read(state[name]!));
    const learned = unpackState(layout, flat);
    for (const [name, tensor] of named) if (name.includes('act_zero')) learned.set(name, tensor);
    const programs = openPrograms(runtime);
    const parameters = new Map(
      listing.parameters.map(({ name, shape }) => [name, { data: at(`init.${name}`).data, shape }]),
    );
    const source = learnedBlock({ part, parameters }, layout, learned);
    const block = await openElasticPart(programs, part, listing, source);
    const target = at('target').data;
    const meanError = (y: Float32Array) =>
      y.reduce((sum, v, i) => sum + Math.abs(v - target[i]!), 0) / y.length;
    for (const bits of bitWidths) {
      await block.use(bits);
      const x = runtime.tensor(at('x_quant').data, [samples * tokens, dim]);
      const error = meanError(await runtime.read(await block.run(x, samples)));
      expect(Math.abs(error / meanError(at(`final.out.b${bits}`).data) - 1), `${bits} bits`).toBeLessThan(
        0.03,
      );
    }
    await programs.release();
  });
});
