import { describe, expect, it } from 'vitest';
import type { AdapterLayout } from './adapters.js';
import type { FlatState } from './state.js';
import { stopsOf, trainedFrom, unitsOf, type StopState } from './stops.js';

const groups = [
  { bits: [7, 8], rank: 1, gain: 1 },
  { bits: [4], rank: 2, gain: 1 },
  { bits: [2], rank: 4, gain: 1 },
];
/** A [4, 2] and B [1, 4] of one layer. */
const layout: AdapterLayout = {
  groups,
  rank: 4,
  layers: [{ name: 'q', in: 2, out: 1 }],
  quantizers: [],
  groupSizes: [-1, -1, -1],
};

/** Everything has the number of an epoch as its value. */
const stateAt = (epoch: number): FlatState =>
  new Map([
    ['lora', new Float32Array(12).fill(epoch)],
    ['lora.m', new Float32Array(12).fill(epoch)],
    ...[0, 1, 2].map((g) => [`clip.${g}`, Float32Array.of(epoch)] as const),
  ]);
const start: FlatState = new Map([...stateAt(0)].filter(([name]) => !name.endsWith('.m')));

/** Epochs from which the values of the groups are: their clip logits, and the directions that they train. */
function epochsOf(state: FlatState) {
  const lora = state.get('lora')!;
  return {
    clips: [0, 1, 2].map((g) => state.get(`clip.${g}`)![0]),
    directions: [0, 1, 2, 3].map((d) => {
      const own = [lora[2 * d], lora[2 * d + 1], lora[8 + d]];
      expect(new Set(own).size).toBe(1);
      return own[0];
    }),
  };
}

/** A loss of each group by the epoch of its own values. */
const measureBy =
  (losses: readonly (readonly number[])[]) => (state: FlatState, measured: readonly number[]) =>
    Promise.resolve(measured.reduce((sum, g) => sum + losses[g]![state.get(`clip.${g}`)![0]!]!, 0));

describe('groups that stop together', () => {
  it('are those that train the same directions', () => {
    expect(unitsOf(layout, 'all')).toEqual([
      { groups: [0], from: 0, to: 1 },
      { groups: [1], from: 1, to: 2 },
      { groups: [2], from: 2, to: 4 },
    ]);
    expect(unitsOf(layout, 'lowest')).toEqual([
      { groups: [0, 1], from: 0, to: 2 },
      { groups: [2], from: 2, to: 4 },
    ]);
    expect(unitsOf(layout, 'none')).toEqual([{ groups: [0, 1, 2], from: 0, to: 4 }]);
  });

  it('leave the directions of the others to them', () => {
    expect([...trainedFrom(layout, 2)]).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1]);
  });
});

describe('learning', () => {
  // The highest group never improves on its start, the middle one is best after 3 epochs, the lowest at last.
  const losses = [
    [1, 2, 3, 4, 5, 6, 7],
    [9, 8, 7, 6, 7, 8, 9],
    [9, 8, 7, 6, 5, 4, 3],
  ];

  it('stops group by group, at what was best of each, and goes on where it was interrupted', async () => {
    let saved: StopState | undefined;
    let state = stateAt(0);
    const live: (readonly number[])[] = [];
    for (let epoch = 1; epoch <= 6; epoch++) {
      const stops = stopsOf(layout, 'all', start, measureBy(losses), saved);
      live.push(stops.live());
      const found = epochsOf(state);
      state = new Map(
        [...stateAt(epoch)].map(([name, data]) => {
          const g = Number(name.split('.')[1]);
          return [name, name.startsWith('clip') && !stops.live().includes(g) ? state.get(name)! : data];
        }),
      );
      const mask = trainedFrom(layout, stops.firstDirection());
      state.set(
        'lora',
        state.get('lora')!.map((x, i) => (mask[i] ? x : found.directions[i < 8 ? i >> 1 : i - 8]!)),
      );
      state = await stops.afterEpoch(state);
      saved = structuredClone(stops.snapshot());
    }
    state = await stopsOf(layout, 'all', start, measureBy(losses), saved).atEnd(state);
    expect(live).toEqual([[0, 1, 2], [0, 1, 2], [1, 2], [1, 2], [1, 2], [2]]);
    expect(epochsOf(state)).toEqual({ clips: [0, 3, 6], directions: [0, 3, 6, 6] });
  });

  it('ends at the start where nothing was better, though nothing has stopped yet', async () => {
    const worse = [1, 1, 1].map(() => [1, 2]);
    const stops = stopsOf(layout, 'lowest', start, measureBy(worse));
    const state = await stops.atEnd(await stops.afterEpoch(stateAt(1)));
    expect(epochsOf(state)).toEqual({ clips: [0, 0, 0], directions: [0, 0, 0, 0] });
    expect(state.get('lora.m')).toEqual(stateAt(1).get('lora.m'));
    expect(stops.live()).toEqual([]);
  });
});
