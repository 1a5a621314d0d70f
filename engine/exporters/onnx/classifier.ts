/** Picture classifiers as a network of any number of pictures: `pixel_values` [batch, channels, height, width] → `logits` [batch, classes]. */
import type { OnnxGraph, OnnxInlineTensor, OnnxNode, OnnxTensor } from '../../formats/onnx.js';
import { Graph, type DType, type Value } from '../../graph/ir.js';
import { toOnnx } from '../../graph/lower.js';
import * as op from '../../graph/ops.js';
import { fakeQuantizeActivation, fakeQuantizeTokens, ZERO_STEP } from '../../graph/quantizers.js';
import { fullPrecision } from '../../models/builders.js';
import { partsOf, type Builder, type Part, type VisionModel } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';
import { stepsOf, type PartSteps, type Steps } from './activations.js';
import { networkBuilder, type Network, type Stored } from './network.js';
import { constantsOf, type Constants, type PackedConstants } from './weights.js';

/** Numbers of pictures that no other length of a model is. */
const BATCHES = [4099, 4111] as const;

export async function classifierNetwork(context: ExportContext): Promise<Network> {
  const steps = new Map<Part, PartSteps>();
  for (const part of partsOf(context.source.checkpoint.model)) steps.set(part, await stepsOf(context, part));
  const [first, second] = BATCHES.map((batch) => built(context, steps, batch)) as [Built, Built];
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
    if (node.opType !== 'Expand') return node;
    return { ...node, inputs: [node.inputs[0]!, expanding.shapeOf(node)] };
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
function built(context: ExportContext, steps: ReadonlyMap<Part, PartSteps>, batch: number) {
  const { checkpoint } = context.source;
  const graph = new Graph();
  const stored = new Map<string, Stored>();
  const constants = constantsOf(context);
  const model = checkpoint.model as VisionModel;
  let x = graph.input(PIXELS, model.stem.inputShape(batch));
  for (const part of partsOf(model))
    x = part.forward(builderOf(context, graph, stored, constants, part, steps.get(part)!), x, batch, {});
  graph.output('logits', x);
  return { onnx: toOnnx(graph, checkpoint.name), stored };
}

function builderOf(
  { source, config }: ExportContext,
  graph: Graph,
  stored: Map<string, Stored>,
  constants: Constants,
  part: Part,
  { inputs, operands }: PartSteps,
): Builder {
  const place = (tensor: Stored): Value => {
    stored.set(tensor.name, tensor);
    return graph.inputs.get(tensor.name) ?? graph.input(tensor.name, tensor.shape, tensor.dataType as DType);
  };
  const parameter = (name: string, shape: readonly number[]) => place(constants.parameter(part, name, shape));
  const plain = fullPrecision(graph, parameter);
  // Before activations on coarse grids it would decide anew what all of them are rounded to.
  const roundsInput = config.mode === 'weight-only' || part === source.checkpoint.model.head;
  return {
    ...plain,
    linear: (name, x, out, options = {}) => {
      const layer = source.checkpoint.listing(part).linears.find((each) => each.name === name)!;
      const packed = constants.packed(part, layer);
      if (!packed) return plain.linear(name, x, out, options);
      const y = product(x, packed, inputs.get(name)?.steps, place, roundsInput);
      return layer.bias ? op.add(y, parameter(`${name}.bias`, [out])) : y;
    },
    operand: (name, x) => {
      const steps = operands.get(name);
      return steps ? rounded(x, steps) : x;
    },
  };
}

/** x·Ŵᵀ of a matrix [n, in], its inputs quantized where there are steps of them. */
function product(
  x: Value,
  packed: PackedConstants,
  steps: Steps | undefined,
  place: (tensor: Stored) => Value,
  roundsInput: boolean,
): Value {
  const integers = place(packed.integers);
  if (packed.kind === 'integers') return integerProduct(x, packed, steps!, integers, place);
  const { bits, block: groupSize } = packed;
  const [scales, zeros] = [place(packed.scales), place(packed.zeros)];
  const weight = { bits, groupSize, columns: x.shape[1]!, integers, scales, zeros };
  return steps ? op.matMulNBits(rounded(x, steps), weight) : op.matMulNBits(x, weight, { roundsInput });
}

function integerProduct(
  x: Value,
  { type, scales, zeros }: Extract<PackedConstants, { kind: 'integers' }>,
  { scale: fixed, lower, upper, offset }: Steps,
  integers: Value,
  place: (tensor: Stored) => Value,
): Value {
  const { graph } = x;
  const scale =
    fixed === undefined
      ? op.max(op.div(op.reduceMax(op.abs(x), [1]), graph.scalar(upper)), graph.scalar(ZERO_STEP))
      : graph.scalar(fixed);
  const steps = op.clip(op.round(op.div(x, scale)), lower, upper);
  const a = op.cast(op.add(steps, graph.scalar(offset)), 'uint8');
  const aZero = graph.constant(Uint8Array.of(offset), [], 'uint8');
  const sums = op.matMulInteger(a, integers, aZero, type === 'uint8' ? place(zeros) : undefined);
  return op.mul(op.mul(op.cast(sums, 'float32'), scale), place(scales));
}

/** The values of the steps that are nearest. */
function rounded(x: Value, { scale, lower, upper }: Steps): Value {
  const { graph } = x;
  const [low, high] = [graph.scalar(lower), graph.scalar(upper)];
  return scale === undefined
    ? fakeQuantizeTokens(x, low, high)
    : fakeQuantizeActivation(x, graph.scalar(scale), low, high);
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
