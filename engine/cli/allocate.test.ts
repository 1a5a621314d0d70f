import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { complaint, useTemporaryFolder } from '../formats/testing.js';
import { allocate } from './allocate.js';
import { formatAllocated } from './allocated.js';
import { bestMeasured } from '../jobs/measured-plan.js';
import type { ComparePlansRequest } from '../jobs/requests.js';

const at = useTemporaryFolder();
const least = [8, 2];
const candidates = {
  least,
  uniform: { bits: 3, plan: [3, 3] },
  guarded: [[3, 3], [4, 2]], // prettier-ignore
};
const request = { model: 'm', adapters: 's', data: 'd' };

/** Measures the plans given, and keeps what was asked. */
const comparing = (costs: Readonly<Record<string, number>>) => {
  const asked: ComparePlansRequest[] = [];
  const found = bestMeasured(candidates, request, (one) => {
    asked.push(one);
    const of = one.plans.map((plan) => costs[plan.join()]!);
    return Promise.resolve({ costs: of, samples: 4, data: 'train' });
  });
  return { asked, found };
};
const told = async (found: ReturnType<typeof bestMeasured>) => {
  const { measured } = await found;
  const allocated = { out: 'p', averageBits: 3, layerBytes: 1e6, cost: 0.1, exact: true, measured };
  return formatAllocated(allocated);
};

it('measures each plan once and keeps the predicted one where it is as good as any', async () => {
  const { asked, found } = comparing({ '8,2': 0.25, '3,3': 0.5, '4,2': 0.25 });
  expect((await found).plan).toEqual(least);
  expect(asked[0]).toEqual({ ...request, plans: [[8, 2], [3, 3], [4, 2]] }); // prettier-ignore
  const text = await told(found);
  expect(text).toContain('Measured cost 0.2500 nats on 4 samples of train');
  expect(text).toContain('all layers at 3 bits, the highest within the budget, cost 0.5000 nats');
  expect(text).not.toContain('least predicted cost');
});

it('never gives a plan that measures worse than the uniform one, and says what was wrong', async () => {
  const { found } = comparing({ '8,2': 0.84, '3,3': 0.36, '4,2': 0.5 });
  expect((await found).plan).toEqual([3, 3]);
  expect(await told(found)).toContain(
    'The plan of least predicted cost measured 0.8400 nats, worse than all layers at 3 bits; what was written measured best of 3.',
  );
});

it('says how costs are measured where an adapter set has none, and writes nothing', async () => {
  await mkdir(at('set'));
  const found = allocate(
    at('set'),
    { averageBits: 3, out: at('a.precision.json') },
    () => expect.fail(),
    () => expect.fail(),
  );
  await expect(found).rejects.toThrow(
    `${at('set')} has no sensitivity.json yet; measure it first: elastic-precision sensitivity MODEL --adapters ${at('set')} --data DATA`,
  );
  expect(await readdir(at())).toEqual(['set']);
});

it.each<[string, string, boolean, RegExp]>([
  ['a plan, which is not asked to be replaced', 'plan', false, /is there already; .* --force\.$/],
  ['something that is no plan', 'thesis', true, /is not a precision plan; choose another name\.$/],
  ['a folder', 'folder', true, /it is a folder\.$/],
  ['a link that leads nowhere', 'dangling', true, /a link that leads nowhere\.$/],
  ['below a file', 'thesis/plan', false, /a part of the path is not a folder\.$/],
])('where its place is %s, nothing is read and nothing written', async (_, name, force, reason) => {
  const files = { plan: '{"default": 4}', thesis: 'years of work' };
  for (const [file, text] of Object.entries(files)) await writeFile(at(file), text);
  await mkdir(at('folder'));
  await symlink('nowhere', at('dangling'));
  const before = await readdir(at());
  const asked = { averageBits: 3, out: at(name), force };
  expect(await complaint(() => allocate(at('no set'), asked, () => expect.fail()))).toMatch(reason);
  expect(await readdir(at())).toEqual(before);
  for (const [file, text] of Object.entries(files)) expect(await readFile(at(file), 'utf8')).toBe(text);
});
