/** LLaMA 1 to 3 (Touvron et al. 2023), Hugging Face layout `llama`; other families are built from the same pieces. */
import { show } from '../../formats/paths.js';
import type { Graph, Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { readActivation } from '../activations.js';
import { attention, causalMask } from '../attention.js';
import type { ModelConfig } from '../config.js';
import { byLength } from '../constants.js';
import type { Builder, DecoderLayout, LanguageModel, Part } from '../model.js';
import type { BuildOptions, Family } from '../family.js';
import { readRope, rotation } from '../rope.js';

/** What sets a family apart. */
export type LlamaTraits = Pick<DecoderLayout, 'bias' | 'headNorms' | 'windows'>;

/** What the family's configurations have where their keys are missing. */
export interface LlamaDefaults {
  readonly hidden: number;
  readonly context: number;
  readonly vocabulary: number;
  /** Default as many as heads. */
  readonly keyHeads?: number;
  /** Default `features` over `heads`. */
  readonly headSize?: number;
}

interface LlamaConfig extends DecoderLayout {
  readonly depth: number;
  readonly vocabulary: number;
  readonly context: number;
  readonly tokens: number;
}

/** Far above any real model's; below these, numbers of elements are exact and the list of blocks is short. */
const MAX_FEATURES = 1 << 20;
const MAX_DEPTH = 1 << 12;
const MAX_HEADS = 1 << 14;
const MAX_HEAD_SIZE = 1 << 12;
/** The mask of longer samples would be a constant of more than 256 MiB. */
const MAX_TOKENS = 1 << 13;
const DEFAULT_TOKENS = 2048;

/** The same in all families. */
const FEATURES = 4096;
const DEPTH = 32;
const HEADS = 32;

function readLlamaConfig(
  config: ModelConfig,
  defaults: LlamaDefaults,
  { tokens, untied = false }: BuildOptions,
): Omit<LlamaConfig, keyof LlamaTraits> {
  refuseOthers(config);
  const features = config.size('hidden_size', FEATURES, MAX_FEATURES);
  const heads = config.size('num_attention_heads', HEADS, MAX_HEADS);
  const keyHeads = config.optionalSize('num_key_value_heads', defaults.keyHeads, MAX_HEADS) ?? heads;
  if (heads % keyHeads !== 0)
    config.fail('num_key_value_heads', `must divide num_attention_heads (${heads}), found ${keyHeads}`);
  const ownSize = config.optionalSize('head_dim', defaults.headSize, MAX_HEAD_SIZE);
  if (ownSize === undefined && features % heads !== 0)
    config.fail('num_attention_heads', `must divide hidden_size (${features}), found ${heads}`);
  const headSize = ownSize ?? features / heads;
  if (headSize % 2 !== 0 || headSize > MAX_HEAD_SIZE)
    config.fail(
      ownSize === undefined ? 'num_attention_heads' : 'head_dim',
      `makes heads of ${headSize} channels; their number must be even and at most ${MAX_HEAD_SIZE}`,
    );
  const context = config.size('max_position_embeddings', defaults.context);
  const longest = Math.min(context, MAX_TOKENS);
  const length = tokens ?? Math.min(longest, DEFAULT_TOKENS);
  if (!Number.isInteger(length) || length < 1 || length > longest)
    config.fail(
      'max_position_embeddings',
      `is ${context}; samples may have 1 to ${longest} tokens, not ${length}`,
    );
  return {
    ...{ features, heads, keyHeads, headSize, context, tokens: length },
    depth: config.size('num_hidden_layers', DEPTH, MAX_DEPTH),
    hidden: config.size('intermediate_size', defaults.hidden, MAX_FEATURES),
    activation: readActivation(config, 'silu'),
    epsilon: config.positive('rms_norm_eps', 1e-6),
    rope: readRope(config, headSize, context),
    vocabulary: config.size('vocab_size', defaults.vocabulary),
    tied: config.flag('tie_word_embeddings', false) && !untied,
  };
}

function refuseOthers(config: ModelConfig): void {
  for (const key of ['num_experts', 'num_local_experts', 'moe_intermediate_size'])
    if (config.has(key)) config.fail(key, 'is present: mixtures of experts are not supported');
  if (!config.flag('is_causal', true))
    config.fail('is_causal', 'is false: models whose tokens see those after them are not supported');
}

/**
 * By layer, the window that `layer_types` gives it: `sliding_window` tokens where it slides; undefined where there are no types.
 * @param window what `sliding_window` means to the family
 */
export function windowsOfTypes(
  config: ModelConfig,
  depth: number,
  window: number | undefined,
): LlamaTraits['windows'] {
  if (!config.has('layer_types')) return undefined;
  const types = config.texts('layer_types');
  const other = types.find((type) => !['full_attention', 'sliding_attention'].includes(type));
  if (other !== undefined)
    config.fail('layer_types', `has ${show(other)}; supported are "full_attention" and "sliding_attention"`);
  if (types.length !== depth)
    config.fail('layer_types', `must have an entry for each of ${depth} layers, found ${types.length}`);
  if (window === undefined && types.includes('sliding_attention'))
    config.fail('sliding_window', 'is missing or switched off, and "layer_types" has layers that slide');
  return types.map((type) => (type === 'sliding_attention' ? window : undefined));
}

/** Token embeddings. */
const llamaStem = ({ vocabulary, features, tokens }: LlamaConfig): Part => ({
  prefix: '',
  kind: `stem of ${tokens} tokens`,
  inputShape: (batch) => [batch, tokens],
  outputShape: (batch) => [batch * tokens, features],
  inputType: 'int64',
  forward: (b, ids, batch) =>
    b.embedding('model.embed_tokens', op.reshape(ids, [batch * ids.shape[1]!]), vocabulary, features),
  roles: { writers: ['model.embed_tokens'], norms: [] },
});

/** Pre-norm decoder blocks: causal attention, then a gated perceptron, each added to the stream. */
function llamaBlocks(config: LlamaConfig): readonly Part[] {
  const { features, depth, heads, keyHeads, headSize, hidden, activation, epsilon, tokens } = config;
  const { bias = {}, headNorms = false } = config;
  const turns = byLength((length) => rotation(config.rope, length));

  /** Queries or keys [batch·tokens, count·headSize] as they enter the product. */
  const positioned = (b: Builder, norm: string, x: Value, batch: number, count: number): Value => {
    const length = x.shape[0]! / batch;
    const normal = headNorms
      ? b.rmsNorm(norm, op.reshape(x, [batch * length * count, headSize]), epsilon)
      : x;
    const turned = turns(length)(op.reshape(normal, [batch, length, count, headSize]));
    return op.reshape(turned, x.shape);
  };
  const forwardWith =
    (masks: (length: number) => (graph: Graph) => Value) =>
    (b: Builder, x: Value, batch: number): Value => {
      const before = b.rmsNorm('input_layernorm', x, epsilon);
      const project = (name: string, count: number) =>
        b.linear(`self_attn.${name}_proj`, before, count * headSize, { bias: bias.qkv ?? false });
      const [q, k, v] = [project('q', heads), project('k', keyHeads), project('v', keyHeads)] as const;
      const mixed = attention(
        b,
        'self_attn',
        {
          q: positioned(b, 'self_attn.q_norm', q, batch, heads),
          k: positioned(b, 'self_attn.k_norm', k, batch, keyHeads),
          v,
        },
        batch,
        { heads, keyHeads, mask: masks(x.shape[0]! / batch)(x.graph) },
      );
      const attended = op.add(
        x,
        b.linear('self_attn.o_proj', mixed, features, { bias: bias.output ?? false }),
      );
      const after = b.rmsNorm('post_attention_layernorm', attended, epsilon);
      const gate = b.linear('mlp.gate_proj', after, hidden, { bias: bias.mlp ?? false });
      const up = b.linear('mlp.up_proj', after, hidden, { bias: bias.mlp ?? false });
      const gated = op.mul(activation(gate), up);
      return op.add(attended, b.linear('mlp.down_proj', gated, features, { bias: bias.mlp ?? false }));
    };
  const windows = Array.from({ length: depth }, (_, index) => config.windows?.[index]);
  const forwards = new Map(
    [...new Set(windows)].map((window) => [
      window,
      forwardWith(byLength((length) => causalMask(length, window))),
    ]),
  );
  return windows.map((window, index) => ({
    prefix: `model.layers.${index}.`,
    kind: `block of ${tokens} tokens${window === undefined ? '' : `, a window of ${window}`}`,
    inputShape: (batch) => [batch * tokens, features],
    outputShape: (batch) => [batch * tokens, features],
    forward: forwards.get(window)!,
    roles: {
      writers: ['self_attn.o_proj', 'mlp.down_proj'],
      norms: ['input_layernorm', 'post_attention_layernorm'],
      attention: {
        size: headSize,
        queries: 'self_attn.q',
        keys: 'self_attn.k',
        values: 'self_attn.v',
        valueLayer: 'self_attn.v_proj',
        outputLayer: 'self_attn.o_proj',
      },
      gated: 'mlp.down_proj',
      gatedFactor: 'mlp.up_proj',
    },
  }));
}

/** The final norm and the logits, token by token; a tied head reads the table of embeddings. */
const llamaHead = ({ features, epsilon, vocabulary, tied }: LlamaConfig): Part => ({
  prefix: '',
  kind: 'head',
  inputShape: (batch) => [batch, features],
  outputShape: (batch) => [batch, vocabulary],
  forward: (b, x) =>
    b.linear('lm_head', b.rmsNorm('model.norm', x, epsilon), vocabulary, {
      bias: false,
      ...(tied && { storedName: 'model.embed_tokens.weight' }),
    }),
  roles: { writers: [], norms: ['model.norm'] },
});

/** A family in LLaMA's layout. @param traits reads what sets it apart, for a model of `depth` layers */
export const llamaFamily = (
  modelType: string,
  architecture: string,
  defaults: LlamaDefaults,
  traits: (config: ModelConfig, depth: number) => LlamaTraits,
): Family => ({
  modelType,
  architectures: [architecture],
  otherNames,
  // Frequencies follow from the configuration, and are computed.
  ignores: /rotary_emb\.inv_freq$/,
  build: (modelConfig, _architecture, options): LanguageModel => {
    const common = readLlamaConfig(modelConfig, defaults, options);
    const config = { ...common, ...traits(modelConfig, common.depth) };
    const { tokens, vocabulary, context, depth: _depth, ...layout } = config;
    return {
      family: modelType,
      task: 'text-generation',
      reads: 'tokens',
      stem: llamaStem(config),
      blocks: llamaBlocks(config),
      head: llamaHead(config),
      tokens,
      vocabulary,
      context,
      layout,
    };
  },
});

/** A checkpoint of the model without its head has names without the prefix. */
const otherNames = (name: string): readonly string[] =>
  name.startsWith('model.') ? [name.slice('model.'.length)] : [];

export const llama = llamaFamily(
  'llama',
  'LlamaForCausalLM',
  { hidden: 11008, context: 2048, vocabulary: 32000 },
  (config) => {
    const attention = config.flag('attention_bias', false);
    return { bias: { qkv: attention, output: attention, mlp: config.flag('mlp_bias', false) } };
  },
);
