/** Picture classifiers as a network of any number of pictures: `pixel_values` [batch, channels, height, width] → `logits` [batch, classes]. */
import type { OnnxGraph, OnnxInlineTensor, OnnxNode, OnnxTensor } from '../../formats/onnx.js';
import { Graph, type Value } from '../../graph/ir.js';
import { toOnnx } from '../../graph/lower.js';
import * as op from '../../graph/ops.js';
import { fullPrecision } from '../../models/builders.js';
import { partsOf, type Builder, type Part, type VisionModel } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';
import { ACCURACY } from './decoder.js';
import { networkBuilder, type Network, type Stored } from './network.js';
import { constantsOf, type Constants } from './weights.js';

/** Numbers of pictures that no other length of a model is. */
const BATCHES = [4099, 4111] as const;

export function classifierNetwork(context: ExportContext): Network {
  const [first, second] = BATCHES.map((batch) => built(context, batch)) as [Built, Built];
  const others = new Map(second.onnx.graph.initializers.map((tensor) => [tensor.name, tensor]));
  const [input] = first.onnx.graph.inputs.filter(({ name }) => name === PIXELS);
  const constants = first.onnx.graph.initializers.map((tensor) =>
    openConstant(tensor, others.get(tensor.name)!),
  );
  const open = <T extends { readonly shape?: readonly (number | string)[] }>(info: T): T => ({
    ...info,
    shape: info.shape!.map((n) => (n === BATCHES[0] ? 'batch' : n)),
  });
  const expanding = expansions(first.onnx.graph);
  const nodes = [...expanding.nodes, ...first.onnx.graph.nodes].map((node): OnnxNode => {
    if (node.opType === 'Expand') return { ...node, inputs: [node.inputs[0]!, expanding.shapeOf(node)] };
    if (node.opType !== 'MatMulNBits') return node;
    return { ...node, attributes: { ...node.attributes, accuracy_level: { type: 'int', value: ACCURACY } } };
  });
  const used = new Set(nodes.flatMap(({ inputs }) => inputs));
  return {
    nodes,
    stored: [...first.stored.values(), ...constants, ...expanding.stored].filter(({ name }) =>
      used.has(name),
    ),
    inputs: [open(input!)],
    outputs: first.onnx.graph.outputs.map(open),
  };
}

/** Shapes that values are repeated to for every picture, which cannot be left open: made of the number of pictures and the rest. */
function expansions({ nodes, initializers }: OnnxGraph) {
  const net = networkBuilder();
  const count = net.node('Gather', [net.node('Shape', [PIXELS]), net.ints([0])], { axis: 0 });
  const shapeOf = (node: OnnxNode) => `${node.inputs[1]!}.open`;
  for (const node of new Map(
    nodes.filter(({ opType }) => opType === 'Expand').map((n) => [n.inputs[1], n]),
  ).values()) {
    const { data } = initializers.find(({ name }) => name === node.inputs[1]) as OnnxInlineTensor;
    const [, ...rest] = new BigInt64Array(Uint8Array.from(data).buffer);
    net.output(net.node('Concat', [count, net.ints(rest.map(Number))], { axis: 0 }), shapeOf(node));
  }
  return { nodes: net.nodes, stored: [...net.stored.values()], shapeOf };
}

const PIXELS = 'pixel_values';
type Built = ReturnType<typeof built>;

/** The model for so many pictures; its weights are inputs, and `stored` says what they are. */
function built(context: ExportContext, batch: number) {
  const { checkpoint } = context.source;
  const graph = new Graph();
  const stored = new Map<string, Stored>();
  const constants = constantsOf(context);
  const model = checkpoint.model as VisionModel;
  let x = graph.input(PIXELS, model.stem.inputShape(batch));
  for (const part of partsOf(model))
    x = part.forward(builderOf(context, graph, stored, constants, part), x, batch, {});
  graph.output('logits', x);
  return { onnx: toOnnx(graph, checkpoint.name), stored };
}

function builderOf(
  { source }: ExportContext,
  graph: Graph,
  stored: Map<string, Stored>,
  constants: Constants,
  part: Part,
): Builder {
  const place = (tensor: Stored): Value => {
    stored.set(tensor.name, tensor);
    return (
      graph.inputs.get(tensor.name) ?? graph.input(tensor.name, tensor.shape, tensor.dataType as 'float32')
    );
  };
  const parameter = (name: string, shape: readonly number[]) => place(constants.parameter(part, name, shape));
  const plain = fullPrecision(graph, parameter);
  return {
    ...plain,
    linear: (name, x, out, options = {}) => {
      const layer = source.checkpoint.listing(part).linears.find((each) => each.name === name)!;
      const packed = constants.packed(part, layer);
      if (!packed) return plain.linear(name, x, out, options);
      const y = op.matMulNBits(x, {
        bits: packed.bits,
        groupSize: packed.block,
        columns: layer.in,
        integers: place(packed.integers),
        scales: place(packed.scales),
        zeros: place(packed.zeros),
      });
      return layer.bias ? op.add(y, parameter(`${name}.bias`, [out])) : y;
    },
  };
}

/** A constant for any number of pictures: of a shape, the one length that follows theirs is left to what is reshaped. */
function openConstant(tensor: OnnxTensor, other: OnnxTensor): Stored {
  const { name, dataType, shape } = tensor;
  const [one, two] = [tensor, other].map((each) => ('data' in each ? each.data : new Uint8Array())) as [
    Uint8Array,
    Uint8Array,
  ];
  if (Buffer.compare(one, two) === 0) return { name, dataType, shape, data: () => Promise.resolve(one) };
  const numbers = [one, two].map((bytes) => new BigInt64Array(Uint8Array.from(bytes).buffer)) as [
    BigInt64Array,
    BigInt64Array,
  ];
  const differing = [...numbers[0].keys()].filter((i) => numbers[0][i] !== numbers[1][i]);
  if (dataType !== 'int64' || differing.length !== 1)
    throw new Error(`The constant ${name} follows the number of pictures in ${differing.length} places.`);
  const open = numbers[0].map((n, i) => (i === differing[0] ? -1n : n));
  return { name, dataType, shape, data: () => Promise.resolve(new Uint8Array(open.buffer)) };
}
