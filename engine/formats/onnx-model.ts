import { DATA_TYPES } from './onnx-schema.js';

/** An ONNX model in plain values. What has no place here (doc strings, annotations) is dropped on reading. */
export interface OnnxModel {
  readonly irVersion: number;
  readonly opsets: readonly { readonly domain: string; readonly version: number }[];
  readonly producerName: string;
  readonly graph: OnnxGraph;
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface OnnxGraph {
  readonly name: string;
  /** In an order in which every value is made before it is used. */
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly initializers: readonly OnnxTensor[];
  readonly valueInfos?: readonly OnnxValueInfo[];
}

export interface OnnxNode {
  readonly opType: string;
  /** Missing or '' is the standard operator set. */
  readonly domain?: string;
  readonly name: string;
  /** Names of values; '' is an input left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** Integers are safe integers or the two ends of int64 (±2^63), which stand for "no limit". */
export type OnnxAttribute =
  | { readonly type: 'int'; readonly value: number }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'ints'; readonly value: readonly number[] }
  | { readonly type: 'floats'; readonly value: readonly number[] }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'tensor'; readonly value: OnnxTensor };

export type OnnxDataType = keyof typeof DATA_TYPES;

/** Name, element type and dimensions of a value: a number, a symbol, or '' for unknown. No shape: any rank. */
export interface OnnxValueInfo {
  readonly name: string;
  readonly dataType: OnnxDataType;
  readonly shape?: readonly (number | string)[];
}

/** A constant. Its bytes are little-endian and row-major, two 4-bit elements a byte, the first one low. */
export type OnnxTensor = OnnxInlineTensor | OnnxExternalTensor;

export interface OnnxInlineTensor {
  readonly name: string;
  readonly dataType: OnnxDataType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** A constant whose bytes lie in another file, at `location` beside the model. */
export interface OnnxExternalTensor {
  readonly name: string;
  readonly dataType: OnnxDataType;
  readonly shape: readonly number[];
  readonly external: { readonly location: string; readonly offset: number; readonly length: number };
}

/** A tensor over the elements of `values`, which are not copied. */
export const onnxTensor = (
  name: string,
  dataType: OnnxDataType,
  shape: readonly number[],
  values: ArrayBufferView,
): OnnxInlineTensor => ({
  name,
  dataType,
  shape,
  data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
});

/** Bytes of a tensor, 4-bit elements rounded up to a byte; undefined where a product passes 2^53. */
export function onnxByteLength(dataType: OnnxDataType, shape: readonly number[]): number | undefined {
  let bits: number = DATA_TYPES[dataType][1];
  for (const dimension of shape) {
    bits *= dimension;
    if (!Number.isSafeInteger(bits)) return undefined;
  }
  return Math.ceil(bits / 8);
}
