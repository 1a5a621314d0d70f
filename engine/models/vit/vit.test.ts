import { describe, expect, it } from 'vitest';
import { TINY_VIT } from '../../../test/fixtures.js';
import { createRandom } from '../../data/random.js';
import { Graph, sizeOf } from '../../graph/ir.js';
import { openRuntime } from '../../runtime/session.js';
import { fullPrecision } from '../builders.js';
import { ModelConfig } from '../config.js';
import { listPart } from '../listing.js';
import { partsOf, type Builder, type Part, type VisionModel } from '../model.js';
import { buildModel } from '../registry.js';

const BATCH = 2;
const TEACHER = 'DeiTForImageClassificationWithTeacher';
const DEIT = { ...TINY_VIT, model_type: 'deit', architectures: ['DeiTForImageClassification'] };

const modelOf = (config: object) => buildModel(new ModelConfig({ ...config }, 'config.json')) as VisionModel;

describe('forward pass, against plain loops in float64', () => {
  it.each<[string, object]>([
    ['a tiny model', TINY_VIT],
    ['three channels', { ...TINY_VIT, num_channels: 3 }],
    ['a wide picture', { ...TINY_VIT, image_size: [4, 12], patch_size: 4 }],
    [
      'a tall picture in flat patches',
      { ...TINY_VIT, image_size: [12, 6], patch_size: [2, 3], num_channels: 2 },
    ],
    ['one patch', { ...TINY_VIT, image_size: 4 }],
    ['patches of a pixel', { ...TINY_VIT, image_size: 3, patch_size: 1 }],
    ['no bias on q, k and v', { ...TINY_VIT, qkv_bias: false }],
    ['one head, a coarse epsilon', { ...TINY_VIT, num_attention_heads: 1, layer_norm_eps: 0.3 }],
    ['a head a channel, narrow hidden layer', { ...TINY_VIT, num_attention_heads: 16, intermediate_size: 3 }],
    ['DeiT', DEIT],
    ['DeiT with teacher', { ...DEIT, architectures: [TEACHER], num_channels: 3, image_size: [8, 4] }],
  ])('%s', async (_, config) => {
    const model = modelOf(config);
    const parameters = randomParameters(model);
    const random = createRandom(3, 'pixels');
    const { channels, height, width } = model.image;
    const pixels = Float32Array.from({ length: BATCH * channels * height * width }, () => random.normal());
    const found = await run(model, parameters, pixels);
    const expected = reference(config as typeof TINY_VIT, parameters, pixels);
    expect(found).toHaveLength(expected.length);
    expect(Math.max(...expected.map((x, i) => Math.abs(x - found[i]!)))).toBeLessThan(1e-4);
    expect(Math.max(...expected) - Math.min(...expected)).toBeGreaterThan(0.1);
  });
});

describe('configuration', () => {
  it('counts special tokens and patches', () => {
    const wide = modelOf({ ...TINY_VIT, image_size: [8, 16], patch_size: [4, 2] });
    expect(wide.stem.outputShape(3)).toEqual([3 * (1 + 2 * 8), 16]);
    expect(wide.classes).toBe(6);
    expect(modelOf(DEIT).stem.outputShape(1)).toEqual([2 + 4, 16]);
  });

  it('names parts as the checkpoint does', () => {
    expect(partsOf(modelOf(TINY_VIT)).map((part) => part.prefix)).toEqual([
      'vit.embeddings.',
      'vit.encoder.layer.0.',
      'vit.encoder.layer.1.',
      '',
    ]);
    const heads = [DEIT, { ...DEIT, architectures: [TEACHER] }].map((config) =>
      listPart(modelOf(config).head).linears.map((l) => l.name),
    );
    expect(heads).toEqual([['classifier'], ['cls_classifier', 'distillation_classifier']]);
  });

  it.each<[string, object, RegExp]>([
    ['patches that do not tile', { patch_size: 3 }, /"patch_size" must divide image_size \(8×8\), found 3×3/],
    ['patches above the picture', { patch_size: 16 }, /"patch_size" must divide image_size/],
    [
      'heads that do not divide',
      { num_attention_heads: 3 },
      /"num_attention_heads" must divide hidden_size \(16\), found 3/,
    ],
    [
      'too many blocks',
      { num_hidden_layers: 1 << 24 },
      /"num_hidden_layers" must be an integer from 1 to 4096, found 16777216/,
    ],
    [
      'too wide a stream',
      { hidden_size: 1 << 24 },
      /"hidden_size" must be an integer from 1 to 1048576, found 16777216/,
    ],
    ['too large a picture', { image_size: 1 << 24 }, /"image_size" must be an integer from 1 to 65536/],
    ['too many channels', { num_channels: 1 << 24 }, /"num_channels" must be an integer from 1 to 1024/],
  ])('refuses %s', (_, change, message) => {
    expect(() => modelOf({ ...TINY_VIT, ...change })).toThrow(message);
  });

  it('can be listed at the largest sizes, for no element is allocated', () => {
    const largest = {
      ...{
        image_size: 65535,
        patch_size: 1,
        num_channels: 1023,
        hidden_size: 1048575,
        num_hidden_layers: 4096,
      },
      ...{ num_attention_heads: 3, intermediate_size: 1048573 },
    };
    const model = modelOf({ ...TINY_VIT, ...largest });
    for (const part of new Map(partsOf(model).map((p) => [p.kind, p])).values())
      expect(listPart(part).parameters.length).toBeGreaterThan(0);
  });
});

function randomParameters(model: VisionModel): Map<string, Float32Array> {
  const random = createRandom(2, 'parameters');
  const parameters = new Map<string, Float32Array>();
  for (const part of partsOf(model))
    for (const { name, shape } of listPart(part).parameters) {
      const isNorm = name.includes('layernorm') && name.endsWith('.weight');
      const spread = shape.length === 2 ? 1 / Math.sqrt(shape[1]!) : 0.3;
      parameters.set(
        part.prefix + name,
        Float32Array.from({ length: sizeOf(shape) }, () => Number(isNorm) + spread * random.normal()),
      );
    }
  return parameters;
}

/** All parts in one graph, parameters under their full names. */
async function run(
  model: VisionModel,
  parameters: ReadonlyMap<string, Float32Array>,
  pixels: Float32Array,
): Promise<Float32Array> {
  const graph = new Graph();
  const plain = fullPrecision(graph);
  const named = ({ prefix }: Part): Builder => ({
    ...plain,
    linear: (name, ...rest) => plain.linear(prefix + name, ...rest),
    layerNorm: (name, ...rest) => plain.layerNorm(prefix + name, ...rest),
    operand: (name, x) => plain.operand(prefix + name, x),
    parameter: (name, shape) => plain.parameter(prefix + name, shape),
  });
  const shape = model.stem.inputShape(BATCH);
  graph.output(
    'logits',
    partsOf(model).reduce((x, part) => part.forward(named(part), x, BATCH, {}), graph.input('pixels', shape)),
  );
  const runtime = openRuntime('cpu', 1);
  const program = await runtime.compile(graph, 'model', { keep: false });
  const feeds = [...parameters].map(
    ([name, data]) => [name, runtime.tensor(data, graph.inputs.get(name)!.shape)] as const,
  );
  const { logits } = await program.run({
    ...Object.fromEntries(feeds),
    pixels: runtime.tensor(pixels, shape),
  });
  const read = await runtime.read(logits!);
  await program.dispose();
  return read;
}

type Config = Omit<typeof TINY_VIT, 'image_size' | 'patch_size'> & {
  image_size: number | number[];
  patch_size: number | number[];
};
type Row = number[];

/** The same function, written from the papers' formulas one element after another. */
function reference(
  config: Config,
  parameters: ReadonlyMap<string, Float32Array>,
  pixels: Float32Array,
): number[] {
  const family = config.model_type;
  const at = (name: string) => parameters.get(name)!;
  const both = (size: number | number[]) =>
    (typeof size === 'number' ? [size, size] : size) as [number, number];
  const [height, width] = both(config.image_size);
  const [patchHeight, patchWidth] = both(config.patch_size);
  const {
    num_channels: channels,
    hidden_size: size,
    num_attention_heads: heads,
    layer_norm_eps: epsilon,
  } = config;

  /** The patch embedding as a convolution of stride = kernel. */
  const embed = (n: number): Row[] => {
    const [weight, bias] = ['weight', 'bias'].map((key) =>
      at(`${family}.embeddings.patch_embeddings.projection.${key}`),
    ) as [Float32Array, Float32Array];
    const tokens: Row[] = [];
    for (let top = 0; top < height; top += patchHeight)
      for (let left = 0; left < width; left += patchWidth)
        tokens.push(
          Array.from({ length: size }, (_, o) => {
            let sum = bias[o]!;
            for (let c = 0; c < channels; c++)
              for (let y = 0; y < patchHeight; y++)
                for (let x = 0; x < patchWidth; x++)
                  sum +=
                    weight[((o * channels + c) * patchHeight + y) * patchWidth + x]! *
                    pixels[((n * channels + c) * height + top + y) * width + left + x]!;
            return sum;
          }),
        );
    const special = ['cls_token', 'distillation_token'].flatMap((name) => {
      const token = parameters.get(`${family}.embeddings.${name}`);
      return token ? [[...token]] : [];
    });
    const positions = at(`${family}.embeddings.position_embeddings`);
    return [...special, ...tokens].map((token, t) => token.map((x, i) => x + positions[t * size + i]!));
  };
  const linear = (name: string, x: Row): Row => {
    const [weight, bias] = [at(`${name}.weight`), parameters.get(`${name}.bias`)];
    return Array.from({ length: weight.length / x.length }, (_, o) =>
      x.reduce((sum, v, i) => sum + v * weight[o * x.length + i]!, bias?.[o] ?? 0),
    );
  };
  const norm = (name: string, x: Row): Row => {
    const mean = x.reduce((a, b) => a + b) / x.length;
    const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length;
    return x.map(
      (v, i) =>
        ((v - mean) / Math.sqrt(variance + epsilon)) * at(`${name}.weight`)[i]! + at(`${name}.bias`)[i]!,
    );
  };
  const attend = (block: string, tokens: Row[]): Row[] => {
    const [q, k, v] = ['query', 'key', 'value'].map((name) =>
      tokens.map((x) => linear(`${block}.attention.attention.${name}`, x)),
    ) as [Row[], Row[], Row[]];
    const each = size / heads;
    return tokens.map((_, t) => {
      const out = Array<number>(size).fill(0);
      for (let h = 0; h < heads; h++) {
        const own = (x: Row) => x.slice(h * each, (h + 1) * each);
        const scores = k.map((key) =>
          Math.exp(own(q[t]!).reduce((sum, a, i) => sum + a * own(key)[i]!, 0) / Math.sqrt(each)),
        );
        const total = scores.reduce((a, b) => a + b);
        scores.forEach((score, s) =>
          own(v[s]!).forEach((x, i) => (out[h * each + i]! += (score / total) * x)),
        );
      }
      return out;
    });
  };
  const plus = (a: Row, b: Row) => a.map((x, i) => x + b[i]!);

  const logits: number[] = [];
  for (let n = 0; n < BATCH; n++) {
    let tokens = embed(n);
    for (let l = 0; l < config.num_hidden_layers; l++) {
      const block = `${family}.encoder.layer.${l}`;
      const mixed = attend(
        block,
        tokens.map((x) => norm(`${block}.layernorm_before`, x)),
      );
      tokens = tokens.map((x, t) => plus(x, linear(`${block}.attention.output.dense`, mixed[t]!)));
      tokens = tokens.map((x) => {
        const hidden = linear(`${block}.intermediate.dense`, norm(`${block}.layernorm_after`, x));
        return plus(
          x,
          linear(
            `${block}.output.dense`,
            hidden.map((h) => h * normalShare(h)),
          ),
        );
      });
    }
    const [first, second] = tokens.slice(0, 2).map((x) => norm(`${family}.layernorm`, x)) as [Row, Row];
    if (config.architectures[0] !== TEACHER) logits.push(...linear('classifier', first));
    else
      logits.push(
        ...plus(linear('cls_classifier', first), linear('distillation_classifier', second)).map((x) => x / 2),
      );
  }
  return logits;
}

/** Φ(x), by the series of its integral. */
function normalShare(x: number): number {
  let [term, sum] = [x, x];
  for (let k = 1; k < 200; k++) {
    term *= (x * x) / (2 * k + 1);
    sum += term;
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}
