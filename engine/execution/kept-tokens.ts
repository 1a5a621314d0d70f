/** Parts of language models whose keys and values are kept, so that a token that follows others is run alone. */
import { sizeOf, type Graph, type Shape, type Value } from '../graph/ir.js';
import { MASKED } from '../models/attention.js';
import type { Builder, KeptKind } from '../models/model.js';
import { turnBy, turnsAt, type Rope } from '../models/rope.js';
import type { Runtime, Tensor } from '../runtime/session.js';

/** Where tokens lie in the shapes of keys and values. */
const TOKEN_AXIS: Readonly<Record<KeptKind, number>> = { keys: 3, values: 2 };

const keptInput = (operand: string) => `kept.${operand}`;
const madeOutput = (kind: string, operand: string) => `made.${kind}.${operand}`;
const maskInput = (window: number | undefined) => `mask.${window ?? 'all'}`;

/** The shape of keys or values with another number of tokens. */
const withTokens = (shape: Shape, kind: KeptKind, tokens: number): number[] =>
  shape.map((size, axis) => (axis === TOKEN_AXIS[kind] ? tokens : size));

/**
 * A builder whose keys and values are outputs `made.<kind>.<operand>` too. With `room` for kept tokens it is of the one that follows
 * them: inputs `kept.<operand>`, shaped as those with so many tokens, `cos` and `sin` [1, 1, size / 2], and a mask [1, room + 1] for
 * each window.
 */
export function keeping(graph: Graph, builder: Builder, room: number, rope: Rope): Builder {
  const input = (name: string, shape: readonly number[]) =>
    graph.inputs.get(name) ?? graph.input(name, shape);
  const turn = (x: Value) => {
    const shape = [1, 1, rope.frequencies.length];
    return turnBy(x, input('cos', shape), input('sin', shape));
  };
  return {
    ...builder,
    kept: {
      keep: (operand, kind, x) => void graph.output(madeOutput(kind, operand), x),
      ...(room > 0 && {
        next: {
          turn,
          before: (operand: string, kind: KeptKind, x: Value) =>
            graph.input(keptInput(operand), withTokens(x.shape, kind, room)),
          mask: (window: number | undefined) => input(maskInput(window), [1, room + 1]),
        },
      }),
    },
  };
}

/** Keys or values of tokens. */
export interface Made {
  readonly kind: KeptKind;
  readonly data: Float32Array;
  readonly shape: Shape;
}

/** The keys and values of one part, by operand. */
export interface KeptPart {
  /** Takes the first `count` tokens of each as the tokens from `from` on. */
  add(from: number, count: number, made: ReadonlyMap<string, Made>): void;
  /** With room as `roomFor` the tokens has it. */
  inputs(): Record<string, Tensor>;
}

/**
 * What lies behind a token does not reach it: texts are filled up to a few lengths, each of which is compiled once.
 * @param most tokens that a model reads at once
 */
export const filledLength = (tokens: number, most: number): number =>
  Math.min(most, Math.max(LEAST_FILLED, 2 ** Math.ceil(Math.log2(tokens))));
const LEAST_FILLED = 32;

/** Room is made as tokens come, in powers of two: each is a program of its own. */
export const roomFor = (tokens: number): number => Math.max(LEAST_ROOM, 2 ** Math.ceil(Math.log2(tokens)));
const LEAST_ROOM = 64;

export function openKeptPart({ tensor }: Pick<Runtime, 'tensor'>): KeptPart {
  const kept = new Map<string, Made>();
  const roomy = (operand: string, { kind, shape }: Made, tokens: number): Made => {
    const known = kept.get(operand);
    const room = roomFor(tokens);
    if (known?.shape[TOKEN_AXIS[kind]] === room) return known;
    const own = withTokens(shape, kind, room);
    const made = { kind, shape: own, data: new Float32Array(sizeOf(own)) };
    if (known) copyTokens(known, made, 0, known.shape[TOKEN_AXIS[kind]]!);
    kept.set(operand, made);
    return made;
  };
  return {
    add: (from, count, made) => {
      for (const [operand, own] of made) copyTokens(own, roomy(operand, own, from + count), from, count);
    },
    inputs: () =>
      Object.fromEntries(
        [...kept].map(([operand, { data, shape }]) => [keptInput(operand), tensor(data, shape)]),
      ),
  };
}

/** Copies the first `count` tokens of one to the place of the tokens from `to` on of another of the same heads. */
function copyTokens(source: Made, target: Made, to: number, count: number): void {
  const axis = TOKEN_AXIS[source.kind];
  const token = sizeOf(source.shape.slice(axis + 1));
  const [had, room] = [source.shape[axis]! * token, target.shape[axis]! * token];
  // Rows of keys are of one element where one token runs: views of them would cost more than what they hold.
  for (let row = 0; row < source.data.length / had; row++)
    for (let i = 0; i < count * token; i++)
      target.data[row * room + to * token + i] = source.data[row * had + i]!;
}

/** What the token at `position` needs beside its part's kept tokens, the same for all parts. @param windows of all parts */
export function positionInputs(
  { tensor }: Pick<Runtime, 'tensor'>,
  rope: Rope,
  position: number,
  room: number,
  windows: Iterable<number | undefined>,
): Record<string, Tensor> {
  const { cos, sin } = turnsAt(rope, position);
  const shape = [1, 1, cos.length];
  const inputs: Record<string, Tensor> = { cos: tensor(cos, shape), sin: tensor(sin, shape) };
  for (const window of windows) {
    const mask = new Float32Array(room + 1).fill(MASKED);
    mask.fill(0, Math.max(0, position - (window ?? Infinity) + 1), position);
    mask[room] = 0;
    inputs[maskInput(window)] = tensor(mask, [1, room + 1]);
  }
  return inputs;
}

/** The keys and values among a part's outputs, by operand. */
export async function madeOf(
  { read }: Pick<Runtime, 'read'>,
  outputs: Readonly<Record<string, Tensor>>,
): Promise<Map<string, Made>> {
  const made = new Map<string, Made>();
  for (const [name, value] of Object.entries(outputs))
    for (const kind of ['keys', 'values'] as const) {
      const prefix = madeOutput(kind, '');
      if (!name.startsWith(prefix)) continue;
      made.set(name.slice(prefix.length), { kind, data: await read(value), shape: value.shape });
      value.dispose();
    }
  return made;
}
