/** What every architecture is reduced to: parts (stem, blocks, head) written as functions from a builder to a graph. */
import { UserError } from '../errors.js';
import { sizeOf, type DType, type Shape, type Value } from '../graph/ir.js';

/**
 * What a part's graph is built from. The part says which linear layers, norms and products it has; the builder decides
 * what they become: full precision, fake-quantized for calibration, or a listing of names and shapes.
 * Names are local to the part; with its prefix they are the checkpoint's own.
 */
export interface Builder {
  /** y = x·Wᵀ + b, [n, in] → [n, out]. */
  linear(name: string, x: Value, out: number, options?: LinearOptions): Value;
  /** LayerNorm over the last axis of [n, width]. */
  layerNorm(name: string, x: Value, epsilon: number, options?: NormOptions): Value;
  /** RMSNorm over the last axis of [n, width]: x · weight / √(mean x² + ε). */
  rmsNorm(name: string, x: Value, epsilon: number): Value;
  /** Rows of a table [rows, width] at int64 ids [n] → [n, width]. */
  embedding(name: string, ids: Value, rows: number, width: number): Value;
  /** A tensor about to enter a product of two activations (queries, keys, values); a method may quantize it. */
  operand(name: string, x: Value): Value;
  /** A parameter that is used as it is, such as position embeddings. */
  parameter(name: string, shape: Shape): Value;
}

export interface LinearOptions {
  readonly bias?: boolean;
  /** The weight's shape in the checkpoint where it is not [out, in] but holds the same elements in the same order. */
  readonly storedShape?: Shape;
  /** The weight's full name in the checkpoint where it is not prefix + name but a tensor that another part reads too. */
  readonly storedName?: string;
}

export interface NormOptions {
  /** Whether a learned weight and bias follow, which the checkpoint then has; default true. */
  readonly affine?: boolean;
}

/**
 * Which of a part's tensors meet the stream that runs through all parts, and where a basis can be changed inside it: what a
 * method must know to turn a model and keep its function. Names are local to the part.
 */
export interface Roles {
  /** The table, or the layers, whose output is the stream or is added to it. */
  readonly writers: readonly string[];
  /** RMSNorms of the stream. Layers that read one of them, and nothing else, read the stream. */
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
  /** The layer that makes the values, and the one that reads their mixture, head by head. */
  readonly valueLayer: string;
  readonly outputLayer: string;
}

/** What a part reads beside its input: a mask, a conditioning, features of another chain. */
export interface SidePort {
  /** Of the model's input that feeds it. */
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
  /** Absent in families without RMSNorms. */
  readonly roles?: Roles;
}

/** What every model has. */
interface ModelBase {
  readonly family: string;
  readonly stem: Part;
  readonly blocks: readonly Part[];
  readonly head: Part;
}

/** A vision model: pixels [batch, channels, height, width] → stem → blocks → head → logits [batch, classes]. */
export interface VisionModel extends ModelBase {
  readonly task: 'image-classification';
  readonly image: { readonly channels: number; readonly height: number; readonly width: number };
  readonly classes: number;
  /** The checkpoint's own names of its classes, by number; empty where it has none. */
  readonly classNames: ReadonlyMap<number, string>;
}

/**
 * A causal language model for samples of up to `tokens` tokens, and of so many where nobody says otherwise: int64 ids
 * [batch, tokens] → stem → [batch·tokens, width] → blocks → head → logits of the next token [batch·tokens, vocabulary].
 * The head's samples are single tokens, so that those of a large vocabulary can be run a few at a time.
 */
export interface LanguageModel extends ModelBase {
  readonly task: 'text-generation';
  readonly tokens: number;
  readonly vocabulary: number;
  /** The longest sequence that the model knows positions for. */
  readonly context: number;
}

export type Model = VisionModel | LanguageModel;

/** Elements of one sample of what a part reads. */
export const inputSize = (part: Part): number => sizeOf(part.inputShape(1));

/** Elements of one sample of what a part yields. */
export const outputSize = (part: Part): number => sizeOf(part.outputShape(1));

/** Channels of the stream that runs from the stem on, which blocks of a family with `roles` read and write. */
export const streamWidth = ({ stem }: Model): number => stem.outputShape(1).at(-1)!;

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

/** All parts in the order they run. */
export const partsOf = (model: Model): readonly Part[] => [model.stem, ...model.blocks, model.head];

/** The model as an image classifier. Throws UserError, naming the checkpoint and what needs one, where it is none. */
export function requireVision(model: Model, checkpoint: string, user: string): VisionModel {
  if (model.task === 'image-classification') return model;
  throw new UserError(`${user} supports image classifiers so far; ${checkpoint} is a language model.`);
}

/** The model as a language model. Throws UserError, naming the checkpoint and what needs one, where it is none. */
export function requireLanguage(model: Model, checkpoint: string, user: string): LanguageModel {
  if (model.task === 'text-generation') return model;
  throw new UserError(`${user} needs a language model; ${checkpoint} is an image classifier.`);
}
