/**
 * Language models in LLaMA's layout as a network with a cache of keys and values, its inputs and outputs named as transformers.js
 * and onnxruntime-genai expect: `input_ids` and `position_ids` [batch, length], `attention_mask` [batch, past + length],
 * `past_key_values.N.key` and `.value` [batch, key heads, past, channels] → `logits` [batch, length, vocabulary], `present.N.…`.
 */
import type { OnnxValueInfo } from '../../formats/onnx.js';
import { partsOf, type DecoderLayout, type LanguageModel, type Part } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';
import { stepsOf, type PartSteps } from './activations.js';
import { floatEnds, tableEnds, type TableBits } from './ends.js';
import { layersOn, type Layers } from './layers.js';
import { bytesOf, networkBuilder, type Network, type NetworkBuilder } from './network.js';
import { constantsOf } from './weights.js';

const MASKED = -1e9;

/** @param tables bits of the table of embeddings and the head's weight where the set has them in floating point; default none */
export async function decoderNetwork(context: ExportContext, tables?: TableBits): Promise<Network> {
  const model = context.source.checkpoint.model as LanguageModel;
  const layout = model.layout!;
  const net = networkBuilder();
  const constants = constantsOf(context);
  const steps = new Map<Part, PartSteps>();
  for (const part of partsOf(model)) steps.set(part, await stepsOf(context, part));
  const b = layersOn(context, net, constants, (part) => steps.get(part)!);
  const ends =
    tables === undefined ? floatEnds(context, b, constants) : tableEnds(context, b, constants, tables);
  let x = ends.embedded();
  const turn = turnsOf(net, layout);
  const masks = masksOf(net);
  model.blocks.forEach((part, i) => {
    x = blockOn(b, part, i, x, { layout, turn, mask: masks(layout.windows?.[i]) });
  });
  net.output(ends.logits(b.rmsNorm(model.head, 'model.norm', x, layout)), 'logits');
  return {
    nodes: net.nodes,
    stored: [...net.stored.values()],
    ...portsOf(model, layout),
  };
}

function portsOf({ blocks, vocabulary }: LanguageModel, { keyHeads, headSize }: DecoderLayout) {
  const caches = (prefix: string, length: string): OnnxValueInfo[] =>
    blocks.flatMap((_, i) =>
      ['key', 'value'].map((kind) => ({
        name: `${prefix}.${i}.${kind}`,
        dataType: 'float32' as const,
        shape: ['batch', keyHeads, length, headSize],
      })),
    );
  const ids = (name: string, length: string): OnnxValueInfo => ({
    name,
    dataType: 'int64',
    shape: ['batch', length],
  });
  return {
    inputs: [
      ids('input_ids', 'length'),
      ids('attention_mask', 'total'),
      ids('position_ids', 'length'),
      ...caches('past_key_values', 'past'),
    ],
    outputs: [
      { name: 'logits', dataType: 'float32' as const, shape: ['batch', 'length', vocabulary] },
      ...caches('present', 'total'),
    ],
  };
}

interface BlockOptions {
  readonly layout: DecoderLayout;
  readonly turn: (heads: string) => string;
  readonly mask: string;
}

function blockOn(
  b: Layers,
  part: Part,
  index: number,
  x: string,
  { layout, turn, mask }: BlockOptions,
): string {
  const { net } = b;
  const { heads, keyHeads, headSize, headNorms } = layout;
  const before = b.rmsNorm(part, 'input_layernorm', x, layout);
  /** [batch, heads, length, channels] */
  const project = (name: string, count: number) => {
    const flat = b.linear(part, `self_attn.${name}_proj`, before);
    const apart = net.node('Reshape', [flat, net.ints([0, 0, count, headSize])]);
    const normal =
      headNorms && name !== 'v' ? b.rmsNorm(part, `self_attn.${name}_norm`, apart, layout) : apart;
    const first = net.node('Transpose', [normal], { perm: [0, 2, 1, 3] });
    return name === 'v' ? first : turn(first);
  };
  const cached = (kind: string, value: string) => {
    const all = net.node('Concat', [`past_key_values.${index}.${kind}`, value], { axis: 2 });
    net.output(all, `present.${index}.${kind}`);
    return all;
  };
  const operands = part.roles?.attention;
  const own = b.operand(part, operands?.queries, project('q', heads));
  const queries = net.node('Mul', [own, net.float(1 / Math.sqrt(headSize))]);
  const keys = cached('key', b.operand(part, operands?.keys, project('k', keyHeads)));
  const values = cached('value', b.operand(part, operands?.values, project('v', keyHeads)));
  // Heads that share keys are rows of one product.
  const grouped = net.node('Reshape', [queries, net.ints([0, keyHeads, -1, headSize])]);
  const products = net.node('MatMul', [grouped, net.node('Transpose', [keys], { perm: [0, 1, 3, 2] })]);
  const scores = net.node('Add', [spread(products, heads), mask]);
  const shares = net.node('Softmax', [scores], { axis: -1 });
  const mixed = spread(net.node('MatMul', [spread(shares, keyHeads), values]), heads);
  const joined = net.node('Reshape', [
    net.node('Transpose', [mixed], { perm: [0, 2, 1, 3] }),
    net.ints([0, 0, heads * headSize]),
  ]);
  const attended = net.node('Add', [x, b.linear(part, 'self_attn.o_proj', joined)]);
  const after = b.rmsNorm(part, 'post_attention_layernorm', attended, layout);
  const gate = b.linear(part, 'mlp.gate_proj', after);
  const active = net.node('Mul', [gate, net.node('Sigmoid', [gate])]);
  const gated = net.node('Mul', [active, b.linear(part, 'mlp.up_proj', after)]);
  return net.node('Add', [attended, b.linear(part, 'mlp.down_proj', gated)]);

  /** [batch, any, any, last] with so many heads. */
  function spread(value: string, count: number): string {
    return net.node('Reshape', [value, net.ints([0, count, -1, 0])]);
  }
}

/** Turns heads [batch, heads, length, channels] by their positions. */
function turnsOf(net: NetworkBuilder, { headSize, rope }: DecoderLayout): (heads: string) => string {
  const half = headSize / 2;
  const frequencies = net.store({
    name: 'frequencies',
    dataType: 'float32',
    shape: [1, 1, 1, half],
    data: () => Promise.resolve(bytesOf(Float32Array.from(rope.frequencies))),
  });
  const positions = net.node('Cast', ['position_ids'], { to: 1 });
  const angles = net.node('Mul', [net.node('Unsqueeze', [positions, net.ints([1, 3])]), frequencies]);
  const [cos, sin] = ['Cos', 'Sin'].map((op) =>
    net.node('Mul', [net.node(op, [angles]), net.float(rope.gain)]),
  ) as [string, string];
  return (heads) => {
    const part = (start: number, end: number) =>
      net.node('Slice', [heads, net.ints([start]), net.ints([end]), net.ints([3])]);
    const [a, b] = [part(0, half), part(half, headSize)];
    const first = net.node('Sub', [net.node('Mul', [a, cos]), net.node('Mul', [b, sin])]);
    const second = net.node('Add', [net.node('Mul', [b, cos]), net.node('Mul', [a, sin])]);
    return net.node('Concat', [first, second], { axis: 3 });
  };
}

/** What is added to scores [batch, 1, length, total], by the most tokens that one attends to: none for all before it. */
function masksOf(net: NetworkBuilder): (window: number | undefined) => string {
  const sizeOf = (input: string) =>
    net.node('Gather', [net.node('Shape', [input]), net.ints(1)], { axis: 0 });
  const total = sizeOf('attention_mask');
  const past = net.node('Sub', [total, sizeOf('input_ids')]);
  const range = (from: string) => net.node('Range', [from, total, net.ints(1)]);
  const [keys, queries] = [range(net.ints(0)), net.node('Unsqueeze', [range(past), net.ints([1])])];
  const isBefore = net.node('LessOrEqual', [keys, queries]);
  const isThere = net.node('Unsqueeze', [
    net.node('Cast', ['attention_mask'], { to: BOOL }),
    net.ints([1, 2]),
  ]);
  const made = new Map<number | undefined, string>();
  return (window) => {
    const known = made.get(window);
    if (known !== undefined) return known;
    const near =
      window === undefined
        ? isBefore
        : net.node('And', [isBefore, net.node('Less', [net.node('Sub', [queries, keys]), net.ints(window)])]);
    const isSeen = net.node('And', [isThere, near]);
    const mask = net.node('Where', [isSeen, net.float(0), net.float(MASKED)]);
    made.set(window, mask);
    return mask;
  };
}

/** TensorProto.DataType of truth values. */
const BOOL = 9;
