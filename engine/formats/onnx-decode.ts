import { messageOf, UserError } from '../errors.js';
import { decodeUtf8 } from './json.js';
import { onnxByteLength } from './onnx-model.js';
import type {
  OnnxAttribute,
  OnnxDataType,
  OnnxModel,
  OnnxNode,
  OnnxTensor,
  OnnxValueInfo,
} from './onnx-model.js';
import { ATTRIBUTE_TYPES, DATA_TYPES, decodeMessage, EXTERNAL, has } from './onnx-schema.js';
import type {
  AttributeMessage,
  Int64,
  ModelMessage,
  NodeMessage,
  StringPair,
  TensorMessage,
  ValueInfoMessage,
} from './onnx-schema.js';
import { show } from './paths.js';

const dataTypes = new Map(Object.entries(DATA_TYPES).map(([name, [id]]) => [id, name as OnnxDataType]));
const attributeTypes = new Map(
  Object.entries(ATTRIBUTE_TYPES).map(([name, id]) => [id, name as OnnxAttribute['type']]),
);

/**
 * Reads the protobuf bytes of an ONNX model. Tensor data is a view of `bytes` where it was stored raw.
 * Throws `UserError`, starting with `where`, for anything but a complete model of tensors: bytes that are
 * not protobuf, data that does not match its shape, subgraphs, functions, sparse or string tensors.
 */
export function decodeOnnxModel(bytes: Uint8Array, where = 'ONNX model'): OnnxModel {
  let message: ModelMessage;
  try {
    message = decodeMessage(bytes);
  } catch (error) {
    throw new UserError(`${where}: not an ONNX model, or cut off (${messageOf(error)}).`, { cause: error });
  }
  const { graph } = message;
  if (!has(message, 'graph') || message.opset_import.length === 0)
    throw new UserError(`${where}: not an ONNX model, or cut off (no graph or no operator set).`);
  if (has(message, 'functions'))
    throw new UserError(`${where}: holds model-local functions, which are not supported.`);
  if (has(graph, 'sparse_initializer'))
    throw new UserError(`${where}: holds sparse tensors, which are not supported.`);
  const initializers = graph.initializer.map((tensor) => fromTensor(tensor, where));
  const names = new Set<string>();
  for (const { name } of initializers) {
    if (names.has(name)) throw new UserError(`${where}: tensor ${show(name)} appears twice.`);
    names.add(name);
  }
  return {
    irVersion: toNumber(message.ir_version, `${where}: ir_version`),
    opsets: message.opset_import.map(({ domain, version }) => ({
      domain,
      version: toNumber(version, `${where}: operator set ${show(domain)}`),
    })),
    producerName: message.producer_name,
    graph: {
      name: graph.name,
      nodes: graph.node.map((node) => fromNode(node, where)),
      inputs: graph.input.map((info) => fromValueInfo(info, where)),
      outputs: graph.output.map((info) => fromValueInfo(info, where)),
      initializers,
      ...(has(graph, 'value_info')
        ? { valueInfos: graph.value_info.filter(isTensor).map((info) => fromValueInfo(info, where)) }
        : {}),
    },
    ...(has(message, 'metadata_props') ? { metadata: fromPairs(message.metadata_props, where) } : {}),
  };
}

function fromNode(node: NodeMessage, where: string): OnnxNode {
  const attributes = Object.create(null) as Record<string, OnnxAttribute>;
  for (const attribute of node.attribute) {
    const at = `${where}: attribute ${show(attribute.name)} of node ${show(node.name)} (${show(node.op_type)})`;
    if (attribute.name in attributes) throw new UserError(`${at} appears twice.`);
    attributes[attribute.name] = fromAttribute(attribute, at);
  }
  return {
    opType: node.op_type,
    ...(node.domain ? { domain: node.domain } : {}),
    name: node.name,
    inputs: node.input,
    outputs: node.output,
    attributes,
  };
}

function fromAttribute(message: AttributeMessage, where: string): OnnxAttribute {
  const type = attributeTypes.get(message.type as 1);
  switch (type) {
    case 'int':
      return { type, value: toNumber(message.i!, where) };
    case 'float':
      return { type, value: message.f! };
    case 'string':
      return { type, value: decodeUtf8(bytesOf(message.s), where) };
    case 'ints':
      return { type, value: message.ints!.map((item) => toNumber(item, where)) };
    case 'floats':
      return { type, value: message.floats! };
    case 'strings':
      return { type, value: message.strings!.map((item) => decodeUtf8(bytesOf(item), where)) };
    case 'tensor':
      if (!message.t) throw new UserError(`${where} holds no tensor.`);
      return { type, value: fromTensor(message.t, where) };
    case undefined:
      throw new UserError(
        `${where} is of a kind that is not supported, such as a subgraph (type ${message.type}).`,
      );
  }
}

function fromTensor(message: TensorMessage, file: string): OnnxTensor {
  const { name } = message;
  const where = `${file}: tensor ${show(name)}`;
  const dataType = dataTypes.get(message.data_type as 1);
  if (!dataType)
    throw new UserError(`${where} has the data type ${message.data_type}, which is not supported.`);
  const shape = message.dims.map((dimension) => toNumber(dimension, where));
  const length = shape.every((dimension) => dimension >= 0) ? onnxByteLength(dataType, shape) : undefined;
  if (length === undefined || has(message, 'segment'))
    throw new UserError(`${where} has an invalid shape [${shape.slice(0, 8).join(', ')}], or is segmented.`);
  if (message.data_location === EXTERNAL)
    return { name, dataType, shape, external: fromExternal(message.external_data!, length, where) };
  const data = has(message, 'raw_data') ? message.raw_data! : typedData(message, dataType);
  if (data.byteLength !== length)
    throw new UserError(
      `${where} has ${data.byteLength} bytes, but ${dataType} [${shape.join(', ')}] needs ${length}.`,
    );
  return { name, dataType, shape, data };
}

function fromExternal(pairs: StringPair[], length: number, where: string) {
  const fields = fromPairs(pairs, where);
  const { location } = fields;
  const integer = (key: string, fallback: number) => {
    const text = fields[key] ?? String(fallback);
    if (!/^[0-9]{1,15}$/.test(text)) throw new UserError(`${where}: invalid external ${key} ${show(text)}.`);
    return Number(text);
  };
  if (!location) throw new UserError(`${where} is external but names no file.`);
  if (integer('length', length) !== length)
    throw new UserError(`${where} has ${fields.length} external bytes, but its shape needs ${length}.`);
  return { location, offset: integer('offset', 0), length };
}

/** The raw bytes of elements stored one by one in a typed field. */
function typedData(message: TensorMessage, dataType: OnnxDataType): Uint8Array {
  switch (dataType) {
    case 'float32':
      return bytesOf(Float32Array.from(message.float_data!));
    case 'float64':
      return bytesOf(Float64Array.from(message.double_data!));
    case 'int64':
      return bytesOf(BigInt64Array.from(message.int64_data!, toBigInt));
    case 'uint64':
      return bytesOf(BigUint64Array.from(message.uint64_data!, (item) => BigInt.asUintN(64, toBigInt(item))));
    case 'uint32':
      return bytesOf(Uint32Array.from(message.uint64_data!, (item) => item.low));
    case 'int32':
      return bytesOf(Int32Array.from(message.int32_data!));
    case 'float16':
    case 'bfloat16':
    case 'uint16':
    case 'int16':
      return bytesOf(Uint16Array.from(message.int32_data!));
    case 'int8':
    case 'uint8':
    case 'bool':
    case 'uint4':
    case 'int4':
      return Uint8Array.from(message.int32_data!);
  }
}

const isTensor = (message: ValueInfoMessage): boolean => Boolean(message.type?.tensor_type);

function fromValueInfo(message: ValueInfoMessage, file: string): OnnxValueInfo {
  const where = `${file}: value ${show(message.name)}`;
  const tensor = message.type?.tensor_type;
  const dataType = dataTypes.get(tensor?.elem_type as 1);
  if (!tensor || !dataType) throw new UserError(`${where} is not a tensor of a supported data type.`);
  const shape = tensor.shape?.dim.map((dimension) =>
    has(dimension, 'dim_value') ? toNumber(dimension.dim_value!, where) : (dimension.dim_param ?? ''),
  );
  return shape ? { name: message.name, dataType, shape } : { name: message.name, dataType };
}

function fromPairs(pairs: readonly StringPair[], where: string): Record<string, string> {
  const record = Object.create(null) as Record<string, string>;
  for (const { key, value } of pairs) {
    if (key in record) throw new UserError(`${where}: the key ${show(key)} appears twice.`);
    record[key] = value;
  }
  return record;
}

const toBigInt = ({ low, high }: Int64): bigint => (BigInt(high) << 32n) | BigInt(low >>> 0);

/** A safe integer, or ±2^63 for the two ends of int64; `UserError` between. */
function toNumber(value: number | Int64, where: string): number {
  if (typeof value === 'number') return value;
  const exact = toBigInt(value);
  const number = Number(exact);
  const isEnd = exact === 2n ** 63n - 1n || exact === -(2n ** 63n);
  if (!Number.isSafeInteger(number) && !isEnd)
    throw new UserError(`${where}: the integer ${exact} is beyond 2^53, which is not supported.`);
  return number;
}

/** The bytes of a view, or of the empty list that stands for an absent field. */
const bytesOf = (view: ArrayBufferView | readonly never[] | undefined): Uint8Array =>
  ArrayBuffer.isView(view) ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array();
