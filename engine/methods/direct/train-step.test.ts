import { describe, expect, it } from 'vitest';
import { normals, singleLayer, usePrograms } from '../../execution/testing.js';
import { sizeOf } from '../../graph/ir.js';
import { adamScalars } from '../../graph/optimizers.js';
import { listPart } from '../../models/listing.js';
import type { Tensor } from '../../runtime/session.js';
import { BETA2, trainedShapes, trainStepGraph } from './train-step.js';

const programs = usePrograms();
const { part, weight, bias, input } = singleLayer(1);
const [OUT, IN, TOKENS, GROUP] = [4, 6, 3, 4];
const ROWS = OUT * 2;
const RATES = { weight: 0.01, growth: 0.003 };
const { linears } = listPart(part);
const shapes = trainedShapes(linears, GROUP);
// Grids too narrow for some weights, so that some are clamped, with zero points in halves.
const scale = Float32Array.from({ length: ROWS }, (_, i) => 0.3 + 0.05 * i);
const zero = Float32Array.from({ length: ROWS }, (_, i) => 1 + (i % 3) / 2);
const growth = normals([ROWS, 1], 'growth').data.map((x) => x / 10);
const y = normals([TOKENS, OUT], 'target').data;
const own = normals([OUT, OUT], 'curvature').data;
const curvature = own.map(
  (x, i) => (x + own[(i % OUT) * OUT + Math.floor(i / OUT)]!) / 8 + Number(i % (OUT + 1) === 0),
);

/** Takes steps at 2 bits, the block being one layer whose output it negates. @returns the outputs of each step */
async function take(steps: number): Promise<Record<string, Tensor>[]> {
  const { runtime } = programs;
  const program = await programs.get(trainStepGraph(part, linears, GROUP, 1), 'step');
  const scalar = (x: number) => runtime.tensor(Float32Array.of(x), []);
  let state: Record<string, Tensor> = {
    'layer.weight': runtime.tensor(weight.data, [OUT, IN]),
    'layer.growth': runtime.tensor(growth, [ROWS, 1]),
  };
  for (const [name, shape] of shapes)
    for (const moment of ['m', 'v'])
      state[`${name}.${moment}`] = runtime.tensor(new Float32Array(sizeOf(shape)), shape);
  const taken: Record<string, Tensor>[] = [];
  for (let t = 1; t <= steps; t++) {
    const [own, grown] = [RATES.weight, RATES.growth].map((lr) => adamScalars(lr, t, { beta2: BETA2 }));
    const outputs = await program.run({
      ...state,
      x: runtime.tensor(input.data, [TOKENS, IN]),
      y: runtime.tensor(y, [TOKENS, OUT]),
      curvature: runtime.tensor(curvature, [OUT, OUT]),
      'layer.bias': runtime.tensor(bias.data, [OUT]),
      'layer.scale': runtime.tensor(scale, [ROWS, 1]),
      'layer.zero': runtime.tensor(zero, [ROWS, 1]),
      levels: scalar(3),
      'rate.weight': scalar(own!.rate),
      'rate.growth': scalar(grown!.rate),
      correction: scalar(own!.correction),
    });
    state = Object.fromEntries(Object.keys(state).map((name) => [name, outputs[`next.${name}`]!]));
    taken.push(outputs);
  }
  return taken;
}

describe('a step', () => {
  it('goes down the slope of the error, rounding passed straight through', async () => {
    const [outputs] = await take(1);
    const found = async (name: string) => programs.runtime.read(outputs![name]!);
    // The same in float64: values, which weights are not clamped, and how each scale moves its weights.
    const values = new Float64Array(OUT * IN);
    const inside = new Uint8Array(OUT * IN);
    const byScale = new Float64Array(OUT * IN);
    const gridAt = (i: number) => Math.floor(i / IN) * 2 + Math.floor((i % IN) / GROUP);
    for (let i = 0; i < OUT * IN; i++) {
      const grid = gridAt(i);
      const [s, z, w] = [scale[grid]! * Math.exp(growth[grid]!), zero[grid]!, weight.data[i]!];
      const whole = Math.round(w / s + z);
      const code = Math.min(Math.max(whole, 0), 3);
      inside[i] = Number(code === whole);
      values[i] = s * (code - z);
      byScale[i] = s * (code - z - inside[i]! * (w / s));
    }
    expect(inside).toContain(0);
    let loss = 0;
    const slope = new Float64Array(OUT * IN);
    for (let t = 0; t < TOKENS; t++) {
      let energy = 0;
      for (let o = 0; o < OUT; o++) energy += y[t * OUT + o]! ** 2;
      const errors = Array.from({ length: OUT }, (_, o) => {
        let made = bias.data[o]!;
        for (let j = 0; j < IN; j++) made += values[o * IN + j]! * input.data[t * IN + j]!;
        return -made - y[t * OUT + o]!;
      });
      for (let o = 0; o < OUT; o++) {
        const cost =
          errors.reduce((sum, e, other) => sum + e * curvature[other * OUT + o]!, 0) / energy / TOKENS;
        loss += errors[o]! * cost;
        for (let j = 0; j < IN; j++) slope[o * IN + j]! -= 2 * cost * input.data[t * IN + j]!;
      }
    }
    expect((await found('loss'))[0]).toBeCloseTo(loss, 5);
    const growthSlope = new Float64Array(ROWS);
    for (let i = 0; i < OUT * IN; i++) growthSlope[gridAt(i)]! += slope[i]! * byScale[i]!;
    const first = await found('next.layer.weight.m');
    const next = await found('next.layer.weight');
    for (let i = 0; i < OUT * IN; i++) {
      const own = inside[i]! * slope[i]!;
      // Adam's first moment after a step is a tenth of the slope, and its step has the size of the rate.
      expect(first[i]! / 0.1).toBeCloseTo(own, 4);
      const step = RATES.weight * scale[gridAt(i)]! * Math.sign(own);
      expect(next[i]!).toBeCloseTo(weight.data[i]! - step, 5);
    }
    const growthMoment = await found('next.layer.growth.m');
    const grown = await found('next.layer.growth');
    growthSlope.forEach((own, i) => {
      expect(growthMoment[i]! / 0.1).toBeCloseTo(own, 4);
      expect(grown[i]!).toBeCloseTo(growth[i]! - RATES.growth * Math.sign(own), 5);
    });
  });

  it('after step takes the error down', async () => {
    const losses: number[] = [];
    for (const outputs of await take(60)) losses.push((await programs.runtime.read(outputs.loss!))[0]!);
    expect(losses.at(-1)!).toBeLessThan(0.8 * losses[0]!);
  });
});
