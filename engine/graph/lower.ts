/** From a graph to the ONNX model that computes its outputs. */
import type { OnnxAttribute, OnnxModel, OnnxNode, OnnxTensor } from '../formats/onnx.js';
import { reachable, STOP_GRADIENT, type Attribute, type Graph, type Value } from './ir.js';

const OPSET = 20;
const IR_VERSION = 9;

/**
 * The ONNX model of a graph. Holds what the outputs depend on and nothing else; the same graph gives the same model.
 * Every declared input stays an input, used or not, so that callers feed one fixed set of names.
 */
export function toOnnx(graph: Graph, name: string): OnnxModel {
  const taken = new Set([...graph.inputs.keys(), ...graph.outputs.keys()]);
  const names = new Map<Value, string>();
  for (const [inputName, value] of graph.inputs) names.set(value, inputName);
  const nodes: OnnxNode[] = [];
  const initializers: OnnxTensor[] = [];

  const nameOf = (value: Value): string => {
    const known = names.get(value);
    if (known !== undefined) return known;
    if (value.node?.op === STOP_GRADIENT) return nameOf(value.node.inputs[0]!);
    const data = graph.constants.get(value);
    let fresh = `${data ? 'c' : 'v'}${value.id}`;
    while (taken.has(fresh)) fresh += '_';
    names.set(value, fresh);
    if (data) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      initializers.push({ name: fresh, dataType: value.type, shape: [...value.shape], data: bytes });
    }
    return fresh;
  };

  for (const node of reachable(graph.outputs.values())) {
    if (node.op === STOP_GRADIENT) continue;
    nodes.push({
      opType: node.op,
      name: `${node.op}_${nodes.length}`,
      inputs: node.inputs.map((x) => (x ? nameOf(x) : '')),
      outputs: node.outputs.map(nameOf),
      attributes: Object.fromEntries(Object.entries(node.attributes).map(([k, v]) => [k, attribute(v)])),
    });
  }
  for (const [outputName, value] of graph.outputs)
    nodes.push({
      opType: 'Identity',
      name: `output_${outputName}`,
      inputs: [nameOf(value)],
      outputs: [outputName],
      attributes: {},
    });

  const info = ([valueName, value]: [string, Value]) => ({
    name: valueName,
    dataType: value.type,
    shape: [...value.shape],
  });
  return {
    irVersion: IR_VERSION,
    opsets: [{ domain: '', version: OPSET }],
    producerName: 'elastic-precision',
    graph: {
      name,
      nodes,
      initializers,
      inputs: [...graph.inputs].map(info),
      outputs: [...graph.outputs].map(info),
    },
  };
}

function attribute(value: Attribute): OnnxAttribute {
  if (typeof value === 'number') return { type: 'int', value };
  if (typeof value === 'string') return { type: 'string', value };
  if ('float' in value) return { type: 'float', value: value.float };
  return { type: 'ints', value: [...value] };
}
