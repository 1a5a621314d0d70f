import { UserError } from '../errors.js';
import { onnxByteLength } from './onnx-model.js';
import type { OnnxAttribute, OnnxModel, OnnxNode, OnnxTensor, OnnxValueInfo } from './onnx-model.js';
import { ATTRIBUTE_TYPES, DATA_TYPES, encodeMessage, EXTERNAL } from './onnx-schema.js';
import type {
  AttributeMessage,
  DimensionMessage,
  Int64,
  NodeMessage,
  TensorMessage,
  ValueInfoMessage,
} from './onnx-schema.js';

/** Protobuf's own limit on one message. */
const MAX_BYTES = 2 ** 31 - 1;

/**
 * The protobuf bytes of `model`: the same model gives the same bytes. Throws `UserError` above 2 GiB
 * (`writeOnnxModel` puts large tensors beside the model), `Error` for a tensor whose data has not the size
 * of its shape.
 */
export function encodeOnnxModel(model: OnnxModel): Uint8Array {
  const { graph } = model;
  const inline = graph.initializers.reduce((sum, t) => sum + ('data' in t ? t.data.byteLength : 0), 0);
  if (inline > MAX_BYTES) throw tooLarge(graph.name);
  const bytes = encodeMessage({
    ir_version: model.irVersion,
    producer_name: model.producerName,
    graph: {
      node: graph.nodes.map(toNode),
      name: graph.name,
      initializer: graph.initializers.map(toTensor),
      input: graph.inputs.map(toValueInfo),
      output: graph.outputs.map(toValueInfo),
      value_info: (graph.valueInfos ?? []).map(toValueInfo),
    },
    opset_import: model.opsets.map(({ domain, version }) => ({ domain, version })),
    metadata_props: Object.entries(model.metadata ?? {}).map(([key, value]) => ({ key, value })),
  });
  if (bytes.byteLength > MAX_BYTES) throw tooLarge(graph.name);
  return bytes;
}

const tooLarge = (name: string): UserError =>
  new UserError(`The ONNX model ${name} is above 2 GiB; large tensors must lie in a file beside it.`);

function toNode(node: OnnxNode): NodeMessage {
  return {
    input: [...node.inputs],
    output: [...node.outputs],
    name: node.name,
    op_type: node.opType,
    attribute: Object.entries(node.attributes).map(([name, attribute]) => toAttribute(name, attribute)),
    ...(node.domain ? { domain: node.domain } : {}),
  };
}

function toAttribute(name: string, attribute: OnnxAttribute): AttributeMessage {
  const base = { name, type: ATTRIBUTE_TYPES[attribute.type] };
  switch (attribute.type) {
    case 'int':
      return { ...base, i: toInt64(attribute.value) };
    case 'float':
      return { ...base, f: attribute.value };
    case 'string':
      return { ...base, s: toUtf8(attribute.value) };
    case 'ints':
      return { ...base, ints: attribute.value.map(toInt64) };
    case 'floats':
      return { ...base, floats: attribute.value };
    case 'strings':
      return { ...base, strings: attribute.value.map(toUtf8) };
    case 'tensor':
      return { ...base, t: toTensor(attribute.value) };
  }
}

function toTensor(tensor: OnnxTensor): TensorMessage {
  const { name, dataType, shape } = tensor;
  const base = { dims: shape, data_type: DATA_TYPES[dataType][0], name };
  const length = 'data' in tensor ? tensor.data.byteLength : tensor.external.length;
  if (onnxByteLength(dataType, shape) !== length)
    throw new Error(`Tensor ${name}: ${length} bytes for ${dataType} [${shape.join(', ')}].`);
  if ('data' in tensor) return { ...base, raw_data: tensor.data };
  const { location, offset } = tensor.external;
  const pairs = Object.entries({ location, offset: String(offset), length: String(length) });
  return {
    ...base,
    external_data: pairs.map(([key, value]) => ({ key, value })),
    data_location: EXTERNAL,
  };
}

function toValueInfo({ name, dataType, shape }: OnnxValueInfo): ValueInfoMessage {
  const elem_type = DATA_TYPES[dataType][0];
  const tensor_type = shape ? { elem_type, shape: { dim: shape.map(toDimension) } } : { elem_type };
  return { name, type: { tensor_type } };
}

function toDimension(dimension: number | string): DimensionMessage {
  if (dimension === '') return {};
  return typeof dimension === 'string' ? { dim_param: dimension } : { dim_value: dimension };
}

function toInt64(value: number): number | Int64 {
  if (Number.isSafeInteger(value)) return value;
  if (value === 2 ** 63) return { low: -1, high: 0x7fffffff };
  if (value === -(2 ** 63)) return { low: 0, high: -0x80000000 };
  throw new Error(`${value} is not an integer that an ONNX attribute can hold.`);
}

const toUtf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
