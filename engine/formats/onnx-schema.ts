import protobuf from 'protobufjs/light.js';

/**
 * The messages of onnx.proto (ONNX 1.17, proto2) that a model of ours can hold, as `field: 'number type'`.
 * `[]` is repeated, `packed` packed. Messages that are recognised only to be refused (subgraphs, functions,
 * sparse tensors) are left as bytes.
 */
const MESSAGES = {
  ModelProto: {
    ir_version: '1 int64',
    producer_name: '2 string',
    graph: '7 GraphProto',
    opset_import: '8 OperatorSetIdProto[]',
    metadata_props: '14 StringStringEntryProto[]',
    functions: '25 bytes[]',
  },
  OperatorSetIdProto: { domain: '1 string', version: '2 int64' },
  StringStringEntryProto: { key: '1 string', value: '2 string' },
  GraphProto: {
    node: '1 NodeProto[]',
    name: '2 string',
    initializer: '5 TensorProto[]',
    input: '11 ValueInfoProto[]',
    output: '12 ValueInfoProto[]',
    value_info: '13 ValueInfoProto[]',
    sparse_initializer: '15 bytes[]',
  },
  NodeProto: {
    input: '1 string[]',
    output: '2 string[]',
    name: '3 string',
    op_type: '4 string',
    attribute: '5 AttributeProto[]',
    domain: '7 string',
  },
  AttributeProto: {
    name: '1 string',
    f: '2 float',
    i: '3 int64',
    s: '4 bytes',
    t: '5 TensorProto',
    floats: '7 float[]',
    ints: '8 int64[]',
    strings: '9 bytes[]',
    type: '20 int32',
  },
  TensorProto: {
    dims: '1 int64[]',
    data_type: '2 int32',
    segment: '3 bytes',
    float_data: '4 float[] packed',
    int32_data: '5 int32[] packed',
    int64_data: '7 int64[] packed',
    name: '8 string',
    raw_data: '9 bytes',
    double_data: '10 double[] packed',
    uint64_data: '11 uint64[] packed',
    external_data: '13 StringStringEntryProto[]',
    data_location: '14 int32',
  },
  ValueInfoProto: { name: '1 string', type: '2 TypeProto' },
  TypeProto: { tensor_type: '1 TensorTypeProto' },
  TensorTypeProto: { elem_type: '1 int32', shape: '2 TensorShapeProto' },
  TensorShapeProto: { dim: '1 DimensionProto[]' },
  DimensionProto: { dim_value: '1 int64', dim_param: '2 string' },
};

/** AttributeProto.AttributeType. */
export const ATTRIBUTE_TYPES = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  floats: 6,
  ints: 7,
  strings: 8,
} as const;

/** TensorProto.DataType: its number, and the bits of one element. */
export const DATA_TYPES = {
  float32: [1, 32],
  uint8: [2, 8],
  int8: [3, 8],
  uint16: [4, 16],
  int16: [5, 16],
  int32: [6, 32],
  int64: [7, 64],
  bool: [9, 8],
  float16: [10, 16],
  float64: [11, 64],
  uint32: [12, 32],
  uint64: [13, 64],
  bfloat16: [16, 16],
  uint4: [21, 4],
  int4: [22, 4],
} as const satisfies Record<string, readonly [number, number]>;

/** TensorProto.DataLocation.EXTERNAL. */
export const EXTERNAL = 1;

/** A 64-bit integer as protobufjs gives and takes it. */
export interface Int64 {
  readonly low: number;
  readonly high: number;
}

/** The shapes of the messages in plain objects: what to encode, and what decoding gives (see `has`). */
export interface ModelMessage {
  ir_version: number | Int64;
  producer_name: string;
  graph: GraphMessage;
  opset_import: { domain: string; version: number | Int64 }[];
  metadata_props: StringPair[];
  functions?: Uint8Array[];
}
export interface StringPair {
  key: string;
  value: string;
}
export interface GraphMessage {
  node: NodeMessage[];
  name: string;
  initializer: TensorMessage[];
  input: ValueInfoMessage[];
  output: ValueInfoMessage[];
  value_info: ValueInfoMessage[];
  sparse_initializer?: Uint8Array[];
}
export interface NodeMessage {
  input: string[];
  output: string[];
  name: string;
  op_type: string;
  attribute: AttributeMessage[];
  domain?: string;
}
export interface AttributeMessage {
  name: string;
  type: number;
  f?: number;
  i?: number | Int64;
  s?: Uint8Array;
  t?: TensorMessage;
  floats?: readonly number[];
  ints?: readonly (number | Int64)[];
  strings?: Uint8Array[];
}
export interface TensorMessage {
  dims: readonly (number | Int64)[];
  data_type: number;
  name: string;
  segment?: Uint8Array;
  raw_data?: Uint8Array;
  float_data?: number[];
  int32_data?: number[];
  int64_data?: Int64[];
  double_data?: number[];
  uint64_data?: Int64[];
  external_data?: StringPair[];
  data_location?: number;
}
export interface ValueInfoMessage {
  name: string;
  type: { tensor_type?: { elem_type: number; shape?: { dim: DimensionMessage[] } } };
}
export interface DimensionMessage {
  dim_value?: number | Int64;
  dim_param?: string;
}

const ModelProto = protobuf.Root.fromJSON({
  nested: Object.fromEntries(Object.entries(MESSAGES).map(([name, fields]) => [name, describe(fields)])),
}).lookupType('ModelProto');

/** The descriptor, as protobufjs reads it, of one message of `MESSAGES`. */
function describe(fields: Record<string, string>): protobuf.IType {
  const entries = Object.entries(fields).map(([name, text]) => {
    const [id, type = '', packing] = text.split(' ');
    const rule = type.endsWith('[]') ? { rule: 'repeated', options: { packed: packing === 'packed' } } : {};
    return [name, { id: Number(id), type: type.replace('[]', ''), ...rule }];
  });
  return { edition: 'proto2', fields: Object.fromEntries(entries) as protobuf.IType['fields'] };
}

/** Protobuf bytes of a model message, fields in the order of their numbers. */
export function encodeMessage(message: ModelMessage): Uint8Array {
  const bytes = ModelProto.encode(message).finish();
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Parses protobuf bytes; `Uint8Array` fields are views of `bytes`. Throws where the bytes are not protobuf. */
export function decodeMessage(bytes: Uint8Array): ModelMessage {
  const reader = protobuf.Reader.create(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  reader.discardUnknown = true;
  return ModelProto.decode(reader) as unknown as ModelMessage;
}

/** Whether a decoded message really holds a field, rather than a default or an empty list. */
export function has<T extends object>(message: T, field: keyof T): boolean {
  const value = Object.hasOwn(message, field) ? message[field] : undefined;
  return value !== undefined && !(Array.isArray(value) && value.length === 0);
}
