import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { TINY_LLAMA } from '../../../test/fixtures.js';
import { createRandom } from '../../data/random.js';
import { openSafetensors } from '../../formats/safetensors.js';
import { gradients } from '../../graph/gradients.js';
import { Graph, reachable, sizeOf, type Value } from '../../graph/ir.js';
import { openRuntime } from '../../runtime/session.js';
import { fullPrecision } from '../builders.js';
import { openCheckpoint, type HostTensor } from '../checkpoint.js';
import { ModelConfig } from '../config.js';
import { listPart, storedName } from '../listing.js';
import { headOf, partsOf, streamFeatures, type LanguageModel, type Part } from '../model.js';
import { buildModel } from '../registry.js';

const BATCH = 2;
const TOKENS = 7;
type Config = Omit<typeof TINY_LLAMA, 'num_key_value_heads'> & {
  num_key_value_heads?: number | null;
} & Readonly<Record<string, unknown>>;
const MISTRAL = { model_type: 'mistral', architectures: ['MistralForCausalLM'] };
const QWEN2 = { model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] };
const QWEN3 = { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'], head_dim: 6 };
const LLAMA3_SCALING = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
};
const YARN = { type: 'yarn', factor: 4, beta_fast: 4, original_max_position_embeddings: 16 };

const runtime = openRuntime('cpu', 1);
afterAll(() => runtime.dispose());

const modelOf = (change: object, tokens?: number) =>
  buildModel(
    new ModelConfig({ ...TINY_LLAMA, ...change }, 'tiny/config.json'),
    tokens === undefined ? {} : { tokens },
  ) as LanguageModel;

describe('forward pass, against plain loops in float64', () => {
  it.each<[string, object]>([
    ['grouped queries', {}],
    ['a key head for each', { num_key_value_heads: 4 }],
    ['a key head for each where none is named', { num_key_value_heads: null }],
    ['one key head', { num_key_value_heads: 1 }],
    ['heads wider than the stream', { head_dim: 8 }],
    ['biases in attention', { attention_bias: true }],
    ['biases in the perceptron', { mlp_bias: true }],
    ['a tied head', { tie_word_embeddings: true }],
    ['a coarse epsilon', { rms_norm_eps: 0.3 }],
    ['linear scaling', { rope_scaling: { type: 'linear', factor: 4 } }],
    ['dynamic scaling', { rope_scaling: { type: 'dynamic', factor: 4 } }],
    ['Llama 3 scaling', { rope_scaling: LLAMA3_SCALING, head_dim: 12 }],
    ['YaRN', { rope_scaling: YARN, head_dim: 12 }],
    ['rope_parameters', { rope_theta: null, rope_parameters: { ...LLAMA3_SCALING, rope_theta: 50 } }],
    ['Mistral', { ...MISTRAL, sliding_window: null }],
    ['Mistral with a window', { ...MISTRAL, sliding_window: 3 }],
    ['Mistral with a window of one token', { ...MISTRAL, sliding_window: 1 }],
    ['Mistral with a window as long as the sample', { ...MISTRAL, sliding_window: TOKENS }],
    ['Qwen 2', QWEN2],
    ['Qwen 3', QWEN3],
    ['Qwen 3 with biases', { ...QWEN3, attention_bias: true, tie_word_embeddings: true }],
  ])('%s', async (_, change) => {
    const model = modelOf(change, TOKENS);
    const parameters = randomParameters(model);
    const random = createRandom(3, 'ids');
    const ids = Array.from({ length: BATCH * TOKENS }, () => random.integer(TINY_LLAMA.vocab_size));
    const found = await run(model, parameters, ids);
    const expected = reference({ ...TINY_LLAMA, ...change }, parameters, ids);
    expect(found).toHaveLength(BATCH * TOKENS * TINY_LLAMA.vocab_size);
    expect(Math.max(...expected.map((x, i) => Math.abs(x - found[i]!)))).toBeLessThan(1e-4);
    expect(Math.max(...expected) - Math.min(...expected)).toBeGreaterThan(0.1);
  });

  it('of a prefix is the prefix of the forward pass', async () => {
    const parameters = randomParameters(modelOf({}));
    const ids = [3, 1, 4, 1, 5, 9, 2, 6];
    const [long, short] = [
      await run(modelOf({}, 8), parameters, ids, 1),
      await run(modelOf({}, 5), parameters, ids.slice(0, 5), 1),
    ];
    short.forEach((x, i) => expect(x).toBeCloseTo(long[i]!, 5));
  });
});

describe('the sample model', () => {
  const sample = (name: string) => fileURLToPath(new URL(`../../../samples/${name}`, import.meta.url));

  it('computes the reference logits', async () => {
    const checkpoint = await openCheckpoint(sample('llama-speeches'));
    const source = await openSafetensors(sample('llama-speeches-reference.safetensors'));
    const [ids, expected] = [await source.readInt('input_ids'), await source.read('logits')];
    const parameters = new Map<string, HostTensor>();
    for (const part of partsOf(checkpoint.model)) {
      const tensors = await checkpoint.read(part);
      for (const entry of checkpoint.listing(part).parameters)
        parameters.set(storedName(part, entry), tensors.get(entry.name)!);
    }
    const found = await run(checkpoint.model as LanguageModel, parameters, [...ids].map(Number));
    let worst = 0;
    expected.forEach((x, i) => (worst = Math.max(worst, Math.abs(x - found[i]!))));
    expect(found).toHaveLength(expected.length);
    expect(worst).toBeLessThan(1e-4);
    await source.close();
    await checkpoint.close();
  });

  it('has its shared embedding counted once', async () => {
    const checkpoint = await openCheckpoint(sample('llama-speeches'), { tokens: 16 });
    expect(checkpoint.model).toMatchObject({ vocabulary: 2048, context: 128, tokens: 16 });
    expect(streamFeatures(checkpoint.model)).toBe(128);
    expect(checkpoint.model.blocks).toHaveLength(6);
    const block = 2 * 128 * 128 + 2 * 64 * 128 + 3 * 352 * 128 + 2 * 128;
    expect(checkpoint.parameters).toBe(2048 * 128 + 6 * block + 128);
    await checkpoint.close();
  });
});

describe('parts', () => {
  it('are named as the checkpoint names them', () => {
    const model = modelOf({});
    expect(partsOf(model).map((part) => part.prefix)).toEqual(['', 'model.layers.0.', 'model.layers.1.', '']);
    expect(listPart(model.stem).parameters.map((p) => p.name)).toEqual(['model.embed_tokens.weight']);
    expect(listPart(model.head).linears).toEqual([
      { name: 'lm_head', in: 16, out: 11, bias: false, input: 'lm_head', norm: 'model.norm' },
    ]);
  });

  it('say which norm and which input their layers read', () => {
    const listing = listPart(modelOf(QWEN3).blocks[0]!);
    expect(
      listing.linears.map(({ name, in: columns, out, input, norm }) => [name, out, columns, input, norm]),
    ).toEqual([
      ['self_attn.q_proj', 24, 16, 'self_attn.q_proj', 'input_layernorm'],
      ['self_attn.k_proj', 12, 16, 'self_attn.q_proj', 'input_layernorm'],
      ['self_attn.v_proj', 12, 16, 'self_attn.q_proj', 'input_layernorm'],
      ['self_attn.o_proj', 16, 24, 'self_attn.o_proj', undefined],
      ['mlp.gate_proj', 24, 16, 'mlp.gate_proj', 'post_attention_layernorm'],
      ['mlp.up_proj', 24, 16, 'mlp.gate_proj', 'post_attention_layernorm'],
      ['mlp.down_proj', 16, 24, 'mlp.down_proj', undefined],
    ]);
    expect(listing.norms).toEqual([
      { name: 'input_layernorm', features: 16, bias: false, foldable: true },
      { name: 'self_attn.q_norm', features: 6, bias: false, foldable: false },
      { name: 'self_attn.k_norm', features: 6, bias: false, foldable: false },
      { name: 'post_attention_layernorm', features: 16, bias: false, foldable: true },
    ]);
    expect([...listing.operands].sort()).toEqual(['self_attn.k', 'self_attn.q', 'self_attn.v']);
  });

  it('have the biases that the family has', () => {
    const biases = (change: object) =>
      listPart(modelOf(change).blocks[0]!)
        .linears.filter((l) => l.bias)
        .map((l) => l.name.replace(/^.*\.|_proj$/g, ''))
        .join(' ');
    expect(biases({})).toBe('');
    expect(biases({ attention_bias: true })).toBe('q k v o');
    expect(biases({ mlp_bias: true })).toBe('gate up down');
    expect(biases(MISTRAL)).toBe('');
    expect(biases(QWEN2)).toBe('q k v');
    expect(biases({ ...QWEN3, attention_bias: true })).toBe('q k v o');
  });

  it('share one graph and one mask among blocks', () => {
    const graph = new Graph();
    const [first, second] = modelOf({}, TOKENS).blocks as [Part, Part];
    expect(first.kind).toBe(second.kind);
    const builder = fullPrecision(graph);
    const x = graph.input('x', first.inputShape(1));
    expect(first.forward(builder, x, 1, {})).toBe(second.forward(builder, x, 1, {}));
    const large = [...graph.constants.values()].filter((data) => data.length === TOKENS * TOKENS);
    expect(large).toHaveLength(1);
  });

  it('differ in kind with the length of samples', () => {
    const kinds = [3, 4].map((tokens) => partsOf(modelOf({}, tokens)).map((part) => part.kind));
    // But for the head, which takes tokens one by one.
    expect(new Set(kinds.flatMap((list) => list.slice(0, -1))).size).toBe(4);
    expect(kinds[0]!.at(-1)).toBe(kinds[1]!.at(-1));
  });

  it('operands are turned queries and keys, and values', () => {
    const part = modelOf({}, 2).blocks[0]!;
    const seen = new Map<string, Value>();
    const graph = new Graph();
    const operand = (name: string, x: Value) => {
      seen.set(name, x);
      return x;
    };
    part.forward({ ...fullPrecision(graph), operand }, graph.input('x', [2, 16]), 1, {});
    const before = (name: string) => new Set(reachable([seen.get(name)!]).map((node) => node.op));
    expect(before('self_attn.q')).toContain('Split');
    expect(before('self_attn.k')).toContain('Split');
    expect(before('self_attn.v')).not.toContain('Split');
  });
});

it('passes gradients through a block', async () => {
  const part = modelOf({ ...QWEN3, attention_bias: true }, 3).blocks[0]!;
  const parameters = randomParameters(modelOf({ ...QWEN3, attention_bias: true }));
  const random = createRandom(5, 'gradient');
  const normals = (n: number) => Float32Array.from({ length: n }, () => random.normal());
  const shape = part.inputShape(1);
  const [data, weights] = [normals(sizeOf(shape)), normals(sizeOf(shape))];

  const graph = new Graph();
  const [x, cotangent] = [graph.input('x', shape), graph.input('g', shape)];
  const y = part.forward(fullPrecision(graph), x, 1, {});
  graph.output('y', y);
  graph.output('dx', gradients([{ value: y, cotangent }], [x])[0]!);
  const program = await runtime.compile(graph, 'gradient', { keep: false });
  const feeds = Object.fromEntries(
    listPart(part).parameters.map(({ name }) => {
      const tensor = parameters.get(part.prefix + name)!;
      return [name, runtime.tensor(tensor.data, tensor.shape)] as const;
    }),
  );
  const outputs = () =>
    program.run({ ...feeds, x: runtime.tensor(data, shape), g: runtime.tensor(weights, shape) });
  const loss = async () =>
    (await runtime.read((await outputs()).y!)).reduce((sum, v, i) => sum + v * weights[i]!, 0);
  const found = await runtime.read((await outputs()).dx!);
  const step = 2 ** -6;
  for (let i = 0; i < data.length; i++) {
    const at = data[i]!;
    const slopes: number[] = [];
    for (const steps of [1, 2]) {
      data[i] = at + steps * step;
      const up = await loss();
      data[i] = at - steps * step;
      slopes.push((up - (await loss())) / (2 * steps * step));
    }
    data[i] = at;
    const slope = (4 * slopes[0]! - slopes[1]!) / 3;
    expect(Math.abs(found[i]! - slope) / Math.max(1, Math.abs(slope)), `element ${i}`).toBeLessThan(2e-3);
  }
  expect(Math.max(...found.map(Math.abs))).toBeGreaterThan(0.1);
  await program.dispose();
});

describe('configuration', () => {
  it('builds for as many tokens as asked for, up to the context, else up to 2048', () => {
    expect(modelOf({})).toMatchObject({ tokens: 32, context: 32, vocabulary: 11 });
    expect(modelOf({}, 5)).toMatchObject({ tokens: 5, context: 32 });
    expect(modelOf({ max_position_embeddings: 131072 })).toMatchObject({ tokens: 2048, context: 131072 });
  });

  it.each([0, 1.5, 33, NaN])('refuses samples of %d tokens', (tokens) => {
    expect(() => modelOf({}, tokens)).toThrow(
      `"max_position_embeddings" is 32; samples may have 1 to 32 tokens, not ${tokens}.`,
    );
  });

  it.each<[string, object, (number | undefined)[]]>([
    ['every layer of Mistral', { ...MISTRAL, sliding_window: 8 }, [8, 8]],
    ['no layer of it', { ...MISTRAL, sliding_window: null }, [undefined, undefined]],
    [
      'its layers by type',
      { ...MISTRAL, sliding_window: 8, layer_types: ['full_attention', 'sliding_attention'] },
      [undefined, 8],
    ],
    [
      'layers from one on',
      { ...QWEN2, use_sliding_window: true, sliding_window: 8, max_window_layers: 1 },
      [undefined, 8],
    ],
    [
      'no layer',
      { ...QWEN3, use_sliding_window: true, sliding_window: 8, max_window_layers: 2 },
      [undefined, undefined],
    ],
    ['none where it is off', { ...QWEN3, sliding_window: 8, max_window_layers: 0 }, [undefined, undefined]],
  ])('has windows in %s', (_, change, windows) => {
    const kinds = modelOf(change).blocks.map(({ kind }) => kind);
    expect(kinds).toEqual(
      windows.map((window) => (window ? 'block of 32 tokens, a window of 8' : 'block of 32 tokens')),
    );
  });

  it.each<[string, object, Record<string, unknown>]>([
    ['Mistral', MISTRAL, { num_key_value_heads: 8, max_position_embeddings: 131072, vocab_size: 32000 }],
    ['Qwen 2', QWEN2, { num_key_value_heads: 32, max_position_embeddings: 32768, vocab_size: 151936 }],
    ['Qwen 3', QWEN3, { num_key_value_heads: 32, head_dim: 128, max_position_embeddings: 32768 }],
    ['LLaMA', {}, { num_key_value_heads: 64, max_position_embeddings: 2048, intermediate_size: 11008 }],
  ])('has the defaults of %s', (_, family, defaults) => {
    const base = { ...family, hidden_size: 128, num_attention_heads: 64 };
    const shapes = (config: object) => {
      const model = modelOf(config, 8);
      const parts = partsOf(model).map((part) => [
        part.kind,
        listPart(part).parameters.map(({ shape }) => shape),
      ]);
      return { context: model.context, parts };
    };
    const missing = Object.fromEntries(Object.keys(defaults).map((key) => [key, undefined]));
    expect(shapes({ ...base, ...missing })).toEqual(shapes({ ...base, ...defaults }));
  });

  it.each<[string, object, string]>([
    [
      'heads that do not divide',
      { num_attention_heads: 3 },
      '"num_key_value_heads" must divide num_attention_heads (3), found 2',
    ],
    [
      'heads that do not divide the width',
      { num_attention_heads: 3, num_key_value_heads: 3 },
      '"num_attention_heads" must divide hidden_size (16), found 3',
    ],
    [
      'odd heads',
      { head_dim: 5 },
      '"head_dim" makes heads of 5 channels; their number must be even and at most 4096',
    ],
    [
      'odd heads by division',
      { num_attention_heads: 16, num_key_value_heads: 16 },
      '"num_attention_heads" makes heads of 1 channels',
    ],
    [
      'quantized weights',
      { quantization_config: { quant_method: 'gptq' } },
      '"quantization_config" is present: weights that are quantized already are not supported',
    ],
    [
      'a mixture of experts',
      { num_local_experts: 8 },
      '"num_local_experts" is present: mixtures of experts are not supported',
    ],
    [
      'another scaling',
      { rope_scaling: { rope_type: 'proportional' } },
      '"rope_scaling.rope_type" is "proportional"; supported: default, linear, dynamic, longrope, llama3, yarn',
    ],
    [
      'another scaling by its old key',
      { rope_scaling: { type: 'mrope' } },
      '"rope_scaling.type" is "mrope"; supported',
    ],
    ['a scaling without a factor', { rope_scaling: { type: 'linear' } }, '"rope_scaling.factor" is missing'],
    [
      'a scaling that is a text',
      { rope_scaling: 'linear' },
      '"rope_scaling" must be an object, found "linear"',
    ],
    [
      'bounds in disorder',
      { rope_scaling: { ...LLAMA3_SCALING, low_freq_factor: 4 } },
      '"rope_scaling.high_freq_factor" must be above low_freq_factor (4), found 4',
    ],
    [
      'positions by layer',
      { rope_parameters: { full_attention: { rope_theta: 1e4 } } },
      '"rope_parameters.full_attention" is present: positions that differ between layers are not supported',
    ],
    ['heads turned in part', { partial_rotary_factor: 0.5 }, '"partial_rotary_factor" must be 1'],
    ['tokens that see those after them', { is_causal: false }, '"is_causal" is false'],
    [
      'layers that slide without a window',
      { ...QWEN2, layer_types: ['full_attention', 'sliding_attention'], sliding_window: 4 },
      '"sliding_window" is missing or switched off',
    ],
    [
      'types for another number of layers',
      { ...QWEN2, layer_types: ['full_attention'] },
      '"layer_types" must have an entry for each of 2 layers, found 1',
    ],
    ['a base of one', { rope_theta: 1 }, '"rope_theta" must be above 1, found 1'],
    [
      'layers of another kind',
      { ...QWEN3, layer_types: ['linear_attention'] },
      '"layer_types" has "linear_attention"; supported are',
    ],
    [
      'a head for something else',
      { architectures: ['LlamaForSequenceClassification'] },
      '"architectures" is "LlamaForSequenceClassification"; supported for "llama" are LlamaForCausalLM',
    ],
    ['a huge width', { hidden_size: 1 << 24 }, '"hidden_size" must be an integer from 1 to 1048576'],
  ])('refuses %s', (_, change, message) => {
    expect(() => modelOf(change)).toThrow(`tiny/config.json: ${message}`);
  });
});

/** Parameters by the names of the checkpoint. */
function randomParameters(model: LanguageModel): Map<string, HostTensor> {
  const random = createRandom(2, 'parameters');
  const parameters = new Map<string, HostTensor>();
  for (const part of partsOf(model))
    for (const entry of listPart(part).parameters) {
      const { name, shape } = entry;
      const spread =
        shape.length === 2 && name !== 'model.embed_tokens.weight' ? 1.5 / Math.sqrt(shape[1]!) : 0.4;
      const data = Float32Array.from(
        { length: sizeOf(shape) },
        () => Number(name.includes('norm')) + spread * random.normal(),
      );
      parameters.set(storedName(part, entry), { shape, data });
    }
  return parameters;
}

/** Part after part, as a job runs them. */
async function run(
  model: LanguageModel,
  parameters: ReadonlyMap<string, HostTensor>,
  ids: readonly number[],
  batch = BATCH,
): Promise<Float32Array> {
  let x = runtime.tensor(BigInt64Array.from(ids, BigInt), model.stem.inputShape(batch));
  for (const part of partsOf(model)) {
    const graph = new Graph();
    const samples = part === model.head ? batch * headOf(model).rows : batch;
    const input = graph.input('x', part.inputShape(samples), part.inputType);
    graph.output('y', part.forward(fullPrecision(graph), input, samples, {}));
    const program = await runtime.compile(graph, part.kind, { keep: false });
    const feeds = listPart(part).parameters.map((entry) => {
      const { data, shape } = parameters.get(storedName(part, entry))!;
      return [entry.name, runtime.tensor(data, shape)] as const;
    });
    x = (await program.run({ ...Object.fromEntries(feeds), x })).y!;
    await program.dispose();
  }
  return runtime.read(x);
}

type Row = readonly number[];

/** Logits [batch·tokens, vocabulary] by the formulas, every switch of every family in one place. */
function reference(
  config: Config,
  parameters: ReadonlyMap<string, HostTensor>,
  ids: readonly number[],
): number[] {
  const heads = config.num_attention_heads;
  const keyHeads = config.num_key_value_heads ?? heads;
  const size = (config.head_dim as number | undefined) ?? config.hidden_size / heads;
  const window = config.model_type === 'mistral' ? ((config.sliding_window as number | null) ?? 4096) : 4096;

  const linear = (name: string, x: Row): Row => {
    const weight = parameters.get(`${name}.weight`)!;
    const bias = parameters.get(`${name}.bias`)?.data;
    return Array.from({ length: weight.shape[0]! }, (_, o) =>
      x.reduce((sum, v, i) => sum + v * weight.data[o * x.length + i]!, bias?.[o] ?? 0),
    );
  };
  const norm = (name: string, x: Row): Row => {
    const meanSquare = x.reduce((sum, v) => sum + v * v, 0) / x.length;
    const weight = parameters.get(`${name}.weight`)!.data;
    return x.map((v, i) => (v / Math.sqrt(meanSquare + config.rms_norm_eps)) * weight[i]!);
  };
  /** x·cos + rotate_half(x)·sin, where rotate_half([a, b]) = [−b, a]. */
  const turn = (x: Row, position: number): Row => {
    const half = size / 2;
    const { frequencies, gain } = expectedRope(config, size);
    return x.map((v, c) => {
      const angle = position * frequencies[c % half]!;
      const turned = c < half ? -x[c + half]! : x[c - half]!;
      return gain * (v * Math.cos(angle) + turned * Math.sin(angle));
    });
  };
  const perHead = (x: Row, count: number) =>
    Array.from({ length: count }, (_, h) => x.slice(h * size, (h + 1) * size));
  const attend = (block: string, xs: readonly Row[]): Row[] => {
    const turned = (name: string, count: number) =>
      xs.map((x, t) =>
        perHead(linear(`${block}.${name}_proj`, x), count).map((head) =>
          turn(
            parameters.has(`${block}.${name}_norm.weight`) ? norm(`${block}.${name}_norm`, head) : head,
            t,
          ),
        ),
      );
    const [q, k] = [turned('q', heads), turned('k', keyHeads)];
    const v = xs.map((x) => perHead(linear(`${block}.v_proj`, x), keyHeads));
    return xs.map((_, t) =>
      Array.from({ length: heads }, (_, h) => {
        const own = Math.floor(h / (heads / keyHeads));
        const seen = xs.map((_, s) => s).filter((s) => s <= t && t - s < window);
        const weights = seen.map((s) =>
          Math.exp(q[t]![h]!.reduce((sum, a, i) => sum + a * k[s]![own]![i]!, 0) / Math.sqrt(size)),
        );
        const total = weights.reduce((a, b) => a + b);
        return Array.from({ length: size }, (_, i) =>
          seen.reduce((sum, s, j) => sum + (weights[j]! / total) * v[s]![own]![i]!, 0),
        );
      }).flat(),
    );
  };
  const plus = (a: Row, b: Row) => a.map((x, i) => x + b[i]!);

  const embeddings = parameters.get('model.embed_tokens.weight')!.data;
  const { hidden_size: features } = config;
  const tokens = ids.length / BATCH;
  return Array.from({ length: BATCH }, (_, n) => {
    let xs: Row[] = ids
      .slice(n * tokens, (n + 1) * tokens)
      .map((id) => [...embeddings.subarray(id * features, (id + 1) * features)]);
    for (let l = 0; l < config.num_hidden_layers; l++) {
      const block = `model.layers.${l}`;
      const mixed = attend(
        `${block}.self_attn`,
        xs.map((x) => norm(`${block}.input_layernorm`, x)),
      );
      xs = xs.map((x, t) => plus(x, linear(`${block}.self_attn.o_proj`, mixed[t]!)));
      xs = xs.map((x) => {
        const normal = norm(`${block}.post_attention_layernorm`, x);
        const up = linear(`${block}.mlp.up_proj`, normal);
        const gated = linear(`${block}.mlp.gate_proj`, normal).map(
          (g, i) => (g / (1 + Math.exp(-g))) * up[i]!,
        );
        return plus(x, linear(`${block}.mlp.down_proj`, gated));
      });
    }
    const head = config.tie_word_embeddings ? 'model.embed_tokens' : 'lm_head';
    return xs.flatMap((x) => linear(head, norm('model.norm', x)));
  }).flat();
}

/** Frequencies as the scaling's own publication states them, case by case. */
function expectedRope(config: Config, size: number): { frequencies: number[]; gain: number } {
  const scaling = (config.rope_parameters ?? config.rope_scaling ?? {}) as Readonly<
    Record<string, number>
  > & {
    type?: string;
    rope_type?: string;
  };
  const theta = scaling.rope_theta ?? config.rope_theta;
  const plain = Array.from({ length: size / 2 }, (_, i) => 1 / theta ** ((2 * i) / size));
  const factor = scaling.factor!;
  switch (scaling.rope_type ?? scaling.type ?? 'default') {
    case 'linear':
      return { frequencies: plain.map((f) => f / factor), gain: 1 };
    case 'llama3': {
      const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: old } = scaling;
      const frequencies = plain.map((f) => {
        const wavelength = (2 * Math.PI) / f;
        if (wavelength < old! / high!) return f;
        if (wavelength > old! / low!) return f / factor;
        const smooth = (old! / wavelength - low!) / (high! - low!);
        return ((1 - smooth) * f) / factor + smooth * f;
      });
      return { frequencies, gain: 1 };
    }
    case 'yarn': {
      const old = scaling.original_max_position_embeddings!;
      const pair = (turns: number) => (size * Math.log(old / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
      const low = Math.max(Math.floor(pair(scaling.beta_fast!)), 0);
      const high = Math.min(Math.ceil(pair(1)), size - 1);
      const frequencies = plain.map((f, i) => {
        const kept = 1 - Math.min(Math.max((i - low) / (high - low), 0), 1);
        return (f / factor) * (1 - kept) + f * kept;
      });
      return { frequencies, gain: 0.1 * Math.log(factor) + 1 };
    }
    default:
      return { frequencies: plain, gain: 1 };
  }
}
