import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/fixtures.js';
import { FOREIGN_MILLISECONDS, openOwnership } from './ownership.js';

let folder: string;
let cleanUp: () => Promise<void>;
const living = new Set<string>();
const idOf = (n: number) => n.toString(16).padStart(16, '0');
const recordOf = (job: string) => join(folder, `${job}.json`);

beforeEach(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  living.clear();
});
afterEach(() => cleanUp());

/** The engine of a number, on a machine. */
function engine(n: number, host = 'here') {
  living.add(idOf(n));
  const self = { id: idOf(n), host, pid: 1 };
  return openOwnership(folder, self, recordOf, ({ id }) => Promise.resolve(living.has(id)));
}

it('a job belongs to the engine that claims it, until it lets go', async () => {
  const [one, other] = [engine(1), engine(2)];
  expect(await one.of('job')).toBe('none');
  expect(await one.claim('job')).toBe(true);
  expect([await one.of('job'), await other.of('job')]).toEqual(['this', 'another']);
  expect(await one.claim('job')).toBe(true);
  expect(await other.claim('job')).toBe(false);
  expect(await other.claim('another job')).toBe(true);
  await one.release('job');
  expect(await other.of('job')).toBe('none');
  expect(await other.claim('job')).toBe(true);
});

it('of many that claim a job of a dead engine at once, one gets it', async () => {
  for (let round = 1; round <= 20; round++) {
    await engine(1000 + round).claim('job');
    living.clear();
    const engines = Array.from({ length: 8 }, (_, i) => engine(100 * round + i));
    const claims = await Promise.all(engines.map((each) => each.claim('job')));
    expect(claims.filter(Boolean), `round ${round}`).toHaveLength(1);
    expect(await engines[claims.indexOf(true)]!.of('job')).toBe('this');
    // What an earlier owner left is tidied up.
    expect((await readdir(folder)).filter((name) => !name.startsWith('.'))).toHaveLength(1);
  }
});

it('a file that names no engine owns nothing', async () => {
  for (const content of ['', 'x', '../../socket here', `${idOf(1)}0 here`]) {
    await writeFile(join(folder, 'job.owner.3'), content);
    expect(await engine(1).of('job')).toBe('none');
  }
  await writeFile(join(folder, 'job.owner.x'), `${idOf(2)} here`);
  expect(await engine(1).claim('job')).toBe(true);
});

it('an engine on another machine counts as live for as long as it touches the record', async () => {
  const [here, there] = [engine(1, 'here'), engine(2, 'there')];
  await writeFile(recordOf('job'), '{}');
  await there.claim('job');
  living.clear();
  expect(await here.of('job')).toBe('another');
  const old = new Date(Date.now() - FOREIGN_MILLISECONDS - 1000);
  await utimes(recordOf('job'), old, old);
  expect(await here.of('job')).toBe('none');
  expect(await here.claim('job')).toBe(true);
});
