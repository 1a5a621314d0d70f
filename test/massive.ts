/**
 * LLaMAs with a massive activation (Sun et al. 2024, "Massive Activations in Large Language Models") that compute what they
 * computed without: from one block on, one channel of a text's first token is many times larger than all others.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readJsonFile } from '../engine/formats/json.js';
import { openSafetensors, writeSafetensors } from '../engine/formats/safetensors.js';
import type { HostTensor } from '../engine/models/checkpoint.js';

export interface Massive {
  /** The token that begins every text, and is nowhere else in it. */
  readonly token: number;
  /** The block whose perceptron makes the activation. */
  readonly block: number;
  /** How many times it is larger than any other of that token's between blocks; 0 for none. */
  readonly times: number;
}

interface Config {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly rms_norm_eps: number;
}

interface Plain {
  readonly config: Config;
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** What the units that make the activation have for their gates, and for what these let through. */
const UNIT = 8;
/** What each of them makes of it. Few grids have them all, so that rounding changes the activation, which norms make up for. */
const SHARES = [0.55, 0.3, 0.15];

/**
 * Writes the model in the folder `from`, which has no biases, to `into`, with one channel more in the stream and a few units
 * more in every perceptron, before the others: they are zero for every token but `token`.
 *
 * That token sees none before it, so that all that layers make of it is known, and what its large channel leaves of the
 * others behind a norm, too. The first columns of the layers there give back what is missing; the norm's gain is such that
 * they are no larger than the other columns.
 */
export async function writeMassive(
  from: string,
  into: string,
  { token, block, times }: Massive,
): Promise<void> {
  const plain = await readPlain(from);
  const { config, tensors } = plain;
  const features = config.hidden_size;
  const epsilon = (config.rms_norm_eps * features) / (features + 1);
  const of = (name: string) => tensors.get(name)!;
  const table = of('model.embed_tokens.weight');
  const streams = streamsOf(plain, token);
  const largest = (x: Float64Array) => x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const massive =
    times * Math.max(...streams.flatMap(({ read, between }) => [largest(read), largest(between)]));
  const detected = times === 0 ? 0 : largest(streams[0]!.read);

  const found = new Map<string, HostTensor>();
  const embedding = widened(table, 0, 1);
  embedding.data[token * (features + 1)] = detected;
  found.set('model.embed_tokens.weight', embedding);

  /** Widens a norm and the layers that read it. @param channel the token's first @returns what the norm makes of that */
  const putBehind = (
    norm: string,
    layers: readonly string[],
    stream: Float64Array,
    channel: number,
  ): number => {
    const gains = of(norm).data;
    const shrink = Math.sqrt(features / (features + 1));
    const root = Math.sqrt((squares(stream) + channel ** 2) / (features + 1) + epsilon);
    const whole = Math.sqrt(squares(stream) / features + config.rms_norm_eps);
    const missing = stream.map((x, i) => x * gains[i]! * (1 / whole - shrink / root));
    const lost = layers.map((name) => product(of(name), missing));
    const size = layers.reduce((sum, name) => sum + squares(of(name).data) / features, 0);
    const seen = channel === 0 ? 0 : Math.sqrt(lost.reduce((sum, each) => sum + squares(each), 0) / size);
    const gain = channel === 0 ? 1 : (seen * root) / channel;
    found.set(norm, {
      shape: [features + 1],
      data: Float32Array.from([gain, ...gains], (g, i) => (i === 0 ? g : g * shrink)),
    });
    for (const [i, name] of layers.entries()) {
      const wide = widened(of(name), 0, 1);
      if (seen > 0) for (const [row, y] of lost[i]!.entries()) wide.data[row * (features + 1)] = y / seen;
      found.set(outputOf(name), wide);
    }
    return seen;
  };

  for (const [index, { read, between }] of streams.slice(0, -1).entries()) {
    const at = `model.layers.${index}.`;
    const channel = index > block ? detected + massive : detected;
    const { attention, unit } = layersOf(at);
    putBehind(`${at}input_layernorm.weight`, attention, read, channel);
    found.set(`${at}self_attn.o_proj.weight`, widened(of(`${at}self_attn.o_proj.weight`), 1, 0));
    const seen = putBehind(`${at}post_attention_layernorm.weight`, unit, between, channel);
    for (const name of unit) found.set(name, widened(found.get(name)!, SHARES.length, 0));
    const down = widened(of(`${at}mlp.down_proj.weight`), 1, SHARES.length);
    found.set(`${at}mlp.down_proj.weight`, down);
    if (index !== block || times === 0) continue;
    for (const [i, share] of SHARES.entries()) {
      for (const name of unit) found.get(name)!.data[i * (features + 1)] = UNIT / seen;
      down.data[i] = (share * massive) / (silu(UNIT) * UNIT);
    }
  }
  const head = tensors.has(HEAD) ? HEAD : 'model.embed_tokens.weight';
  putBehind(
    'model.norm.weight',
    [head],
    streams.at(-1)!.read,
    detected + (block < streams.length - 1 ? massive : 0),
  );
  await writeModel(from, into, found, {
    hidden_size: features + 1,
    intermediate_size: config.intermediate_size + SHARES.length,
    head_dim: features / config.num_attention_heads,
    rms_norm_eps: epsilon,
    tie_word_embeddings: false,
  });
}

const HEAD = 'lm_head.weight';
/** A head that is the embedding becomes one of its own. */
const outputOf = (name: string) => (name === 'model.embed_tokens.weight' ? HEAD : name);

const layersOf = (at: string) => ({
  attention: ['q', 'k', 'v'].map((name) => `${at}self_attn.${name}_proj.weight`),
  unit: ['gate', 'up'].map((name) => `${at}mlp.${name}_proj.weight`),
});

/** The stream of a text's first token as each block reads it, and between attention and perceptron; last, as the head does. */
function streamsOf({ config, tensors }: Plain, token: number) {
  const { num_hidden_layers: depth, hidden_size: features } = config;
  const weight = (name: string) => tensors.get(`${name}.weight`)!;
  const normed = (x: Float64Array, name: string) => {
    const root = Math.sqrt(squares(x) / features + config.rms_norm_eps);
    return x.map((value, i) => (value / root) * weight(name).data[i]!);
  };
  const added = (x: Float64Array, y: Float64Array) => x.map((value, i) => value + y[i]!);
  const streams: { readonly read: Float64Array; readonly between: Float64Array }[] = [];
  const table = weight('model.embed_tokens').data;
  let read = Float64Array.from(table.subarray(token * features, (token + 1) * features));
  for (let index = 0; index < depth; index++) {
    const at = `model.layers.${index}.`;
    // It attends to itself alone: every head mixes the one value that it shares with others.
    const values = product(weight(`${at}self_attn.v_proj`), normed(read, `${at}input_layernorm`));
    const size = values.length / config.num_key_value_heads;
    const shared = config.num_attention_heads / config.num_key_value_heads;
    const mixed = Float64Array.from(
      { length: config.num_attention_heads * size },
      (_, i) => values[Math.floor(i / size / shared) * size + (i % size)]!,
    );
    const between = added(read, product(weight(`${at}self_attn.o_proj`), mixed));
    streams.push({ read, between });
    const x = normed(between, `${at}post_attention_layernorm`);
    const up = product(weight(`${at}mlp.up_proj`), x);
    const units = product(weight(`${at}mlp.gate_proj`), x).map((gate, i) => silu(gate) * up[i]!);
    read = added(between, product(weight(`${at}mlp.down_proj`), units));
  }
  return [...streams, { read, between: read }];
}

const silu = (x: number): number => x / (1 + Math.exp(-x));

const squares = (values: Float32Array | Float64Array): number => {
  let sum = 0;
  for (const x of values) sum += x * x;
  return sum;
};

/** W x for W [out, in]. */
function product({ data, shape }: HostTensor, x: Float64Array): Float64Array {
  return Float64Array.from({ length: shape[0]! }, (_, row) =>
    x.reduce((sum, value, i) => sum + value * data[row * x.length + i]!, 0),
  );
}

/** A matrix with so many rows and columns of zeros before its own. */
function widened({ data, shape }: HostTensor, rows: number, columns: number): HostTensor {
  const [out, inner] = shape as readonly [number, number];
  const wide = new Float32Array((out + rows) * (inner + columns));
  for (let row = 0; row < out; row++)
    wide.set(data.subarray(row * inner, (row + 1) * inner), (row + rows) * (inner + columns) + columns);
  return { shape: [out + rows, inner + columns], data: wide };
}

async function readPlain(folder: string): Promise<Plain> {
  const source = await openSafetensors(folder);
  const tensors = new Map<string, HostTensor>();
  for (const [name, { shape }] of source.tensors) tensors.set(name, { shape, data: await source.read(name) });
  await source.close();
  return { config: await configOf<Config>(folder), tensors };
}

const configOf = async <T>(folder: string) => (await readJsonFile(join(folder, 'config.json'))) as T;

async function writeModel(
  from: string,
  into: string,
  tensors: ReadonlyMap<string, HostTensor>,
  changes: object,
): Promise<void> {
  await mkdir(into, { recursive: true });
  await writeFile(
    join(into, 'config.json'),
    JSON.stringify({ ...(await configOf<object>(from)), ...changes }),
  );
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(from, name), join(into, name));
  await writeSafetensors(
    join(into, 'model.safetensors'),
    [...tensors].map(([name, { shape, data }]) => ({ name, dtype: 'F32' as const, shape, data })),
    { format: 'pt' },
  );
}
