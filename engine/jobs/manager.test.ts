import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/fixtures.js';
import { writeSafetensors } from '../formats/safetensors.js';
import { ownerOf } from '../locks/claims.js';
import { announce, type Presence } from '../locks/presence.js';
import type { JobRecord, StartJobParams } from '../protocol/protocol.js';
import { openJobManager, type JobManager } from './manager.js';
import { openJobStore } from './store.js';
import { calibrateResult, evaluateResult, fakeProcesses, seriesOf, statusAt } from './testing.js';

let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);
let engines: { manager: JobManager; presence: Presence }[] = [];

beforeEach(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
});
afterEach(async () => {
  for (const engine of engines) await end(engine);
  engines = [];
  await cleanUp();
});

async function end({ manager, presence }: { manager: JobManager; presence: Presence }): Promise<void> {
  await manager.close();
  await presence.close();
}

/** An engine on the shared folder, with processes to be told what to do. */
async function open(options?: Parameters<typeof fakeProcesses>[0]) {
  const { processes, start } = fakeProcesses(options);
  const presence = await announce();
  const changes: JobRecord[] = [];
  const removed: string[] = [];
  const busy: boolean[] = [];
  const logged: string[] = [];
  const clock = { now: 1_700_000_000_000 };
  const store = await openJobStore(at('jobs'), ownerOf(presence));
  const manager = openJobManager(
    store,
    start,
    {
      changed: (job) => changes.push(job),
      removed: (id) => removed.push(id),
      busy: (is) => busy.push(is),
      trouble: (message) => message !== undefined && logged.push(message),
      log: (_, message) => logged.push(message),
    },
    () => clock.now++,
  );
  const engine = { manager, presence, store, processes, changes, removed, busy, logged, clock };
  engines.push(engine);
  return engine;
}

const calibration = (out = 'out', more: object = {}): StartJobParams => ({
  kind: 'calibrate',
  request: { model: at('models', 'vit'), data: at('data'), out: at(out), ...more },
});
const evaluation: StartJobParams = {
  kind: 'evaluate',
  request: { model: '/models/vit', data: '/data', adapters: ['/models/set'] },
};

/** What a calibration would have left of so many blocks and epochs. */
async function leaveProgress(out: string, blocks: number, epochs: number): Promise<void> {
  await mkdir(at(`${out}.partial`), { recursive: true });
  await writeFile(at(`${out}.partial`, 'identity.json'), '{}');
  for (let i = 0; i < blocks; i++) await writeFile(at(`${out}.partial`, `block-${i}.safetensors`), '');
  const metadata = { at: JSON.stringify([blocks, epochs]) };
  if (epochs > 0) await writeSafetensors(at(`${out}.partial`, 'epoch.safetensors'), [], metadata);
}

/** Waits for a state to be reported. */
async function reaches(engine: { changes: JobRecord[] }, state: JobRecord['state'], id?: string) {
  const found = () => engine.changes.findLast((job) => id === undefined || job.id === id)?.state === state;
  while (!found()) await new Promise((resolve) => setImmediate(resolve));
  return engine.changes.at(-1)!;
}

describe('the queue', () => {
  it('runs one job at a time, in their order', async () => {
    const engine = await open();
    const first = await engine.manager.start(calibration('a'));
    const second = await engine.manager.start(evaluation);
    expect([first.state, second.state]).toEqual(['queued', 'queued']);
    expect(await engine.manager.list()).toMatchObject([
      { id: first.id, state: 'running', title: 'Calibrate vit' },
      { id: second.id, state: 'queued', title: 'Evaluate vit' },
    ]);
    expect(engine.processes).toHaveLength(1);
    engine.processes[0]!.end({ type: 'result', result: calibrateResult });
    await reaches(engine, 'running', second.id);
    expect(engine.processes.map(({ kind }) => kind)).toEqual(['calibrate', 'evaluate']);
    engine.processes[1]!.end({ type: 'result', result: evaluateResult });
    expect(await reaches(engine, 'finished', second.id)).toMatchObject({
      progress: 1,
      result: evaluateResult,
    });
    expect(engine.busy.at(0)).toBe(true);
    expect(engine.busy.at(-1)).toBe(false);
  });

  it('reports progress, figures and the time left', async () => {
    const engine = await open();
    const { id } = await engine.manager.start(calibration());
    const { status, note } = engine.processes[0]!.hooks;
    note('64 samples were asked for.');
    engine.clock.now = 2_000_000_000_000;
    status(statusAt(0, 0));
    engine.clock.now += 1000;
    status(statusAt(0, 1, [1, 4]));
    status(statusAt(0, 1, [1, 4]));
    status(statusAt(0, 2, [0.5, 2]));
    engine.clock.now += 1000;
    status(statusAt(1, 0));
    const { changes } = engine;
    expect(changes.at(-1)).toMatchObject({
      phase: 'block 2/4, epoch 1/10',
      series: [{ place: 0, points: seriesOf([0.5, 2]) }],
      progress: 0.25,
    });
    // A quarter took two seconds.
    expect(changes.at(-1)!.secondsLeft).toBeCloseTo(6, 1);
    engine.processes[0]!.end({ type: 'result', result: calibrateResult });
    expect((await reaches(engine, 'finished')).secondsLeft).toBeUndefined();
    expect((await engine.manager.log(id)).text).toMatch(
      /^\S+Z Starts: .*\n\S+Z 64 samples .*\n\S+Z Now finished\n$/,
    );
  });

  it('does not report every step', async () => {
    const engine = await open();
    await engine.manager.start(calibration());
    engine.clock.now += 1000;
    const before = engine.changes.length;
    for (let step = 0; step < 500; step++) engine.processes[0]!.hooks.status(statusAt(0, step / 1000));
    expect(engine.changes.length - before).toBeLessThanOrEqual(20);
  });

  it('keeps records that say the same after it was opened again', async () => {
    const engine = await open();
    await engine.manager.start(calibration('a'));
    const { id } = await engine.manager.start(evaluation);
    engine.processes[0]!.hooks.status(statusAt(0, 1, [1, 2]));
    engine.processes[0]!.end({ type: 'result', result: calibrateResult });
    await reaches(engine, 'running', id);
    engine.processes[1]!.end({ type: 'error', reason: 'user', message: 'No picture could be read.' });
    await reaches(engine, 'failed');
    const before = await engine.manager.list();
    await end(engine);
    const again = await open();
    expect(await again.manager.list()).toEqual(before);
    expect((await readdir(at('jobs'))).filter((name) => name.includes('owner'))).toEqual([]);
  });

  it('refuses a second calibration into the same folder while one is queued or runs', async () => {
    const engine = await open();
    const { id } = await engine.manager.start(calibration('same'));
    await expect(engine.manager.start(calibration('same'))).rejects.toThrow(
      /"Calibrate vit" is running and writes/,
    );
    await expect(engine.manager.uses(at('same'))).resolves.toBe(true);
    await expect(engine.manager.uses(folder)).resolves.toBe(true);
    await expect(engine.manager.uses(at('sam'))).resolves.toBe(false);
    await engine.manager.cancel(id);
    await expect(engine.manager.uses(at('same'))).resolves.toBe(false);
    await engine.manager.start(calibration('same'));
  });

  it('accepts one of several calibrations into the same folder that start at once', async () => {
    const engine = await open();
    const starts = [0, 1, 2].map(() => engine.manager.start(calibration('same')));
    const results = await Promise.allSettled(starts);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(await engine.manager.list()).toHaveLength(1);
  });

  it('accepts one of several stopped calibrations into the same folder that are resumed at once', async () => {
    const engine = await open();
    const ids: string[] = [];
    for (let i = 0; i < 2; i++) {
      const { id } = await engine.manager.start(calibration('same'));
      await engine.manager.cancel(id);
      ids.push(id);
    }
    const results = await Promise.allSettled(ids.map((id) => engine.manager.resume(id)));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    // What was refused is let go of.
    await engine.manager.cancel(ids[0]!);
    await engine.manager.resume(ids[1]!);
  });
});

describe('cancelling', () => {
  it('stops a running calibration, which can be resumed from what it has done', async () => {
    const engine = await open();
    const { id } = await engine.manager.start(calibration());
    engine.processes[0]!.hooks.status(statusAt(2, 5));
    await leaveProgress('out', 2, 4);
    const cancelled = await engine.manager.cancel(id);
    expect(engine.processes[0]!.asked).toEqual(['cancel']);
    expect(cancelled).toMatchObject({ state: 'cancelled', resumable: true, progress: statusAt(2, 5).done });

    const resumed = await engine.manager.resume(id);
    expect(resumed).toMatchObject({ id, state: 'queued', progress: cancelled.progress });
    expect(engine.processes[1]!.request).toEqual({ ...calibration().request, resume: true });
  });

  it('takes a queued job out of the queue', async () => {
    const engine = await open();
    await engine.manager.start(calibration('a'));
    const { id } = await engine.manager.start(calibration('b'));
    expect(await engine.manager.cancel(id)).toMatchObject({ state: 'cancelled', progress: 0 });
    engine.processes[0]!.end({ type: 'result', result: calibrateResult });
    await reaches(engine, 'finished');
    expect(engine.processes).toHaveLength(1);
  });

  it('reaches a job that has only just been queued', async () => {
    const engine = await open();
    const starting = engine.manager.start(calibration());
    await reaches(engine, 'running');
    expect(await engine.manager.cancel(engine.changes[0]!.id)).toMatchObject({ state: 'cancelled' });
    await starting;
  });

  it('says what cannot be cancelled', async () => {
    const engine = await open();
    const { id } = await engine.manager.start(evaluation);
    await engine.manager.cancel(id);
    await expect(engine.manager.cancel(id)).rejects.toThrow(
      '"Evaluate vit" is cancelled; there is nothing to cancel.',
    );
    for (const unknown of ['../../etc/passwd', '', 'lq2x0000-00000000'])
      await expect(engine.manager.cancel(unknown)).rejects.toThrow('There is no such job');
  });
});

describe('a process that crashes', () => {
  const crash = { type: 'crashed', how: 'SIGSEGV' } as const;

  it('goes on by itself once, but not after a second crash at the same block', async () => {
    const engine = await open();
    const { id } = await engine.manager.start(calibration());
    const crashAt = async (block: number) => {
      const process = engine.processes.at(-1)!;
      process.hooks.status(statusAt(block, 3));
      await leaveProgress('out', block, 2);
      process.end(crash);
    };
    await crashAt(1);
    while (engine.processes.length < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(engine.processes[1]!.request.resume).toBe(true);
    // It has come further: that it crashes again is another matter.
    await crashAt(2);
    while (engine.processes.length < 3) await new Promise((resolve) => setImmediate(resolve));
    await crashAt(2);
    const job = await reaches(engine, 'interrupted', id);
    expect(job).toMatchObject({
      resumable: true,
      crashes: { total: 3, place: 2, atPlace: 2 },
      error: 'Its process crashed again at block 3 (SIGSEGV); another device may help.',
    });
    expect(engine.processes).toHaveLength(3);
    expect((await engine.manager.log(id)).text.match(/process crashed \(SIGSEGV\)\./g)).toHaveLength(3);

    // Whoever resumes it by hand gets one try.
    await engine.manager.resume(id);
    await crashAt(2);
    expect(await reaches(engine, 'interrupted', id)).toMatchObject({ crashes: { total: 4, atPlace: 3 } });
  });

  it('is not tried again where it has nothing to go on from', async () => {
    const engine = await open();
    const { id } = await engine.manager.start(evaluation);
    engine.processes[0]!.end({ type: 'crashed', how: 'SIGKILL' });
    expect(await reaches(engine, 'interrupted', id)).toMatchObject({
      resumable: false,
      error: 'Its process crashed (SIGKILL; possibly out of memory); another device may help.',
    });
    await expect(engine.manager.resume(id)).rejects.toThrow(
      '"Evaluate vit" cannot be resumed; start it again.',
    );
    expect(await engine.manager.retry(id)).toMatchObject({ id, state: 'queued', crashes: { total: 0 } });
    expect(engine.processes).toHaveLength(2);
  });
});

describe('retrying and removing', () => {
  it('starts a failed calibration over, without what it had done', async () => {
    const engine = await open();
    const { id } = await engine.manager.start(calibration());
    engine.processes[0]!.hooks.status(statusAt(1, 1, [1, 1]));
    await leaveProgress('out', 1, 1);
    engine.processes[0]!.end({ type: 'error', reason: 'user', message: 'The loss became NaN.' });
    expect(await reaches(engine, 'failed')).toMatchObject({
      error: 'The loss became NaN.',
      resumable: true,
    });
    expect(await engine.manager.retry(id)).toMatchObject({ id, state: 'queued', progress: 0, series: [] });
    expect(existsSync(at('out.partial'))).toBe(false);
  });

  it('does not offer to resume a failure without progress, and hides no defect', async () => {
    const engine = await open();
    await engine.manager.start(calibration());
    engine.processes[0]!.end({ type: 'error', reason: 'defect', message: 'x is undefined' });
    expect(await reaches(engine, 'failed')).toMatchObject({
      error: 'Internal error: x is undefined (the log has more).',
      resumable: false,
    });
  });

  it('forgets a job, and deletes its progress only where that is asked for', async () => {
    const engine = await open();
    for (const deleteProgress of [false, true]) {
      const { id } = await engine.manager.start(calibration());
      await leaveProgress('out', 1, 0);
      await expect(engine.manager.remove(id, false)).rejects.toThrow('"Calibrate vit" is running already.');
      await engine.manager.cancel(id);
      await engine.manager.remove(id, deleteProgress);
      expect(engine.removed).toContain(id);
      expect(existsSync(at('out.partial'))).toBe(!deleteProgress);
      expect(await engine.manager.list()).toEqual([]);
      expect(await readdir(at('jobs'))).toEqual([]);
    }
  });

  it('deletes nothing that is no progress', async () => {
    const engine = await open();
    const { id } = await engine.manager.start(calibration());
    await mkdir(at('out.partial'));
    await writeFile(at('out.partial', 'thesis.txt'), 'years of work');
    await engine.manager.cancel(id);
    await engine.manager.remove(id, true);
    expect(await readFile(at('out.partial', 'thesis.txt'), 'utf8')).toBe('years of work');
  });
});

describe('several engines on one folder', () => {
  it('show the same jobs, and only the one that runs a job can cancel it', async () => {
    const [one, other] = [await open(), await open()];
    const { id } = await one.manager.start(calibration());
    expect(await other.manager.list()).toMatchObject([{ id, elsewhere: true }]);
    // Told by the file system, without asking.
    await reaches(other, 'running', id);
    await expect(other.manager.cancel(id)).rejects.toThrow('belongs to another window');
    await expect(other.manager.remove(id, true)).rejects.toThrow('is in use by another window');
    await expect(other.manager.start(calibration())).rejects.toThrow(/is running and writes/);
    expect(await other.manager.uses(at('out'))).toBe(true);
    one.processes[0]!.end({ type: 'result', result: calibrateResult });
    await reaches(one, 'finished');
    expect(await reaches(other, 'finished', id)).toMatchObject({ elsewhere: false });
    await other.manager.remove(id, false);
    while (!one.removed.includes(id)) await new Promise((resolve) => setImmediate(resolve));
  });

  it('make the jobs of one that is gone interrupted, with the progress that is there', async () => {
    const gone = await open();
    const { id } = await gone.manager.start(calibration());
    const queued = await gone.manager.start(calibration('b'));
    gone.processes[0]!.hooks.status(statusAt(2, 9, [1, 1]));
    await leaveProgress('out', 2, 7);
    // As if killed: its records stay as they are.
    await gone.presence.close();
    const other = await open();
    const jobs = await other.manager.list();
    expect(jobs).toMatchObject([
      { id, state: 'interrupted', resumable: true, progress: statusAt(2, 9).done, elsewhere: false },
      { id: queued.id, state: 'interrupted', resumable: true, progress: 0 },
    ]);
  });

  it('can resume a job but once between them', async () => {
    const gone = await open();
    const { id } = await gone.manager.start(calibration());
    await gone.presence.close();
    const others = await Promise.all([open(), open(), open(), open()]);
    await Promise.all(others.map(({ manager }) => manager.list()));
    expect(await resumeInAll(others, id)).toBe(1);
  });

  it('can resume a job but once between them, before any has found its engine gone', async () => {
    for (let round = 0; round < 10; round++) {
      const gone = await open();
      const { id } = await gone.manager.start(calibration(`${round}`));
      await gone.presence.close();
      expect(await resumeInAll(await Promise.all([open(), open(), open(), open()]), id)).toBe(1);
    }
  });

  it('resume a job that another has for a moment alone', async () => {
    const [one, other] = [await open(), await open()];
    const { id } = await one.manager.start(calibration());
    await one.manager.cancel(id);
    await one.store.claim(id);
    const resuming = other.manager.resume(id);
    await new Promise((resolve) => setImmediate(resolve));
    await one.store.release(id);
    expect(await resuming).toMatchObject({ id, state: 'queued' });
  });

  /** How many of them run it after all have asked at once. */
  async function resumeInAll(engines: Awaited<ReturnType<typeof open>>[], id: string): Promise<number> {
    const results = await Promise.allSettled(engines.map(({ manager }) => manager.resume(id)));
    for (const result of results)
      if (result.status === 'rejected') expect(String(result.reason)).toMatch(/another window|is running/);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    return engines.flatMap(({ processes }) => processes).length;
  }
});

describe('records on disk', () => {
  it('that are torn, hostile or of a later version are left out, and named', async () => {
    const first = await open();
    await first.manager.start(evaluation);
    await end(first);
    const [good] = await (await open()).manager.list();
    const name = (i: number) => at('jobs', `zzzzzzz${i}-0000000${i}.json`);
    const text = await readFile(at('jobs', `${good!.id}.json`), 'utf8');
    const change = (from: string | RegExp, to: string) => text.replace(from, to);
    const bad = [
      text.slice(0, text.length / 2),
      '[]',
      change('"schema_version":2', '"schema_version":3'),
      change('"state":"interrupted"', '"state":"happy"'),
      change('"data":"/data"', '"data":"data"'),
      change('"crashes":{', '"crashes":{"__proto__":1,'),
    ];
    for (const [i, content] of bad.entries()) await writeFile(name(i), content);
    const engine = await open();
    expect(await engine.manager.list()).toEqual([good]);
    expect(engine.logged).toHaveLength(bad.length);
    for (const line of engine.logged) expect(line).toMatch(/^A job cannot be shown: zzzzzzz/);
    // Once each.
    await engine.manager.list();
    expect(engine.logged).toHaveLength(bad.length);
  });
});

it('closing waits for a job that is being queued', async () => {
  const engine = await open();
  const starting = engine.manager.start(calibration());
  await reaches(engine, 'running');
  await engine.manager.close();
  await starting;
  expect(engine.changes.at(-1)).toMatchObject({ state: 'interrupted' });
});

it('closing leaves jobs interrupted and kills what runs', async () => {
  const engine = await open({ cancels: false });
  await engine.manager.start(calibration('a'));
  await engine.manager.start(calibration('b'));
  await end(engine);
  expect(engine.processes.map(({ asked }) => asked)).toEqual([['kill']]);
  const again = await open();
  const jobs = await again.manager.list();
  expect(jobs.map(({ state, error }) => [state, error])).toEqual([
    ['interrupted', undefined],
    ['interrupted', undefined],
  ]);
});
