/** A causal language model of parts: embeddings, blocks, and a head that makes logits token by token. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { ModelConfig } from '../config.js';
import type { BuildOptions, Family } from '../family.js';
import type { Builder, DecoderLayout, LanguageModel, Part, Roles } from '../model.js';
import type { Rope } from '../rope.js';
import type { DecoderSizes } from './sizes.js';

/** What a block, or a layer of it, makes of tokens [batch·tokens, features]; its output is as its input. */
export type Sublayer = (b: Builder, x: Value, batch: number) => Value;

export interface BlockDesign {
  readonly forward: Sublayer;
  readonly roles?: Roles;
}

export interface DecoderDesign {
  readonly sizes: DecoderSizes;
  /** The table of embeddings, [vocabulary, width]. */
  readonly table: string;
  /** Default the features of the stream. */
  readonly width?: number;
  /** What is made of embeddings [batch·tokens, width] before the first block. Default nothing. */
  readonly embedded?: Sublayer;
  /** What a block's tensors begin with. */
  readonly prefix: (block: number) => string;
  /** By block, what sets its graph apart from others of the model; empty for nothing, which is the default. */
  readonly variants?: readonly string[];
  /** The block of this number; asked for once for each variant. */
  readonly block: (block: number) => BlockDesign;
  readonly head: HeadDesign;
  /** Of a model that can be turned: the RMSNorm of its head. */
  readonly turnedNorm?: string;
  readonly layout?: DecoderLayout;
  /** As in the model. */
  readonly keeps?: Rope;
}

export interface HeadDesign {
  /** What the layer of logits reads, of the last block's output. */
  readonly before: (b: Builder, x: Value) => Value;
  readonly layer: string;
  readonly bias?: boolean;
  /** Whether the layer's weight is the table of embeddings. */
  readonly tied: boolean;
  readonly after?: (logits: Value) => Value;
}

const stemOf = ({ sizes, table, width = sizes.features, embedded, turnedNorm }: DecoderDesign): Part => {
  const { vocabulary, features, tokens } = sizes;
  return {
    prefix: '',
    kind: `stem of ${tokens} tokens`,
    inputShape: (batch) => [batch, tokens],
    outputShape: (batch) => [batch * tokens, features],
    inputType: 'int64',
    forward: (b, ids, batch) => {
      const rows = b.embedding(table, op.reshape(ids, [batch * ids.shape[1]!]), vocabulary, width);
      return embedded ? embedded(b, rows, batch) : rows;
    },
    ...(turnedNorm !== undefined && { roles: { writers: [table], norms: [] } }),
  };
};

function blocksOf({ sizes, prefix, block, ...design }: DecoderDesign): readonly Part[] {
  const { features, tokens, depth } = sizes;
  const { variants = Array<string>(depth).fill('') } = design;
  const firsts = new Map([...new Set(variants)].map((variant) => [variant, variants.indexOf(variant)]));
  const designs = new Map([...firsts].map(([variant, first]) => [variant, block(first)]));
  return variants.map((variant, index) => ({
    prefix: prefix(index),
    kind: `block of ${tokens} tokens${variant && `, ${variant}`}`,
    inputShape: (batch) => [batch * tokens, features],
    outputShape: (batch) => [batch * tokens, features],
    ...designs.get(variant)!,
  }));
}

/** Token by token; a tied head reads the table of embeddings. */
const headOf = ({ sizes, table, head, turnedNorm }: DecoderDesign): Part => {
  const { features, vocabulary } = sizes;
  const { before, layer, bias = false, tied, after } = head;
  return {
    prefix: '',
    kind: 'head',
    inputShape: (batch) => [batch, features],
    outputShape: (batch) => [batch, vocabulary],
    forward: (b, x) => {
      const logits = b.linear(layer, before(b, x), vocabulary, {
        bias,
        ...(tied && { storedName: `${table}.weight` }),
      });
      return after ? after(logits) : logits;
    },
    ...(turnedNorm !== undefined && { roles: { writers: [], norms: [turnedNorm] } }),
  };
};

/** A family of decoders, by how a configuration becomes a design. */
export const decoderFamily = ({
  design,
  layersAre,
  ...names
}: Omit<Family, 'build'> &
  Pick<LanguageModel, 'layersAre'> & {
    readonly design: (config: ModelConfig, options: BuildOptions) => DecoderDesign;
  }): Family => ({
  ...names,
  build: (config, _architecture, options): LanguageModel => {
    if (!config.flag('is_causal', true))
      config.fail('is_causal', 'is false: models whose tokens see those after them are not supported');
    const made = design(config, options);
    const { vocabulary, context, tokens } = made.sizes;
    return {
      family: names.modelType,
      task: 'text-generation',
      reads: 'tokens',
      stem: stemOf(made),
      blocks: blocksOf(made),
      head: headOf(made),
      tokens,
      vocabulary,
      context,
      ...(made.layout && { layout: made.layout }),
      ...(layersAre !== undefined && { layersAre }),
      ...(made.keeps && { keeps: made.keeps }),
    };
  },
});

/** Whether the head reads the table of embeddings. */
export const readTied = (
  config: ModelConfig,
  byDefault: boolean,
  { untied = false }: BuildOptions,
): boolean => config.flag('tie_word_embeddings', byDefault) && !untied;
