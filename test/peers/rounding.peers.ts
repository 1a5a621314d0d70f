/** Rounding of weights, tokens and cached keys and values, beside torch. */
import { afterAll } from 'vitest';
import { roundedCodes } from '../../engine/execution/rounded.js';
import { Graph } from '../../engine/graph/ir.js';
import {
  fakeQuantizeCache,
  fakeQuantizeTokens,
  fakeQuantizeWeight,
  scaleRows,
} from '../../engine/graph/quantizers.js';
import { toFloats } from '../../engine/quantized/weight.js';
import { openPrograms } from '../../engine/runtime/programs.js';
import { openRuntime } from '../../engine/runtime/session.js';
import { expectClose, floats, peerSuite, type Case } from './suite.js';

interface RoundingCase extends Case {
  readonly kind: 'weight' | 'tokens' | 'cache';
  readonly shape: readonly [number, number];
  readonly bits: number;
  /** Columns that share a scale; -1 for all of a row. */
  readonly group: number;
  readonly offset: number;
  readonly size: number;
  readonly spread: number;
  readonly outliers: boolean;
}

interface Answer {
  readonly x: string;
  readonly y: string;
  /** 1 where a last bit decides between two codes. */
  readonly close: string;
}

const runtime = openRuntime('cpu', 1);
const programs = openPrograms(runtime);
afterAll(async () => {
  await programs.release();
  await runtime.dispose();
});

peerSuite<RoundingCase, Answer>({
  name: 'rounding',
  python: 'rounding.py',
  cases: 400,
  make: ({ pick, whole, chance }, seed) => {
    const kind = pick(['weight', 'weight', 'tokens', 'cache'] as const);
    const group = kind === 'tokens' ? -1 : whole(2, 20);
    const columns = kind === 'cache' ? group * whole(1, 4) : whole(2, 70);
    return {
      seed,
      kind,
      shape: [whole(1, 12), columns],
      bits: whole(2, 8),
      group: kind === 'weight' && chance() ? -1 : group,
      offset: chance() ? 0 : whole(-3, 3),
      size: 10 ** whole(-9, 9),
      spread: pick([0, 1]),
      outliers: chance(0.3),
    };
  },
  check: async (given, answer) => {
    const [x, y, close] = [floats(answer.x), floats(answer.y), floats(answer.close)];
    const same = (found: Float32Array, what: string) =>
      expectClose(
        found.map((value, i) => (close[i] ? y[i]! : value)),
        y,
        1e-4,
        what,
      );
    same(await run(given, x), given.kind);
    if (given.kind !== 'weight') return;
    const [out, columns] = given.shape;
    const layer = { name: 'layer', in: columns, out, input: 'x', bias: false, norm: undefined };
    same(toFloats(await roundedCodes(programs, layer, x, given.bits, given.group)), 'codes');
  },
});

async function run({ kind, shape, bits, group }: RoundingCase, data: Float32Array): Promise<Float32Array> {
  const graph = new Graph();
  const x = graph.input('x', shape);
  const most = 2 ** (bits - 1) - 1;
  const levels = graph.scalar(2 ** bits - 1);
  const whole = () => {
    const rows = scaleRows({ in: shape[1], out: shape[0] }, group);
    return graph.constant(new Float32Array(rows).fill(30), [rows, 1]);
  };
  const built = {
    weight: () => fakeQuantizeWeight(x, whole(), whole(), levels, group),
    tokens: () => fakeQuantizeTokens(x, graph.scalar(-most), graph.scalar(most)),
    cache: () => fakeQuantizeCache(x, group, levels),
  };
  graph.output('y', built[kind]());
  const program = await runtime.compile(graph, 'rounding', { keep: false });
  const { y } = await program.run({ x: runtime.tensor(data, shape) });
  const values = await runtime.read(y!);
  await program.dispose();
  return values;
}
