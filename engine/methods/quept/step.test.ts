import { describe, expect, it } from 'vitest';
import { maxDifference } from '../../../test/support.js';
import { adamScalars } from '../../graph/optimizers.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { cacheOf } from '../../execution/activations.js';
import { adapterLayout, type AdapterLayout } from './adapters.js';
import { openElasticPart } from '../../execution/quantized-part.js';
import { openPrograms } from '../../runtime/programs.js';
import { packState, stateTensors } from './state.js';
import { drawnInputs, stepGraph, type StepOptions } from './step.js';
import { normals, tinyBlock, tinyDecoderBlock, usePrograms, type Block } from '../../execution/testing.js';
import { learnedBlock, randomAdapters } from './testing.js';

const BATCH = 2;
const RATES = { lora: 1e-3, clip: 1e-2, scale: 1e-4 };
const OPTIONS: StepOptions = { batch: BATCH, loss: 'mae', apart: 'none', ownStreams: false };

const programs = usePrograms();
const { runtime } = programs;
const usual = tinyBlock();
const shape = usual.part.inputShape(BATCH);
const x = normals(shape, 'x');
const y = normals(shape, 'y');
const layoutOf = (groups: AdapterLayout['groups'], { listing }: Block = usual) =>
  adapterLayout(listing, groups, true);
const high = { bits: [7, 8], rank: 2, gain: 0.5 };
const layout = layoutOf([high, { bits: [5, 6], rank: 2, gain: 1 }, { bits: [4], rank: 5, gain: 1 }]);
const DRAWN = [7, 6, 4];

/** The outputs of one step from random adapters, `bits` drawn; every stream is `x`. */
async function step(
  of: AdapterLayout = layout,
  bits: readonly number[] = DRAWN,
  change: Partial<StepOptions> = {},
  parameters: ReadonlyMap<string, HostTensor> = usual.parameters,
  block = usual,
): Promise<Map<string, Float32Array>> {
  const graph = stepGraph(block.part, of, { ...OPTIONS, ...change });
  const named = randomAdapters(of);
  const flat = packState(of, named);
  const inputs = new Map<string, HostTensor>([...parameters, ['y', y], ['x', x]]);
  for (const { name, out } of of.layers)
    if (!inputs.has(`${name}.bias`))
      inputs.set(`${name}.bias`, { data: new Float32Array(out), shape: [out] });
  of.groups.forEach((_, g) => inputs.set(`x.${g}`, x));
  for (const { kind, name, shape: s } of stateTensors(of)) {
    const data = flat.get(name)!;
    inputs.set(name, { data, shape: s });
    for (const moment of ['m', 'v'])
      inputs.set(`${name}.${moment}`, { data: new Float32Array(data.length), shape: s });
    const { rate, correction } = adamScalars(RATES[kind], 1);
    inputs.set(`rate.${kind}`, { data: Float32Array.of(rate), shape: [] });
    inputs.set('correction', { data: Float32Array.of(correction), shape: [] });
  }
  bits.forEach((b, g) =>
    drawnInputs(of, g, b, (name) => named.get(`${name}.act_zero.${b}`)!.data[0]!).forEach((tensor, name) =>
      inputs.set(name, tensor),
    ),
  );
  inputs.set('losses', { data: Float32Array.from(bits, (_, g) => g), shape: [bits.length] });
  const program = await runtime.compile(graph, 'step', { keep: false });
  const outputs = await program.run(
    Object.fromEntries([...inputs].map(([name, { data, shape: s }]) => [name, runtime.tensor(data, s)])),
  );
  const read = new Map<string, Float32Array>();
  for (const [name, tensor] of Object.entries(outputs)) read.set(name, (await runtime.read(tensor)).slice());
  await program.dispose();
  return read;
}

/** What each group's loss must be, from the part as it is run after calibration. */
async function lossesOf(
  of: AdapterLayout,
  bits: readonly number[],
  loss: (difference: number) => number,
  parameters = usual.parameters,
  block = usual,
) {
  const source = learnedBlock({ ...block, parameters }, of);
  const part = await openElasticPart(programs, block.part, block.listing, source);
  const losses = [];
  for (const b of bits) {
    await part.use(b);
    const out = await runtime.read(await part.run(runtime.tensor(x.data, x.shape), BATCH));
    losses.push(out.reduce((sum, v, i) => sum + loss(v - y.data[i]!), 0) / (BATCH * shape[1]!));
  }
  part.dispose();
  return losses;
}

/** Losses start at 0, 1, 2, … so that what a step adds is told from what it replaces. */
const added = (outputs: Map<string, Float32Array>) =>
  [...outputs.get('next.losses')!].map((sum, g) => sum - g);

function expectLosses(found: readonly number[], expected: readonly number[]) {
  expect(found).toHaveLength(expected.length);
  found.forEach((loss, g) => expect(loss / expected[g]!).toBeCloseTo(1, 4));
}

describe('the loss', () => {
  it.each([
    [7, 6, 4],
    [8, 5, 4],
  ])('is that of the calibrated block at the bit-widths drawn: %i, %i and %i', async (...bits) => {
    const expected = await lossesOf(layout, bits, Math.abs);
    expectLosses(added(await step(layout, bits)), expected);
    expect(new Set(expected.map((l) => l.toFixed(3))).size).toBe(3);
  });

  it('is that of a block whose inputs are quantized per token, and its keys and values', async () => {
    const decoder = tinyDecoderBlock();
    const cache = cacheOf(decoder.part, 3)!;
    const dynamic = {
      ...adapterLayout(decoder.listing, layout.groups, false),
      tokens: true,
    };
    const cached = { ...dynamic, cache };
    const found = added(await step(cached, DRAWN, {}, decoder.parameters, decoder));
    expectLosses(found, await lossesOf(cached, DRAWN, Math.abs, decoder.parameters, decoder));
    const without = added(await step(dynamic, DRAWN, {}, decoder.parameters, decoder));
    found.forEach((loss, g) => expect(Math.abs(loss / without[g]! - 1)).toBeGreaterThan(1e-3));
  });

  it('is the squared difference where asked for', async () => {
    expectLosses(
      added(await step(layout, DRAWN, { loss: 'mse' })),
      await lossesOf(layout, DRAWN, (d) => d * d),
    );
  });

  it('counts all tokens alike where none has a massive activation', async () => {
    for (const loss of ['mae', 'mse'] as const)
      expect(await step(layout, DRAWN, { loss, ordinary: true })).toEqual(
        await step(layout, DRAWN, { loss }),
      );
  });

  it('has the biases that a folded norm gives to layers without', async () => {
    const block = tinyBlock({ qkv_bias: false });
    const parameters = new Map(block.parameters);
    for (const name of ['query', 'key', 'value'])
      parameters.set(`attention.attention.${name}.bias`, normals([16], name));
    const of = layoutOf(layout.groups, block);
    expectLosses(
      added(await step(of, DRAWN, {}, parameters, block)),
      await lossesOf(of, DRAWN, Math.abs, parameters, block),
    );
  });
});

describe('the first step', () => {
  it('moves the bit-widths drawn, each element by its learning rate, and no others', async () => {
    const outputs = await step();
    const before = packState(layout, randomAdapters(layout));
    layout.groups.forEach(({ bits }, g) => {
      for (const kind of ['clip', 'scale'] as const) {
        const [from, to] = [before.get(`${kind}.${g}`)!, outputs.get(`next.${kind}.${g}`)!];
        const columns = from.length / bits.length;
        bits.forEach((b, row) => {
          const moved = from
            .slice(row * columns, (row + 1) * columns)
            .map((v, i) => Math.abs(to[row * columns + i]! - v));
          if (b !== DRAWN[g]) expect(Math.max(...moved)).toBe(0);
          else {
            expect(moved.filter((d) => d > 0).length).toBeGreaterThan(0.9 * columns);
            expect(Math.max(...moved)).toBeLessThan(RATES[kind] * 1.01);
            expect(Math.max(...moved)).toBeGreaterThan(RATES[kind] * 0.9);
          }
        });
      }
    });
    const lora = before.get('lora')!.map((v, i) => Math.abs(outputs.get('next.lora')![i]! - v));
    expect(Math.max(...lora)).toBeLessThan(RATES.lora * 1.01);
    expect(lora.filter((d) => d > 0).length).toBeGreaterThan(0.95 * lora.length);
  });

  it('goes down: the state after it has less loss, at a rate small enough', async () => {
    // d loss = Σ gradient · change; the first moment is a tenth of the gradient.
    const outputs = await step(layout, DRAWN, { loss: 'mse' });
    const before = packState(layout, randomAdapters(layout));
    let slope = 0;
    for (const [name, from] of before)
      from.forEach(
        (v, i) => (slope += 10 * outputs.get(`next.${name}.m`)![i]! * (outputs.get(`next.${name}`)![i]! - v)),
      );
    expect(slope).toBeLessThan(0);
  });

  it('is the same from streams of their own where these are alike', async () => {
    const [shared, own] = [await step(), await step(layout, DRAWN, { ownStreams: true })];
    expect([...own.keys()]).toEqual([...shared.keys()]);
    for (const [name, data] of shared)
      // A gradient that is 0 but for rounding may have either sign, by which Adam would move the parameter.
      if (!/^next\.(lora|clip\.\d|scale\.\d)$/.test(name))
        expect(maxDifference(own.get(name)!, data), name).toBeLessThan(1e-5);
  });

  it('reads the stream of each group where they have their own', () => {
    const names = [...stepGraph(usual.part, layout, { ...OPTIONS, ownStreams: true }).inputs.keys()];
    expect(names).toEqual(expect.arrayContaining(['x.0', 'x.1', 'x.2']));
    expect(names).not.toContain('x');
  });
});

it('has a program of its own for everything that it is built from, and one for equal steps', async () => {
  const groups = [high, { bits: [4], rank: 5, gain: 1 }];
  const two = layoutOf(groups);
  const steps: readonly [AdapterLayout, Partial<StepOptions>][] = [
    [two, {}],
    [two, { batch: 1 }],
    [two, { loss: 'mse' }],
    [two, { apart: 'lowest' }],
    [two, { ownStreams: true }],
    [layoutOf([high, { bits: [4], rank: 6, gain: 1 }]), {}],
    [layoutOf([high, { bits: [4, 5], rank: 5, gain: 1 }]), {}],
    [layoutOf([high, { bits: [4], rank: 5, gain: 0.5 }]), {}],
  ];
  const own = openPrograms({
    ...runtime,
    compile: (_graph, name) =>
      Promise.resolve({ name, run: () => Promise.resolve({}), dispose: () => Promise.resolve() }),
  });
  const programOf = ([of, change]: (typeof steps)[number]) =>
    own.get(stepGraph(usual.part, of, { ...OPTIONS, ...change }), 'step');
  const found = await Promise.all(steps.map(programOf));
  expect(new Set(found).size).toBe(steps.length);
  expect(await programOf([layoutOf([...groups]), {}])).toBe(found[0]);
});

describe('ranks', () => {
  /** The gradient of A's directions `from` to `to` in every layer. */
  const directions = (of: AdapterLayout, outputs: Map<string, Float32Array>, from: number, to: number) => {
    const moment = outputs.get('next.lora.m')!;
    let at = 0;
    return of.layers.flatMap((layer) => {
      const own = [...moment.slice(at + from * layer.in, at + to * layer.in)];
      at += of.rank * (layer.in + layer.out);
      return own;
    });
  };

  it('of 0 everywhere leave no adapter to learn', async () => {
    const of = layoutOf([
      { ...high, rank: 0 },
      { bits: [4], rank: 0, gain: 1 },
    ]);
    expect(stateTensors(of).map(({ name }) => name)).toEqual(['clip.0', 'scale.0', 'clip.1', 'scale.1']);
    const outputs = await step(of, [8, 4]);
    expect([...outputs.keys()].some((name) => name.includes('lora'))).toBe(false);
    expectLosses(added(outputs), await lossesOf(of, [8, 4], Math.abs));
  });

  it('of 0 for the first group leave it the weights as they are', async () => {
    const of = layoutOf([
      { ...high, rank: 0 },
      { bits: [4], rank: 3, gain: 1 },
    ]);
    const outputs = await step(of, [8, 4]);
    expectLosses(added(outputs), await lossesOf(of, [8, 4], Math.abs));
    expect(directions(of, outputs, 0, 3).filter((g) => g !== 0).length).toBeGreaterThan(100);
  });

  it('are learned from by every group that uses them', async () => {
    const gradient = async (of: AdapterLayout, bits: readonly number[], from: number, to: number) =>
      Float32Array.from(directions(of, await step(of, bits), from, to));
    // The adapters of other groupings are drawn by the same names and shapes: gradients of groups add up.
    const alone = (g: number) => ({ ...layoutOf([layout.groups[g]!]), rank: layout.rank });
    const each = await Promise.all([0, 1, 2].map((g) => gradient(alone(g), [DRAWN[g]!], 0, 2)));
    const sum = each[0]!.map((v, i) => v + each[1]![i]! + each[2]![i]!);
    expect(maxDifference(await gradient(layout, DRAWN, 0, 2), sum)).toBeLessThan(1e-6);
    expect(
      maxDifference(await gradient(layout, DRAWN, 2, 5), await gradient(alone(2), [4], 2, 5)),
    ).toBeLessThan(1e-6);
  });

  it('beyond those of a group get no gradient from it', async () => {
    const only = { ...layoutOf([high]), rank: layout.rank };
    expect(directions(only, await step(only, [7]), 2, 5).every((g) => g === 0)).toBe(true);
  });
});

it('draws a bit-width as a one-hot row, its levels and the bounds of every quantizer', () => {
  const inputs = drawnInputs(layout, 1, 6, (name) => name.length);
  expect([...inputs.get('select.1')!.data]).toEqual([0, 1]);
  expect(inputs.get('select.1')!.shape).toEqual([1, 2]);
  expect(inputs.get('levels.1')!.data[0]).toBe(63);
  for (const name of layout.quantizers) {
    expect(inputs.get(`lower.1.${name}`)!.data[0]).toBe(-name.length);
    expect(inputs.get(`upper.1.${name}`)!.data[0]).toBe(63 - name.length);
  }
  expect(inputs.size).toBe(2 + 2 * layout.quantizers.length);
});
