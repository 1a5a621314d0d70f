/** Parts of language models whose keys and values are kept, so that a token that follows others is run alone. */
import type { Graph, Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { MASKED } from '../models/attention.js';
import type { Builder } from '../models/model.js';
import { turnBy, turnsAt, type Rope } from '../models/rope.js';
import type { Runtime, Tensor } from '../runtime/session.js';

const keptInput = (operand: string) => `kept.${operand}`;
const maskInput = (window: number | undefined) => `mask.${window ?? 'all'}`;

/**
 * A builder whose keys and values are outputs `made.<operand>` too. With `room` for kept tokens it is of the one that follows
 * them: inputs `kept.<operand>` [room, channels], `cos` and `sin` [1, 1, size / 2], and a mask [1, room + 1] for each window.
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
      extend: (operand, x) => {
        graph.output(madeOutput(operand), x);
        return room === 0 ? x : op.concat([graph.input(keptInput(operand), [room, x.shape[1]!]), x], 0);
      },
      ...(room > 0 && {
        next: { turn, mask: (window: number | undefined) => input(maskInput(window), [1, room + 1]) },
      }),
    },
  };
}

const madeOutput = (operand: string) => `made.${operand}`;

/** Keys or values of tokens, [tokens, channels]. */
export interface Rows {
  readonly data: Float32Array;
  readonly channels: number;
}

/** The keys and values of one part, by operand. */
export interface KeptPart {
  /** Takes the first `count` rows of each as those of the tokens from `from` on. */
  add(from: number, count: number, made: ReadonlyMap<string, Rows>): void;
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
  const kept = new Map<string, Rows>();
  const roomy = (operand: string, channels: number, tokens: number): Float32Array => {
    const known = kept.get(operand)?.data;
    const size = roomFor(tokens) * channels;
    if (known?.length === size) return known;
    const data = new Float32Array(size);
    data.set(known ?? []);
    kept.set(operand, { data, channels });
    return data;
  };
  return {
    add: (from, count, made) => {
      for (const [operand, { data, channels }] of made)
        roomy(operand, channels, from + count).set(data.subarray(0, count * channels), from * channels);
    },
    inputs: () =>
      Object.fromEntries(
        [...kept].map(([operand, { data, channels }]) => [
          keptInput(operand),
          tensor(data, [data.length / channels, channels]),
        ]),
      ),
  };
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
): Promise<Map<string, Rows>> {
  const made = new Map<string, Rows>();
  const prefix = madeOutput('');
  for (const [name, value] of Object.entries(outputs)) {
    if (!name.startsWith(prefix)) continue;
    made.set(name.slice(prefix.length), { data: await read(value), channels: value.shape[1]! });
    value.dispose();
  }
  return made;
}
