/** From a graph to the ONNX model that computes its outputs. */
import type { OnnxAttribute, OnnxModel, OnnxNode, OnnxTensor } from '../formats/onnx.js';
import { reachable, STOP_GRADIENT, type Graph, type Value } from './ir.js';
import { DOMAINS, OPSETS, type Attribute, type Domain, type Operator } from './operators.js';

const IR_VERSION = 9;

/** Names of dimensions by the name of an input or output, undefined where one has none. */
export type NamedDimensions = ReadonlyMap<string, readonly (string | undefined)[]>;

/** One node of a rewriting: operator, inputs, output, attributes. */
type Step = readonly [
  op: string,
  inputs: readonly string[],
  output: string,
  attributes?: Readonly<Record<string, OnnxAttribute>>,
];

/** 1.5 · 2²³: float32 numbers of this size are whole, so that adding it rounds. */
const WHOLE = 12582912;
const toFloat = { to: { type: 'int', value: 1 } } as const;

/**
 * Operators that ONNX Runtime's WebGPU provider lacks, written with ones it has: on the CPU they would drag their tensors
 * off the device and back. `x` and `y` name input and output, `scalar` a constant.
 */
const rewritings: Readonly<
  Partial<Record<Operator, (x: string, y: string, scalar: (value: number) => string) => readonly Step[]>>
> = {
  // The sum is rounded half to even. Exact for |x| ≤ 2²²; beyond, off by less than one part in 2²².
  Round: (x, y, scalar) => [
    ['Add', [x, scalar(WHOLE)], `${y}.shifted`],
    ['Sub', [`${y}.shifted`, scalar(WHOLE)], y],
  ],
  // [x ≥ 0] − [x ≤ 0]
  Sign: (x, y, scalar) => [
    ['GreaterOrEqual', [x, scalar(0)], `${y}.up`],
    ['GreaterOrEqual', [scalar(0), x], `${y}.down`],
    ['Cast', [`${y}.up`], `${y}.high`, toFloat],
    ['Cast', [`${y}.down`], `${y}.low`, toFloat],
    ['Sub', [`${y}.high`, `${y}.low`], y],
  ],
};

/**
 * The ONNX model of a graph. Holds what the outputs depend on and nothing else; the same graph gives the same model.
 * Every declared input stays an input, used or not, so that callers feed one fixed set of names.
 * @param dimensions names for dimensions of inputs and outputs, by their names, that the file leaves open: undefined keeps
 * the length. What the graph computes must not depend on it; nothing checks that.
 */
export function toOnnx(graph: Graph, name: string, dimensions: NamedDimensions = new Map()): OnnxModel {
  for (const [valueName, named] of dimensions) {
    const { shape } = graph.inputs.get(valueName) ?? graph.outputs.get(valueName) ?? {};
    if (shape?.length !== named.length)
      throw new Error(
        `Names of ${named.length} dimensions for "${valueName}" of shape [${shape?.join(', ')}].`,
      );
  }

  const unused = (base: string): string =>
    graph.inputs.has(base) || graph.outputs.has(base) ? unused(`${base}_`) : base;
  const names = new Map<Value, string>();
  for (const [inputName, value] of graph.inputs) names.set(value, inputName);
  const nodes: OnnxNode[] = [];
  const domains = new Set<Domain>(['']);
  const initializers: OnnxTensor[] = [];

  const nameOf = (value: Value): string => {
    const known = names.get(value);
    if (known !== undefined) return known;
    if (value.node?.op === STOP_GRADIENT) return nameOf(value.node.inputs[0]!);
    const data = graph.constants.get(value);
    const fresh = unused(`${data ? 'c' : 'v'}${value.id}`);
    names.set(value, fresh);
    if (data) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      initializers.push({ name: fresh, dataType: value.type, shape: [...value.shape], data: bytes });
    }
    return fresh;
  };

  const scalar = (value: number): string => {
    const scalarName = unused(`scalar.${value}`);
    if (!initializers.some((known) => known.name === scalarName))
      initializers.push({
        name: scalarName,
        dataType: 'float32',
        shape: [],
        data: new Uint8Array(Float32Array.of(value).buffer),
      });
    return scalarName;
  };

  for (const node of reachable(graph.outputs.values())) {
    if (node.op === STOP_GRADIENT) continue;
    const rewriting = rewritings[node.op];
    if (rewriting) {
      for (const [opType, inputs, output, attributes = {}] of rewriting(
        nameOf(node.inputs[0]!),
        nameOf(node.outputs[0]!),
        scalar,
      ))
        nodes.push({
          opType,
          name: `${node.op}_${opType}_${nodes.length}`,
          inputs: [...inputs],
          outputs: [output],
          attributes,
        });
      continue;
    }
    const domain = DOMAINS[node.op];
    if (domain !== undefined) domains.add(domain);
    nodes.push({
      opType: node.op,
      ...(domain !== undefined && { domain }),
      name: `${node.op}_${nodes.length}`,
      inputs: node.inputs.map((x) => (x ? nameOf(x) : '')),
      outputs: node.outputs.map(nameOf),
      attributes: Object.fromEntries(
        Object.entries<Attribute>(node.attributes).map(([k, v]) => [k, attribute(v)]),
      ),
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
    shape: value.shape.map((n, axis) => dimensions.get(valueName)?.[axis] ?? n),
  });
  return {
    irVersion: IR_VERSION,
    opsets: [...domains].map((domain) => ({ domain, version: OPSETS[domain] })),
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
