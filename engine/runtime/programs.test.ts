import { describe, expect, it } from 'vitest';
import { Graph } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { openPrograms } from './programs.js';
import { disposeRemembered, remembered } from './remembered.js';
import type { Program, Runtime } from './session.js';

/** y = a·b on vectors of n. */
const product = (n = 2) => {
  const graph = new Graph();
  graph.output('y', op.mul(graph.input('a', [n]), graph.input('b', [n])));
  return graph;
};

/** Programs of a runtime that compiles nothing, and what reaches it; it fails on what is called "wrong". */
function counting() {
  const seen: { compiled: string[]; disposed: string[] } = { compiled: [], disposed: [] };
  const compile: Runtime['compile'] = (_graph, name) => {
    seen.compiled.push(name);
    if (name === 'wrong') return Promise.reject(new Error(`"${name}" cannot be compiled.`));
    const dispose = () => {
      seen.disposed.push(name);
      return name === 'stuck'
        ? Promise.reject(new Error(`"${name}" cannot be disposed of.`))
        : Promise.resolve();
    };
    return Promise.resolve({ name, run: () => Promise.resolve({}), dispose } satisfies Program);
  };
  return { seen, programs: openPrograms({ compile } as Runtime) };
}

describe('programs', () => {
  it('are compiled once for equal graphs, also when asked for at the same time and by other names', async () => {
    const { seen, programs } = counting();
    const [first, second] = await Promise.all([programs.get(product(), 'p'), programs.get(product(), 'q')]);
    expect(second).toBe(first);
    expect(await programs.get(product(), 'p', { keep: true })).toBe(first);
    expect(seen.compiled).toEqual(['p']);
  });

  it('are of their own for other graphs of the same name, and for other options', async () => {
    const { seen, programs } = counting();
    const all = await Promise.all([
      programs.get(product(2), 'p'),
      programs.get(product(3), 'p'),
      programs.get(product(2), 'p', { keep: false }),
      programs.get(product(2), 'p', { profile: 'here' }),
      programs.get(product(2), 'p', { logSeverityLevel: 0 }),
    ]);
    expect(new Set(all).size).toBe(5);
    expect(seen.compiled).toHaveLength(5);
  });

  it('are built once for each list of parameters that a builder is given', async () => {
    const { seen, programs } = counting();
    let built = 0;
    const build = (n: number) => (built++, product(n));
    const first = await programs.getBuilt(build, [2], 'p');
    expect(await programs.getBuilt(build, [2], 'p')).toBe(first);
    expect(built).toBe(1);
    // Of another builder, but equal.
    expect(await programs.getBuilt(product, [2], 'p')).toBe(first);
    expect(await programs.getBuilt(build, [3], 'p')).not.toBe(first);
    expect(await programs.getBuilt(build, [2], 'p', { keep: false })).not.toBe(first);
    await programs.release();
    expect(await programs.getBuilt(build, [2], 'p')).not.toBe(first);
    expect(seen.compiled).toHaveLength(4);
  });

  it('that fail to compile are asked for again, also by builder', async () => {
    const { seen, programs } = counting();
    await expect(programs.getBuilt(product, [2], 'wrong')).rejects.toThrow('cannot be compiled');
    await expect(programs.getBuilt(product, [2], 'wrong')).rejects.toThrow('cannot be compiled');
    expect(seen.compiled).toHaveLength(2);
  });

  it('are compiled anew after their release', async () => {
    const { seen, programs } = counting();
    const first = await programs.get(product(), 'p');
    await programs.release();
    expect(seen.disposed).toEqual(['p']);
    expect(await programs.get(product(), 'p')).not.toBe(first);
    await programs.release();
    expect(seen.disposed).toEqual(['p', 'p']);
  });

  it('that fail to compile are not kept', async () => {
    const { programs } = counting();
    await expect(programs.get(product(), 'wrong')).rejects.toThrow('cannot be compiled');
    await expect(programs.get(product(), 'p')).resolves.toBeDefined();
  });

  it('are all disposed of, though one fails to compile and another to be disposed of', async () => {
    const { seen, programs } = counting();
    const failing = programs.get(product(1), 'wrong');
    const others = [programs.get(product(2), 'stuck'), programs.get(product(3), 'p')];
    await expect(programs.release()).rejects.toThrow('"stuck" cannot be disposed of.');
    await expect(failing).rejects.toThrow('cannot be compiled');
    await Promise.all(others);
    expect(seen.disposed).toEqual(['stuck', 'p']);
  });
});

it('a promise that is rejected late leaves the one that was made since', async () => {
  const known = new Map<string, Promise<{ dispose(): Promise<void> }>>();
  let reject!: (error: Error) => void;
  const late = remembered(known, 'key', () => new Promise((_, no) => (reject = no)));
  const released = disposeRemembered(known);
  const newer = { dispose: () => Promise.resolve() };
  await remembered(known, 'key', () => Promise.resolve(newer));
  reject(new Error('late'));
  await expect(late).rejects.toThrow('late');
  await released;
  expect(await remembered(known, 'key', () => Promise.reject(new Error('asked again')))).toBe(newer);
});
