/** Against vectors of an independent PyTorch statement (`test/golden/README.md`). */
import { describe, expect, it } from 'vitest';
import { evaluate, maxDifference, readGolden, sumTolerance } from '../../../test/support.js';
import { openPlainPart } from '../../execution/part.js';
import { usePrograms } from '../../execution/testing.js';
import { gradients } from '../../graph/gradients.js';
import { adamScalars } from '../../graph/optimizers.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { ModelConfig } from '../../models/config.js';
import { listPart } from '../../models/listing.js';
import { buildModel } from '../../models/registry.js';
import type { Tensor } from '../../runtime/session.js';
import { packState, unpackState, type Kind, type LayerState } from './state.js';
import { stepGraph } from './step.js';
import { windowLayers, windowParameters, windowPart } from './window.js';
import { roundedColumns, roundedWeight } from './weight.js';
import { growingWindows } from './windows.js';

const vectors = await readGolden('sliderquant.safetensors');
const programs = usePrograms();

const cases = [2, 4].flatMap((bits) => ['0.5', '1.0'].map((rate) => [bits, rate] as const));

describe('golden vectors', () => {
  it.each(cases)('of a weight at %i bits and rate %s: output and gradients', async (bits, rate) => {
    const at = (key: string) => vectors.floats(`b${bits}.r${rate}.${key}`);
    const keys = ['W', 'A', 'B', 'clip_upper', 'clip_lower', 'cotangent'];
    const columns = roundedColumns({ in: 33, out: 10 }, Number(rate), -1);
    const found = await evaluate(Object.fromEntries(keys.map((key) => [key, at(key)])), (v, graph) => {
      const own = { a: v.A!, b: v.B!, upper: v.clip_upper!, lower: v.clip_lower! };
      const rounding = { rank: 4, groupSize: -1, columns };
      const out = roundedWeight(v.W!, own, graph.scalar(2 ** bits - 1), rounding);
      const wrt = [own.a, own.b, own.upper, own.lower];
      const [dA, dB, dclip_upper, dclip_lower] = gradients([{ value: out, cotangent: v.cotangent! }], wrt);
      return { out, dA: dA!, dB: dB!, dclip_upper: dclip_upper!, dclip_lower: dclip_lower! };
    });
    for (const [key, terms] of Object.entries({ out: 1, dA: 10, dB: 33, dclip_upper: 33, dclip_lower: 33 }))
      expect(maxDifference(found[key]!, at(key).data), key).toBeLessThan(sumTolerance(terms));
  });

  const windows = vectors.names.filter((name) => name.startsWith('windows.'));
  it.each(windows)('%s', (name) => {
    const [blocks, fill, size, stride] = name.split('.').slice(1).map(Number) as [
      number,
      number,
      number,
      number,
    ];
    expect(growingWindows(blocks, fill, size, stride).flat()).toEqual([...vectors.floats(name).data]);
  });

  it('of six steps of a window of two blocks: losses, target and final corrections', async () => {
    const config = {
      model_type: 'llama',
      hidden_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      intermediate_size: 40,
      vocab_size: 50,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      max_position_embeddings: 10,
      hidden_act: 'silu',
    };
    const { blocks } = buildModel(new ModelConfig(config, 'config.json'), { tokens: 10 });
    const window = windowPart(blocks);
    const parameters = windowParameters(
      blocks.map(
        (block) =>
          new Map(
            listPart(block).parameters.map(({ name }) => [
              name,
              vectors.floats(`window.weights.${block.prefix}${name}`),
            ]),
          ),
      ),
    );
    const { runtime } = programs;
    const tensor = ({ data, shape }: HostTensor) => runtime.tensor(data, shape);
    const at = (key: string) => vectors.floats(`window.${key}`).data;
    const samples = (data: Float32Array, first: number, count: number) =>
      runtime.tensor(data.slice(first * 240, (first + count) * 240), [count * 10, 24]);
    const plain = await openPlainPart(programs, window, parameters);
    const target = await runtime.read(await plain.run(samples(at('x_fp'), 0, 8), 8));
    expect(maxDifference(target, at('target'))).toBeLessThan(1e-5);
    plain.dispose();

    const layout = { rank: 2, groupSize: -1, layers: windowLayers(blocks, listPart) };
    /** The name of a layer's weight in the vectors. */
    const stored = (name: string) => {
      const [place = '', ...rest] = name.split('.');
      return `${blocks[Number(place)]!.prefix}${rest.join('.')}.weight`;
    };
    const final = (what: 'A' | 'B', name: string) => at(`final.${what}.${stored(name)}`);
    const x = at('x_quant');
    const start = new Map(
      layout.layers.map((layer): [string, LayerState] => {
        const clips = { shape: [layer.out, 1], data: new Float32Array(layer.out).fill(4) };
        const a = vectors.floats(`window.A.${stored(layer.name)}`);
        const b = { shape: [layer.out, 2], data: new Float32Array(layer.out * 2) };
        return [layer.name, { a, b, upper: clips, lower: clips }];
      }),
    );
    const graph = stepGraph(window, layout, { batch: 2, loss: 'mse', share: 0.5 });
    const program = await programs.get(graph, 'golden window');
    const fixed = Object.fromEntries([...parameters].map(([name, each]) => [name, tensor(each)]));
    const scalar = (x: number) => runtime.tensor(Float32Array.of(x), []);
    const train = async () => {
      let state: Record<string, Tensor> = { losses: runtime.tensor(new Float32Array(1), [1]) };
      for (const [kind, data] of packState(layout, start))
        for (const suffix of ['', '.m', '.v'])
          state[kind + suffix] = runtime.tensor(suffix ? new Float32Array(data.length) : data, [data.length]);
      const sums = [0];
      for (let step = 0; step < 6; step++) {
        const first = (2 * step) % 8;
        const at = { x: samples(x, first, 2), y: samples(target, first, 2), levels: scalar(7) };
        const feeds: Record<string, Tensor> = { ...fixed, ...state, ...at };
        for (const [kind, rate] of Object.entries(RATES)) {
          const scalars = adamScalars(rate * (1 - step / 6), step + 1);
          feeds[`rate.${kind}`] = scalar(scalars.rate);
          feeds.correction = scalar(scalars.correction);
        }
        const outputs = await program.run(feeds);
        state = Object.fromEntries(Object.keys(state).map((name) => [name, outputs[`next.${name}`]!]));
        sums.push((await runtime.read(state.losses!))[0]!);
      }
      const found = new Map<Kind, Float32Array>();
      for (const kind of ['adapters', 'clips'] as const) found.set(kind, await runtime.read(state[kind]!));
      const losses = sums.slice(1).map((sum, i) => sum - sums[i]!);
      return { layers: unpackState(layout, found), losses };
    };
    let trained = await train();
    // The vectors hold A as it is behind the steps alone: it began so much before it as the steps move it.
    for (let round = 0; round < 4; round++) {
      for (const [name, { a, ...own }] of start) {
        const [after, end] = [trained.layers.get(name)!.a!.data, final('A', name)];
        const data = a!.data.map((begun, i) => end[i]! - (after[i]! - begun));
        start.set(name, { ...own, a: { ...a!, data } });
      }
      trained = await train();
    }
    trained.losses.forEach((loss, step) =>
      expect(Math.abs(loss / at('losses')[step]! - 1), `step ${step}`).toBeLessThan(1e-5),
    );
    for (const [name, { a, b }] of trained.layers) {
      expect(maxDifference(a!.data, final('A', name)), name).toBeLessThan(1e-5);
      expect(maxDifference(b!.data, final('B', name)), name).toBeLessThan(1e-5);
    }
  });
});

/** The authors' learning rates, times the batch. */
const RATES = { adapters: 2 * 5e-4, clips: 2 * 1e-2 } as const;
