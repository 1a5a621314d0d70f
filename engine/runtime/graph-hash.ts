/** What tells graphs apart: the key of compiled programs. */
import { createHash } from 'node:crypto';
import { reachable, type Graph, type TensorData, type Value } from '../graph/ir.js';

/**
 * SHA-256 of everything that a graph's program is made of: its inputs, the nodes that its outputs depend on in their order
 * (operator, inputs, attributes, outputs), the constants these read and the outputs. Values count by their place, so that
 * what nothing depends on makes no difference.
 */
export function graphHash(graph: Graph): string {
  const places = new Map<Value, number>();
  const constants: unknown[] = [];
  const declare = (value: Value) => places.set(value, places.size);
  const placeOf = (value: Value): number => {
    const data = graph.constants.get(value);
    if (data && !places.has(value)) {
      constants.push([places.size, value.type, value.shape, digest(data)]);
      declare(value);
    }
    return places.get(value)!;
  };

  const inputs = [...graph.inputs].map(([name, value]) => {
    declare(value);
    return [name, value.type, value.shape];
  });
  const nodes = reachable(graph.outputs.values()).map(({ op, inputs, attributes, outputs }) => {
    const read = inputs.map((value) => value && placeOf(value));
    outputs.forEach(declare);
    return [op, read, keyOf(attributes), outputs.map(({ type, shape }) => [type, shape])];
  });
  const outputs = [...graph.outputs].map(([name, value]) => [name, placeOf(value)]);
  const text = JSON.stringify([inputs, nodes, outputs, constants]);
  return createHash('sha256').update(text).digest('base64');
}

/** One text for equal plain values, another for others. */
export const keyOf = (value: unknown): string => JSON.stringify(value, distinct);

/** JSON has one spelling for 0 and −0, and one for all numbers that are not finite. */
const distinct = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && (Object.is(value, -0) || !Number.isFinite(value))
    ? { number: Object.is(value, -0) ? '-0' : String(value) }
    : value;

/** Masks and rotary tables are shared by graphs. */
const digests = new WeakMap<TensorData, string>();

function digest(data: TensorData): string {
  const known = digests.get(data);
  if (known !== undefined) return known;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const fresh = createHash('sha256').update(bytes).digest('base64');
  digests.set(data, fresh);
  return fresh;
}
