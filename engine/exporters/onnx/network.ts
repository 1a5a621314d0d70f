/** An ONNX model that is built node by node; its weights are made when their turn comes to be written. */
import type { OnnxAttribute, OnnxDataType, OnnxNode, OnnxValueInfo } from '../../formats/onnx.js';

export const MICROSOFT = 'com.microsoft';

/** A constant of the model. */
export interface Stored {
  readonly name: string;
  readonly dataType: OnnxDataType;
  readonly shape: readonly number[];
  readonly data: () => Promise<Uint8Array>;
  /** The name of one before it that has the same bytes, which are written once. */
  readonly same?: string;
}

export interface Network {
  readonly nodes: readonly OnnxNode[];
  readonly stored: readonly Stored[];
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
}

type Attributes = Readonly<Record<string, number | readonly number[]>>;

export const bytesOf = (view: ArrayBufferView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** Adds nodes; each call returns the name of what it makes. */
export function networkBuilder() {
  const nodes: OnnxNode[] = [];
  const stored = new Map<string, Stored>();
  const store = (tensor: Stored): string => {
    stored.set(tensor.name, tensor);
    return tensor.name;
  };
  const node = (opType: string, inputs: readonly string[], attributes: Attributes = {}, domain = '') => {
    const name = `${opType}_${nodes.length}`;
    nodes.push({
      opType,
      ...(domain !== '' && { domain }),
      name,
      inputs,
      outputs: [name],
      attributes: Object.fromEntries(
        Object.entries(attributes).map(([key, value]) => [key, attribute(value)]),
      ),
    });
    return name;
  };
  return {
    nodes,
    stored,
    store,
    node,
    /** Integers, of one axis or none. */
    ints: (values: readonly number[] | number) => {
      const list = typeof values === 'number' ? [values] : values;
      return store({
        name: `int64.${typeof values === 'number' ? values : `[${values.join()}]`}`,
        dataType: 'int64',
        shape: typeof values === 'number' ? [] : [list.length],
        data: () => Promise.resolve(bytesOf(BigInt64Array.from(list, BigInt))),
      });
    },
    float: (value: number) =>
      store({
        name: `float32.${value}`,
        dataType: 'float32',
        shape: [],
        data: () => Promise.resolve(bytesOf(Float32Array.of(value))),
      }),
    /** An unsigned integer of 8 bits. */
    byte: (value: number) =>
      store({
        name: `uint8.${value}`,
        dataType: 'uint8',
        shape: [],
        data: () => Promise.resolve(Uint8Array.of(value)),
      }),
    /** Gives a value its name outside. */
    output: (value: string, name: string) =>
      nodes.push({
        opType: 'Identity',
        name: `output.${name}`,
        inputs: [value],
        outputs: [name],
        attributes: {},
      }),
  };
}

export type NetworkBuilder = ReturnType<typeof networkBuilder>;

const attribute = (value: number | readonly number[]): OnnxAttribute =>
  typeof value === 'number' ? { type: 'int', value } : { type: 'ints', value };
