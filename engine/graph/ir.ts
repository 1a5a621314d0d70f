/**
 * The graph: ONNX operators over values with static shapes.
 *
 * A value is immutable and its node is pure, so a node asked for twice is built once: two calls with the same
 * operator, inputs and attributes return the same value. Bit groups share the work they have in common that way.
 */
import type { Operator, OperatorAttributes } from './operators.js';

/** Those of 8 bits hold integers, packed or one each, and enter `MatMulNBits` and `MatMulInteger` alone; `int32` is what the latter yields. */
export type DType = 'float32' | 'int64' | 'int32' | 'bool' | 'uint8' | 'int8';
export type Shape = readonly number[];
export type TensorData = Float32Array | BigInt64Array | Uint8Array;

/** One tensor of a graph: `shape` holds its lengths, `node` what computes it (absent for inputs and constants). */
export interface Value {
  readonly graph: Graph;
  readonly id: number;
  readonly type: DType;
  readonly shape: Shape;
  readonly node: Node | undefined;
}

/** One ONNX operator applied to values; an absent optional input is undefined. */
export interface NodeOf<Op extends Operator> {
  readonly op: Op;
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes: OperatorAttributes[Op];
  readonly outputs: readonly Value[];
}
/** A node of any operator: what `op` is tells its attributes. */
export type Node = { [Op in Operator]: NodeOf<Op> }[Operator];

/** Replaces the table's gradients between `inputs` and the value it is attached to (see `withGradient`). */
export interface GradientRule {
  readonly inputs: readonly Value[];
  /** Cotangents of `inputs` from the cotangent of the value; undefined where `needs` says no, or where it is zero. */
  readonly vjp: (cotangent: Value, needs: readonly boolean[]) => readonly (Value | undefined)[];
}

export interface OutputSpec {
  readonly type: DType;
  readonly shape: Shape;
}

/** The pseudo-operator that lets no gradient through; lowering replaces it by its input. */
export const STOP_GRADIENT = 'StopGradient' satisfies Operator;

export class Graph {
  /** In order of construction, which is a topological order. */
  readonly nodes: Node[] = [];
  readonly inputs = new Map<string, Value>();
  readonly outputs = new Map<string, Value>();
  readonly constants = new Map<Value, TensorData>();
  readonly gradientRules = new Map<Value, GradientRule>();

  private readonly built = new Map<string, readonly Value[]>();
  private readonly scalars = new Map<string, Value>();
  private nextId = 0;

  /** Declares an input of the graph; inputs and outputs have names of their own. */
  input(name: string, shape: Shape, type: DType = 'float32'): Value {
    this.claim('input', name);
    const value = this.value(type, shape, undefined);
    this.inputs.set(name, value);
    return value;
  }

  /** Names a value as an output of the graph. */
  output(name: string, value: Value): void {
    this.claim('output', name);
    this.own([value]);
    this.outputs.set(name, value);
  }

  /**
   * A tensor stored in the graph, whose elements must not change from then on; equal small constants are stored once.
   * @param bytes what the elements of a Uint8Array are, those of int8 in two's complement
   */
  constant(data: TensorData, shape: Shape, bytes: 'bool' | 'uint8' | 'int8' = 'bool'): Value {
    const type = data instanceof Float32Array ? 'float32' : data instanceof BigInt64Array ? 'int64' : bytes;
    if (data.length !== sizeOf(shape))
      throw new Error(`Constant of ${data.length} elements has shape [${shape.join(', ')}].`);
    const key =
      data.length <= 16
        ? `${type}[${shape.join()}]${Array.from<number | bigint, string>(data as Iterable<number | bigint>, (x) => (Object.is(x, -0) ? '-0' : String(x))).join()}`
        : undefined;
    const known = key === undefined ? undefined : this.scalars.get(key);
    if (known) return known;
    const value = this.value(type, shape, undefined);
    this.constants.set(value, data);
    if (key !== undefined) this.scalars.set(key, value);
    return value;
  }

  /** A float32 scalar, shape []. */
  scalar(x: number): Value {
    return this.constant(Float32Array.of(x), []);
  }

  /** Adds a node, or finds the one that computes the same; returns its outputs. */
  add<Op extends Operator>(
    op: Op,
    inputs: readonly (Value | undefined)[],
    attributes: OperatorAttributes[Op],
    outputs: readonly OutputSpec[],
  ): readonly Value[] {
    this.own(inputs);
    const key = `${op}(${inputs.map((v) => v?.id ?? '').join()})${JSON.stringify(attributes)}${outputs.length}`;
    const known = this.built.get(key);
    if (known) return known;
    const values: Value[] = [];
    const node = { op, inputs, attributes, outputs: values } as Node;
    for (const { type, shape } of outputs) values.push(this.value(type, shape, node));
    this.nodes.push(node);
    this.built.set(key, values);
    return values;
  }

  private claim(kind: string, name: string): void {
    if (this.inputs.has(name) || this.outputs.has(name))
      throw new Error(`Graph ${kind} "${name}" is declared twice.`);
  }

  private own(values: readonly (Value | undefined)[]): void {
    if (values.some((v) => v && v.graph !== this)) throw new Error('A value belongs to another graph.');
  }

  private value(type: DType, shape: Shape, node: Node | undefined): Value {
    for (const n of shape)
      if (!Number.isInteger(n) || n < 0) throw new Error(`Shape [${shape.join(', ')}] is not static.`);
    return { graph: this, id: this.nextId++, type, shape, node };
  }
}

/** The number of elements of a shape. */
export const sizeOf = (shape: Shape): number => shape.reduce((product, n) => product * n, 1);

/**
 * Attaches a gradient rule to a value: reverse mode goes from `value` straight to `rule.inputs` and does not look at
 * what lies between. For subgraphs whose gradient is defined otherwise than by their operators, or is cheaper written out.
 * The value is the only output of a node, built after the rule's inputs, which need not be what it is computed from.
 */
export function withGradient(value: Value, rule: GradientRule): Value {
  if (value.node?.outputs.length !== 1) throw new Error('A gradient rule needs the only output of a node.');
  if (rule.inputs.some((x) => x.id >= value.id))
    throw new Error('A gradient rule goes back to values built before its own.');
  value.graph.gradientRules.set(value, rule);
  return value;
}

/** The nodes that the given values depend on, in topological order; `inputsOf` says what a node depends on. */
export function reachable(
  targets: Iterable<Value>,
  inputsOf: (node: Node) => readonly (Value | undefined)[] = (node) => node.inputs,
): Node[] {
  const wanted = new Set<Node>();
  const pending = [...targets];
  const graph = pending[0]?.graph;
  for (let value = pending.pop(); value; value = pending.pop()) {
    if (!value.node || wanted.has(value.node)) continue;
    wanted.add(value.node);
    for (const input of inputsOf(value.node)) if (input) pending.push(input);
  }
  return graph ? graph.nodes.filter((node) => wanted.has(node)) : [];
}
