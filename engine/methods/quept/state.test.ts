import { describe, expect, it } from 'vitest';
import { sizeOf } from '../../graph/ir.js';
import { adapterLayout, type AdapterLayout } from './adapters.js';
import { learnedTensors, packState, startedTensors, stateTensors, unpackState } from './state.js';
import { tinyBlock } from '../../execution/testing.js';
import { randomAdapters } from './testing.js';

const { listing } = tinyBlock();
const high = { bits: [7, 8], rank: 2, gain: 1 };
const layouts: [string, AdapterLayout][] = [
  ['two groups', adapterLayout(listing, [high, { bits: [4], rank: 4, gain: 1 }], true)],
  [
    'scales per 8 columns at low bits',
    adapterLayout(listing, [high, { bits: [4], rank: 4, gain: 1 }], true, true, [-1, 8]),
  ],
  ['no activations', adapterLayout(listing, [high], false)],
  [
    'a first group of rank 0',
    adapterLayout(
      listing,
      [
        { ...high, rank: 0 },
        { bits: [4], rank: 1, gain: 1 },
      ],
      true,
    ),
  ],
  ['no directions at all', adapterLayout(listing, [{ ...high, rank: 0 }], true)],
];

describe.each(layouts)('flat state: %s', (_, layout) => {
  const named = randomAdapters(layout);
  const isLearned = (name: string) =>
    !name.includes('act_zero') && !(layout.rank === 0 && name.includes('lora'));

  it('goes there and back', () => {
    const back = unpackState(layout, packState(layout, named));
    expect([...back.keys()].sort()).toEqual([...named.keys()].filter(isLearned).sort());
    for (const [name, tensor] of back) expect(tensor, name).toEqual(named.get(name));
  });

  it('has the tensors of a step, filled to the last element', () => {
    const flat = packState(layout, named);
    expect([...flat].map(([name, { length }]) => [name, length])).toEqual(
      stateTensors(layout).map(({ name, shape }) => [name, sizeOf(shape)]),
    );
    for (const [name, data] of flat) expect(data.indexOf(0), name).toBe(-1);
    expect(flat.has('lora')).toBe(layout.rank > 0);
  });

  it('is copied, so that neither side changes the other', () => {
    const flat = packState(layout, named);
    const back = unpackState(layout, flat);
    for (const data of flat.values()) data.fill(7);
    for (const [name, tensor] of back) expect(tensor.data, name).toEqual(named.get(name)!.data);
  });
});

it('says of what kind a state tensor is, and of which group', () => {
  expect(stateTensors(layouts[0]![1]).map(({ kind, group }) => [kind, group])).toEqual([
    ['lora', undefined],
    ['clip', 0],
    ['scale', 0],
    ['clip', 1],
    ['scale', 1],
  ]);
});

it('says at which bit-width a tensor is learned, whatever the layer is named', () => {
  const [layer] = layouts[0]![1].layers;
  const named = {
    ...layouts[0]![1],
    layers: [{ ...layer!, name: 'odd.act_scale.8' }],
    quantizers: ['odd.lora_A'],
  };
  const of = (width?: number) =>
    learnedTensors(named).flatMap(({ bits, name }) => (bits === width ? [name] : []));
  expect(of()).toEqual(['odd.act_scale.8.lora_A', 'odd.act_scale.8.lora_B']);
  expect(of(4)).toEqual([
    'odd.act_scale.8.clip_upper.4',
    'odd.act_scale.8.clip_lower.4',
    'odd.lora_A.act_scale.4',
  ]);
  const started = startedTensors(named, randomAdapters(named));
  expect([...started.keys()]).toEqual([...of(7), ...of(8), ...of(4)]);
});
