import { ResponseError } from 'vscode-jsonrpc/node';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ErrorCode, PROTOCOL_VERSION, type JobRecord } from '../../engine/protocol/protocol.js';
import { createEngineClient } from './client.js';
import { EngineError } from './error.js';
import type { EngineOptions } from './launch.js';
import type { StateChange } from './lifecycle.js';
import { fakeEngines } from './testing.js';

beforeEach(() => {
  // Messages travel by `setImmediate`, which stays real.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

function open(answers: Parameters<typeof fakeEngines>[0] = {}, options: Partial<EngineOptions> = {}) {
  const { engines, spawn } = fakeEngines({ 'jobs/list': () => ({ jobs: [] }), ...answers });
  const client = createEngineClient({
    locate: () => ({ path: '/engine.js', bundled: true }),
    storage: '/storage',
    log: silent,
    spawn,
    ...options,
  });
  const changes: StateChange[] = [];
  client.onDidChangeState((change) => changes.push(change));
  return { client, engines, changes, states: () => changes.map(({ state }) => state) };
}

/** Lets messages arrive until the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !condition(); i++) await new Promise((resolve) => setImmediate(resolve));
  expect(condition()).toBe(true);
}

/** Lets time pass, and in between what was sent arrive. */
async function pass(milliseconds: number): Promise<void> {
  for (let left = milliseconds; left > 0; left -= 1000) {
    await vi.advanceTimersByTimeAsync(Math.min(left, 1000));
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  }
}

const jobsOf = ({ request }: Pick<ReturnType<typeof open>['client'], 'request'>) => request('jobs/list', {});

describe('starting', () => {
  it('waits for the first request, and starts once for several', async () => {
    const { client, engines, states } = open();
    expect(client.state).toBe('stopped');
    expect(engines).toHaveLength(0);
    expect(await Promise.all([jobsOf(client), jobsOf(client)])).toEqual([{ jobs: [] }, { jobs: [] }]);
    expect(engines).toHaveLength(1);
    expect(engines[0]!.asked).toEqual(['initialize', 'jobs/list', 'jobs/list']);
    expect(states()).toEqual(['starting', 'running']);
  });

  it('says who it is and where it keeps jobs', async () => {
    const initialize = vi.fn(() => ({
      protocolVersion: PROTOCOL_VERSION,
      engineVersion: '1',
      capabilities: {},
    }));
    const { client } = open({ initialize });
    await jobsOf(client);
    expect(initialize).toHaveBeenCalledWith(
      {
        protocolVersion: PROTOCOL_VERSION,
        storage: '/storage',
        hostProcess: process.pid,
      },
      expect.anything(),
    );
  });

  it('fails at once where the engine refuses or is not there, until it is restarted', async () => {
    let refuses = true;
    const { client, engines, changes } = open({
      initialize: () =>
        refuses
          ? new ResponseError(ErrorCode.versionMismatch, 'Install the same version of both.')
          : { protocolVersion: PROTOCOL_VERSION, engineVersion: '1', capabilities: {} },
    });
    await expect(jobsOf(client)).rejects.toThrow('Install the same version of both.');
    expect(changes.at(-1)).toEqual({ state: 'failed', message: 'Install the same version of both.' });
    await expect(jobsOf(client)).rejects.toThrow('Install the same version of both.');
    expect(engines).toHaveLength(1);
    expect(engines[0]!.killed).toBe(true);
    refuses = false;
    await client.restart();
    expect(client.state).toBe('running');
  });

  it('asks an engine that did not come with the extension for its version first', async () => {
    const check = vi.fn((path: string) => Promise.reject(new Error(`${path} is not an engine.`)));
    const { client, engines } = open({}, { locate: () => ({ path: '/other.js', bundled: false }), check });
    await expect(jobsOf(client)).rejects.toThrow('/other.js is not an engine.');
    expect(client.state).toBe('failed');
    expect(engines).toHaveLength(0);
  });

  it('gives up an engine that does not answer, and tries again', async () => {
    const { client, engines } = open({ initialize: () => new Promise(() => undefined) });
    const jobs = jobsOf(client);
    jobs.catch(() => undefined);
    await until(() => engines[0]?.asked.length === 1);
    await pass(30_000);
    expect(engines[0]!.killed).toBe(true);
    await pass(500);
    expect(engines).toHaveLength(2);
    await client.stop();
    await expect(jobs).rejects.toThrow();
  });
});

describe('requests', () => {
  it('reject with the line and the code of the engine', async () => {
    const { client } = open({
      'jobs/cancel': () => new ResponseError(ErrorCode.userError, 'There is no such job.'),
    });
    const error: unknown = await client.request('jobs/cancel', { id: 'x' }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(EngineError);
    expect(error).toMatchObject({
      message: 'There is no such job.',
      code: ErrorCode.userError,
      isCancelled: false,
    });
  });

  it('are cancelled by their signal', async () => {
    const refusal = new ResponseError(ErrorCode.requestCancelled, 'Cancelled.');
    const { client, engines } = open({
      'models/list': (_, token) =>
        new Promise((resolve) => token.onCancellationRequested(() => resolve(refusal))),
    });
    const stop = new AbortController();
    const models = client.request('models/list', { folders: [] }, stop.signal);
    await until(() => engines[0]?.asked.includes('models/list') ?? false);
    stop.abort();
    await expect(models).rejects.toMatchObject({ isCancelled: true });
    await expect(client.request('models/list', { folders: [] }, stop.signal)).rejects.toMatchObject({
      isCancelled: true,
    });
  });

  it('reject when the engine ends before it answers', async () => {
    const { client, engines } = open();
    const models = client.request('models/list', { folders: [] });
    await until(() => engines[0]?.asked.includes('models/list') ?? false);
    engines[0]!.exit('SIGSEGV');
    await expect(models).rejects.toThrow('The engine ended before it could answer.');
    await client.stop();
  });
});

it('notifications reach those who listen, of every process', async () => {
  const { client, engines } = open();
  const heard: string[] = [];
  const subscription = client.onNotification('jobs/removed', ({ id }) => heard.push(id));
  client.onNotification('jobs/changed', ({ job }: { job: JobRecord }) => heard.push(job.id));
  await jobsOf(client);
  await engines[0]!.connection.sendNotification('jobs/removed', { id: 'a' });
  await until(() => heard.length === 1);
  engines[0]!.exit('SIGKILL');
  await pass(500);
  await jobsOf(client);
  await engines[1]!.connection.sendNotification('jobs/changed', { job: { id: 'b' } });
  await until(() => heard.length === 2);
  subscription.dispose();
  await engines[1]!.connection.sendNotification('jobs/removed', { id: 'c' });
  await jobsOf(client);
  expect(heard).toEqual(['a', 'b']);
});

describe('a crash', () => {
  it('starts the engine again: soon, then later and later, and not at all after the fifth in three minutes', async () => {
    const { client, engines, changes, states } = open();
    await jobsOf(client);
    for (const [crash, wait] of [500, 1000, 2000, 4000].entries()) {
      engines[crash]!.exit('SIGSEGV');
      await until(() => client.state === 'starting');
      expect(changes.at(-1)!.message).toBe('The engine ended unexpectedly (SIGSEGV).');
      await pass(wait - 1);
      expect(engines).toHaveLength(crash + 1);
      await pass(1);
      expect(engines).toHaveLength(crash + 2);
      await until(() => client.state === 'running');
    }
    engines[4]!.exit('SIGSEGV');
    await until(() => client.state === 'failed');
    await pass(600_000);
    expect(engines).toHaveLength(5);
    expect(states().filter((state) => state === 'failed')).toHaveLength(1);
    await expect(jobsOf(client)).rejects.toThrow(/ended unexpectedly \(SIGSEGV\).*not started again/);

    await client.restart();
    expect(client.state).toBe('running');
    engines[5]!.exit('SIGSEGV');
    await pass(500);
    await until(() => client.state === 'running');
  });

  it('that comes but once a minute is not given up', async () => {
    const { client, engines } = open();
    await jobsOf(client);
    for (let i = 0; i < 12; i++) {
      engines[i]!.exit('exit code 1');
      await pass(60_000);
      await until(() => client.state === 'running');
    }
    expect(engines).toHaveLength(13);
    await client.stop();
  });

  it('lets requests wait for the next engine', async () => {
    const { client, engines } = open();
    await jobsOf(client);
    engines[0]!.exit('SIGKILL');
    await until(() => client.state === 'starting');
    const jobs = jobsOf(client);
    await pass(500);
    expect(await jobs).toEqual({ jobs: [] });
    expect(engines[1]!.asked).toEqual(['initialize', 'jobs/list']);
  });
});

describe('the heartbeat', () => {
  it('ends an engine that does not answer, which is then a crash', async () => {
    let answers = true;
    const { client, engines } = open({ ping: () => (answers ? {} : new Promise(() => undefined)) });
    await jobsOf(client);
    for (let i = 0; i < 5; i++) {
      await pass(10_000);
      expect(engines[0]!.asked.filter((method) => method === 'ping')).toHaveLength(i + 1);
    }
    expect(engines[0]!.killed).toBe(false);
    answers = false;
    await pass(10_000 + 29_999);
    expect(engines[0]!.killed).toBe(false);
    await pass(1);
    expect(engines[0]!.killed).toBe(true);
    answers = true;
    await pass(500);
    await until(() => client.state === 'running');
    await client.stop();
  });

  it('gives an engine another try after the machine has slept', async () => {
    const { client, engines } = open({ ping: () => new Promise(() => undefined) });
    await jobsOf(client);
    await pass(10_000);
    vi.setSystemTime(Date.now() + 3_600_000);
    await pass(30_000);
    expect(engines[0]!.killed).toBe(false);
    await pass(29_999);
    expect(engines[0]!.killed).toBe(false);
    await pass(1);
    expect(engines[0]!.killed).toBe(true);
    await client.stop();
  });
});

describe('ending', () => {
  it('asks the engine to end, and does not take that for a crash', async () => {
    const { client, engines, states } = open();
    await jobsOf(client);
    await client.stop();
    expect(engines[0]!.asked).toContain('shutdown');
    expect(engines[0]!.killed).toBe(false);
    await pass(60_000);
    expect(engines).toHaveLength(1);
    expect(states()).toEqual(['starting', 'running', 'stopped']);
    await expect(jobsOf(client)).rejects.toThrow('The extension is ending.');
  });

  it('kills an engine that does not end in time', async () => {
    const { client, engines } = open({ shutdown: () => new Promise(() => undefined) });
    await jobsOf(client);
    const stopped = client.stop();
    await pass(1999);
    expect(engines[0]!.killed).toBe(false);
    await pass(1);
    await stopped;
    expect(engines[0]!.killed).toBe(true);
  });

  it('while it waits to start again leaves no process', async () => {
    const { client, engines } = open();
    await jobsOf(client);
    engines[0]!.exit('SIGKILL');
    await until(() => client.state === 'starting');
    const jobs = jobsOf(client);
    jobs.catch(() => undefined);
    await client.stop();
    await expect(jobs).rejects.toThrow('The engine was stopped.');
    await pass(60_000);
    expect(engines).toHaveLength(1);
    expect(client.state).toBe('stopped');
  });

  it('while it starts leaves no process', async () => {
    const { client, engines } = open({ initialize: () => new Promise(() => undefined) });
    const jobs = jobsOf(client);
    jobs.catch(() => undefined);
    await until(() => engines[0]?.asked.length === 1);
    await client.stop();
    expect(engines.map(({ asked }) => asked)).toEqual([['initialize', 'shutdown']]);
    await expect(jobs).rejects.toThrow();
    await pass(60_000);
    expect(engines).toHaveLength(1);
  });

  it('before it was needed starts nothing', async () => {
    const { client, engines } = open();
    await client.stop();
    expect(engines).toHaveLength(0);
  });

  it('is not the end where it is restarted', async () => {
    const { client, engines } = open();
    await jobsOf(client);
    await client.restart();
    expect(engines).toHaveLength(2);
    expect(engines[0]!.asked).toContain('shutdown');
    expect(await jobsOf(client)).toEqual({ jobs: [] });
  });

  it('lets a request that comes during a restart wait for the next engine', async () => {
    const { client, engines, states } = open({ shutdown: () => ({}) });
    await jobsOf(client);
    const restarted = client.restart();
    const jobs = jobsOf(client);
    await pass(1999);
    expect(engines).toHaveLength(1);
    await pass(1);
    expect(await jobs).toEqual({ jobs: [] });
    await restarted;
    expect(engines).toHaveLength(2);
    expect(engines[1]!.asked).toEqual(['initialize', 'jobs/list']);
    await pass(60_000);
    expect(states()).toEqual(['starting', 'running', 'starting', 'running']);
    expect(client.state).toBe('running');
  });

  it('of an engine that is restarted twice is told of the last start alone', async () => {
    const { client, engines, states } = open();
    await jobsOf(client);
    await Promise.all([client.restart(), client.restart()]);
    await pass(60_000);
    expect(engines).toHaveLength(2);
    expect(states()).toEqual(['starting', 'running', 'starting', 'running']);
  });
});
