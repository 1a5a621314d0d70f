/** What every architecture is reduced to: parts (stem, blocks, head) written as functions from a builder to a graph. */
import { sizeOf, type DType, type Shape, type Value } from '../graph/ir.js';
import type { Activation } from './activations.js';
import type { Rope } from './rope.js';

/**
 * What a part's graph is built from. The part says which linear layers, norms and products it has; the builder decides
 * what they become: full precision, fake-quantized for calibration, or a listing of names and shapes.
 * Names are local to the part; with its prefix they are the checkpoint's own.
 */
export interface Builder {
  /** y = x·Wᵀ + b, [n, in] → [n, out]. */
  linear(name: string, x: Value, out: number, options?: LinearOptions): Value;
  /** LayerNorm over the last axis of [n, features]. */
  layerNorm(name: string, x: Value, epsilon: number, options?: NormOptions): Value;
  /** RMSNorm over the last axis of [n, features]: x · weight / √(mean x² + ε). */
  rmsNorm(name: string, x: Value, epsilon: number, stored?: Pick<StoredForm, 'offset'>): Value;
  /** Rows of a table [rows, features] at int64 ids [n] → [n, features]. */
  embedding(name: string, ids: Value, rows: number, features: number): Value;
  /** A tensor about to enter a product of two activations (queries, keys, values); a method may quantize it. */
  operand(name: string, x: Value): Value;
  /** A parameter that is used as it is, such as position embeddings. */
  parameter(name: string, shape: Shape, stored?: Pick<StoredForm, 'storedName'>): Value;
  /** Where keys and values are kept for tokens to come. Of parts of models that `keeps` is true of. */
  readonly kept?: KeptTokens;
}

/** Keys [1, heads, size, tokens], or values [1, heads, tokens, size]: as products with them want them. */
export type KeptKind = 'keys' | 'values';

/** Tokens whose keys and values are kept, before those that run. */
export interface KeptTokens {
  /** Takes those of the tokens that run. @param operand as in `Builder.operand`, which they have passed */
  keep(operand: string, kind: KeptKind, x: Value): void;
  /** Of one token that runs behind others; absent where a text begins. */
  readonly next?: {
    /** Those of the tokens before, for what was kept of this one. */
    readonly before: (operand: string, kind: KeptKind, x: Value) => Value;
    /** Turns heads [1, 1, heads, size] by the token's position. */
    readonly turn: (x: Value) => Value;
    /** What is added to its scores, [1, all], its own last. @param window the most tokens it attends to, itself included; undefined for all */
    readonly mask: (window: number | undefined) => Value;
  };
}

/** How a checkpoint has a parameter, as far as it differs from how the part has it. */
export interface StoredForm {
  /** The shape where it is another one that holds the same elements in the same order. */
  readonly storedShape?: Shape;
  /** The full name where it is not prefix + name but that of a tensor that another part reads too. */
  readonly storedName?: string;
  /** Whether rows and columns of a matrix are exchanged. */
  readonly transposed?: boolean;
  /** What is added to what is stored. */
  readonly offset?: number;
}

/** How the checkpoint has the weight, and whether there is a bias; default true. */
export interface LinearOptions extends Omit<StoredForm, 'offset'> {
  readonly bias?: boolean;
}

export interface NormOptions {
  /** Whether a learned weight and bias follow, which the checkpoint then has; default true. */
  readonly affine?: boolean;
  /** Whether a bias is among them; default true. */
  readonly bias?: boolean;
}

/**
 * Which of a part's tensors meet the stream that runs through all parts, and where a basis can be changed inside it: what a
 * method must know to turn a model and keep its function. Names are local to the part.
 */
export interface Roles {
  /** The table, or the layers, whose output is the stream or is added to it. */
  readonly writers: readonly string[];
  /** RMSNorms of the stream. Layers that read one of them, and nothing else, read the stream. None where the stream cannot be turned. */
  readonly norms: readonly string[];
  readonly attention?: AttentionRoles;
  /** The layer that reads the product of two others' outputs, and the one whose output is a factor of it as it stands. */
  readonly gated?: string;
  readonly gatedFactor?: string;
}

export interface AttentionRoles {
  /** Channels of a head, of queries, keys and values alike. */
  readonly size: number;
  /** Operands of the scores, as they are multiplied (positions applied), and of the mixture. */
  readonly queries: string;
  readonly keys: string;
  readonly values: string;
  /** The layer that makes the values and nothing else, where there is one, and the one that reads their mixture, head by head. */
  readonly valueLayer?: string;
  readonly outputLayer: string;
}

/** What a part reads beside its input: a mask, a conditioning, features of another chain. */
export interface SidePort {
  /** Of what feeds it: an input of the model, or a tower. */
  readonly name: string;
  /** The shape for a batch of this many samples, one after another. */
  shape(this: void, batch: number): Shape;
  /** Default float32. */
  readonly type?: DType;
}

/** A stem, block or head. A head has no side ports: what reads them is a block. */
export interface Part {
  /** Full parameter names are prefix + local name. */
  readonly prefix: string;
  /** Parts of the same kind build the same graph and differ in weights alone. */
  readonly kind: string;
  /** The shape of the input for a batch of this many samples, one after another. */
  inputShape(batch: number): Shape;
  /** The shape of what `forward` makes of it, samples one after another too. */
  outputShape(batch: number): Shape;
  /** Default float32. */
  readonly inputType?: DType;
  /** Default none. */
  readonly side?: readonly SidePort[];
  /**
   * @param x as `inputShape` says; in a language model its samples may have another length, which is one for all of them
   * @param side what its side ports are fed, by their names
   */
  forward(builder: Builder, x: Value, batch: number, side: Readonly<Record<string, Value>>): Value;
  /** Those of the stem are absent where the stream cannot be turned, as in families without RMSNorms. */
  readonly roles?: Roles;
}

/** Parts of which each reads what the one before it yields. */
export interface Chain {
  /** What the stem reads: an input of the model or a tower before this chain, by its name. Default what the model reads. */
  readonly input?: string;
  readonly stem: Part;
  readonly blocks: readonly Part[];
}

/** A chain beside a model's own, such as a vision tower: what it yields feeds later chains, by its name. */
export interface Tower extends Chain {
  readonly name: string;
}

/** What every model has: a chain, which the head goes on with. What else it has is its task's affair. */
export interface Model extends Chain {
  readonly family: string;
  /** The name of what it is for (`engine/tasks/registry.ts`). */
  readonly task: string;
  /** What a sample is made of, whatever the task. Samples of tokens may have any length up to a longest one. */
  readonly reads: 'pixels' | 'tokens';
  readonly head: Part;
  /** In the order they run, before the model's own chain. Default none. */
  readonly towers?: readonly Tower[];
}

/** A vision model: pixels [batch, channels, height, width] → stem → blocks → head → logits [batch, classes]. */
export interface VisionModel extends Model {
  readonly task: 'image-classification';
  readonly reads: 'pixels';
  readonly image: { readonly channels: number; readonly height: number; readonly width: number };
  readonly classes: number;
  /** The checkpoint's own names of its classes, by number; empty where it has none. */
  readonly classNames: ReadonlyMap<number, string>;
}

/**
 * A causal language model for samples of up to `tokens` tokens, and of so many where nobody says otherwise: int64 ids
 * [batch, tokens] → stem → [batch·tokens, features] → blocks → head → logits of the next token [batch·tokens, vocabulary].
 * The head's samples are single tokens, so that those of a large vocabulary can be run a few at a time.
 */
export interface LanguageModel extends Model {
  readonly task: 'text-generation';
  readonly reads: 'tokens';
  readonly tokens: number;
  readonly vocabulary: number;
  /** The longest sequence that the model knows positions for. */
  readonly context: number;
  /** Of models in LLaMA's layout. */
  readonly layout?: DecoderLayout;
  /** Of models whose layers are no linear modules to other libraries: what they are, as in "its layers are …". */
  readonly layersAre?: string;
  /** The rope of all blocks that can run behind kept tokens; absent where they cannot. */
  readonly keeps?: Rope;
}

/** What sets models in LLaMA's layout apart, for who has to describe one to other tools. */
export interface DecoderLayout {
  /** Of the stream, and between the perceptron's layers. */
  readonly features: number;
  readonly hidden: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
  /** Of the perceptron's gate. */
  readonly activation: Activation;
  /** Of all norms. */
  readonly epsilon: number;
  readonly rope: Rope;
  /** Whether the head reads the table of embeddings. */
  readonly tied: boolean;
  /** Which layers have a bias: queries, keys and values; the attention's output; the perceptron's three. Default none. */
  readonly bias?: { readonly qkv?: boolean; readonly output?: boolean; readonly mlp?: boolean };
  /** Whether each head of queries and keys passes an RMSNorm before it is turned. */
  readonly headNorms?: boolean;
  /** By layer, the most tokens that one attends to, itself included; default all before it. */
  readonly windows?: readonly (number | undefined)[];
}

/** Elements of one sample of what a part reads. */
export const inputSize = (part: Part): number => sizeOf(part.inputShape(1));

/** Elements of one sample of what a part yields. */
export const outputSize = (part: Part): number => sizeOf(part.outputShape(1));

/** Channels of the stream that runs from the stem on, which blocks of a family with `roles` read and write. */
export const streamFeatures = ({ stem }: Model): number => stem.outputShape(1).at(-1)!;

/** What a sample of the model is to its head. */
export interface HeadPort {
  /** Elements that it reads of a sample. */
  readonly size: number;
  /** How many of the head's own samples they are. */
  readonly rows: number;
  /** Elements of what it yields for each of those. */
  readonly outputs: number;
}

export function headOf({ stem, blocks, head }: Model): HeadPort {
  const size = outputSize(blocks.at(-1) ?? stem);
  return { size, rows: size / inputSize(head), outputs: outputSize(head) };
}

/** All chains in the order they run; the last is the model's own, and has no name. */
export const chainsOf = (model: Model): readonly (Chain & Partial<Tower>)[] => [
  ...(model.towers ?? []),
  model,
];

/** The numbers of the chains that what the chain with this number yields has an effect on, by others or directly. */
export function readersOf(model: Model, chain: number): number[] {
  const chains = chainsOf(model);
  const names = new Set([chains[chain]!.name]);
  const readers: number[] = [];
  for (const [d, { name, input, ...parts }] of chains.entries()) {
    if (d <= chain) continue;
    const read = [input, ...chainParts(parts).flatMap(({ side = [] }) => side.map((port) => port.name))];
    if (!read.some((each) => each !== undefined && names.has(each))) continue;
    readers.push(d);
    names.add(name);
  }
  return readers;
}

/** The parts of a chain in the order they run. */
export const chainParts = ({ stem, blocks }: Chain): readonly Part[] => [stem, ...blocks];

/** The blocks of all chains in the order they run. */
export const blocksOf = (model: Model): readonly Part[] => chainsOf(model).flatMap(({ blocks }) => blocks);

/** All parts in the order they run. */
export const partsOf = (model: Model): readonly Part[] => [
  ...chainsOf(model).flatMap(chainParts),
  model.head,
];

/** Everything that a model reads from outside, each once: what its first stems read, and what feeds side ports but no tower yields. */
export function inputsOf(model: Model): readonly Omit<SidePort, 'name'>[] {
  const named = new Map<string | undefined, Omit<SidePort, 'name'>>();
  for (const { input, stem, blocks } of chainsOf(model)) {
    const { inputType: type } = stem;
    named.set(input, { shape: (batch) => stem.inputShape(batch), ...(type && { type }) });
    for (const port of [stem, ...blocks].flatMap(({ side = [] }) => side)) named.set(port.name, port);
  }
  for (const { name } of model.towers ?? []) named.delete(name);
  return [...named.values()];
}

/** The names of what a model reads from outside beside its own input: towers read it, or side ports. */
export function sideInputsOf(model: Model): string[] {
  const towers = (model.towers ?? []).map(({ name }) => name);
  const read = chainsOf(model).flatMap(({ input, ...parts }) => [
    ...(input === undefined ? [] : [input]),
    ...chainParts(parts).flatMap(({ side = [] }) => side.map(({ name }) => name)),
  ]);
  return [...new Set(read)].filter((name) => !towers.includes(name));
}
