import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { useTemporaryFolder } from '../formats/testing.js';
import { claim, readClaim, releaseClaim, type Owner } from './claims.js';

const at = useTemporaryFolder();
const living = new Set<string>();
const owner = (n: number): Owner => {
  const id = n.toString(16).padStart(16, '0');
  living.add(id);
  return { id, host: 'here', pid: n, address: '/tmp/a folder with spaces/x.sock' };
};
const alive = ({ id }: Owner) => Promise.resolve(living.has(id));

it('says whose it is, all of it', async () => {
  expect(await readClaim(at('a'), alive)).toBeUndefined();
  const [one, other] = [owner(1), owner(2)];
  expect(await claim(at('a'), one, alive)).toEqual(one);
  expect(await claim(at('a'), other, alive)).toEqual(one);
  expect(await readClaim(at('a'), alive)).toEqual(one);
  await releaseClaim(at('a'), other);
  expect(await readClaim(at('a'), alive)).toEqual(one);
  await releaseClaim(at('a'), one);
  expect(await readdir(at())).toEqual([]);
});

it('one at a time has it, however many claim it, let go of it and end', async () => {
  let holder: string | undefined;
  let count = 0;
  const work = async (first: number) => {
    let self = owner(first);
    for (let i = 0; i < 25; i++) {
      if ((await claim(at('a'), self, alive)).id !== self.id) continue;
      expect(holder).toBeUndefined();
      holder = self.id;
      await readdir(at());
      expect(holder).toBe(self.id);
      holder = undefined;
      count++;
      // Every third ends without letting go.
      if (count % 3 > 0) await releaseClaim(at('a'), self);
      else {
        living.delete(self.id);
        self = owner(first + i + 1);
      }
    }
  };
  await Promise.all(Array.from({ length: 6 }, (_, i) => work(1000 * (i + 1))));
  expect(count).toBeGreaterThan(0);
});

it('of many that claim what nobody has, one gets it, and none is told of a live owner that there is not', async () => {
  for (let round = 0; round < 20; round++) {
    const path = at(`${round}`);
    const owners = Array.from({ length: 8 }, (_, i) => owner(100 * round + i));
    const claims = await Promise.all(owners.map((each) => claim(path, each, alive)));
    const got = owners.filter((each, i) => claims[i]!.id === each.id);
    expect(got, `round ${round}`).toHaveLength(1);
  }
});

it("files of that name that are not claims are in nobody's way, and do not keep it for ever", async () => {
  await mkdir(at('folder.3'));
  expect((await claim(at('folder'), owner(1), alive)).id).toBe(owner(1).id);
  await symlink('nowhere', at('link.0'));
  expect((await claim(at('link'), owner(1), alive)).id).toBe(owner(1).id);
  await writeFile(at('high.999999999'), '');
  await expect(claim(at('high'), owner(1), alive)).rejects.toThrow(/high cannot be claimed; delete/);
});
