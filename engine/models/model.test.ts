import { describe, expect, it } from 'vitest';
import {
  blocksOf,
  chainsOf,
  inputsOf,
  partsOf,
  readersOf,
  sideInputsOf,
  type Model,
  type Part,
  type SidePort,
} from './model.js';

describe('chains', () => {
  const port = (name: string): SidePort => ({ name, shape: (batch) => [batch, 2] });
  const part = (...side: string[]): Part => ({
    prefix: '',
    kind: side.join(),
    inputShape: (batch) => [batch, 3],
    outputShape: (batch) => [batch, 3],
    side: side.map(port),
    forward: (_b, x) => x,
  });
  const model = {
    towers: [
      { name: 'first', input: 'time', stem: part(), blocks: [] },
      { name: 'second', stem: part(), blocks: [part('mask')] },
      { name: 'third', input: 'second', stem: part(), blocks: [] },
    ],
    stem: part(),
    blocks: [part('first'), part('third', 'mask')],
    head: part(),
  } as unknown as Model;

  it('run before the own one, which has no name', () => {
    expect(chainsOf(model).map(({ name }) => name)).toEqual(['first', 'second', 'third', undefined]);
    expect(blocksOf(model).map(({ kind }) => kind)).toEqual(['mask', 'first', 'third,mask']);
    expect(partsOf(model)).toHaveLength(3 + 1 + 3 + 1);
  });

  it('have an effect on those that read them, and on what these feed', () => {
    expect([0, 1, 2, 3].map((chain) => readersOf(model, chain))).toEqual([[3], [2, 3], [3], []]);
  });

  it('read from outside what no tower yields, each once: a time, pixels, and a mask', () => {
    expect(inputsOf(model).map(({ shape }) => shape(5))).toEqual([
      [5, 3],
      [5, 3],
      [5, 2],
    ]);
    expect(sideInputsOf(model)).toEqual(['time', 'mask']);
  });
});
