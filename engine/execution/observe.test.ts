import { expect, it } from 'vitest';
import { normals, tinyBlock, usePrograms } from './testing.js';
import { observe } from './observe.js';

const BATCH = 2;
const programs = usePrograms();
const { part, listing, parameters } = tinyBlock();
const batches = [{ x: normals(part.inputShape(BATCH), 'x').data }];

it('collects the quantizers that it is asked for, whichever it was asked for before', async () => {
  const [first, last] = [listing.linears[0]!, listing.linears.at(-1)!];
  const observed = (...names: string[]) => observe(programs, part, names, parameters, batches, BATCH);
  const both = await observed(first.name, last.name);
  expect([...both.keys()]).toEqual([first.name, last.name]);
  expect([...both.values()].map(({ features }) => features)).toEqual([first.in, last.in]);
  for (const { name } of [first, last])
    expect((await observed(name)).get(name)!.data).toEqual(both.get(name)!.data);
  expect(await observed()).toEqual(new Map());
});
