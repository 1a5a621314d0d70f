/** The built engine over its wire: the handshake, hostile input, and jobs that survive whatever is killed. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { ResponseError } from 'vscode-jsonrpc/node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  ErrorCode,
  PROTOCOL_VERSION,
  type CalibrateRequest,
  type ModelReport,
} from '../engine/protocol/protocol.js';
import { paramReaders } from '../engine/server/params.js';
import { version } from '../engine/version.js';
import { runCli } from './cli-run.js';
import { childrenOf, enginePath, isRunning, startEngine, until, type Engine } from './engine-process.js';
import { temporaryFolder, TINY_VIT, writeRandomModel, writeRandomPictures } from './fixtures.js';

let folder: string;
let cleanUp: () => Promise<void>;
let pictures: string;
const at = (...names: string[]) => join(folder, ...names);
let engines: Engine[] = [];

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('models', 'ViT ünïcode'));
  pictures = await writeRandomPictures(at('pictures'), 64);
});
afterEach(async () => {
  await Promise.all(engines.map((engine) => engine.kill()));
  engines = [];
});
afterAll(() => cleanUp());

function start(nodeOptions?: readonly string[]): Engine {
  const engine = startEngine(nodeOptions);
  engines.push(engine);
  return engine;
}

/** An engine that has shaken hands, with records of jobs in a folder of this name. */
async function open(storage: string): Promise<Engine> {
  const engine = start();
  await engine.initialize(at('storage', storage));
  return engine;
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    (error: unknown) => (error as ResponseError<void>).code,
  );

describe('the handshake', () => {
  it('says who is there', async () => {
    expect(await start().initialize(at('storage', 'new'))).toMatchObject({
      protocolVersion: PROTOCOL_VERSION,
      engineVersion: version,
      capabilities: {
        jobs: ['calibrate', 'evaluate', 'sensitivity', 'export', 'get'],
        families: expect.arrayContaining(['vit']) as string[],
      },
    });
    expect(existsSync(at('storage', 'new', 'jobs'))).toBe(true);
    const { stdout } = await promisify(execFile)(process.execPath, [enginePath, '--version']);
    expect(JSON.parse(stdout)).toEqual({ engineVersion: version, protocolVersion: PROTOCOL_VERSION });
  });

  it('comes first, once, and with the same version', async () => {
    const engine = start();
    expect(await codeOf(engine.request('jobs/list', {}))).toBe(ErrorCode.notInitialized);
    const other = {
      protocolVersion: PROTOCOL_VERSION + 1,
      storage: at('storage', 'x'),
      hostProcess: process.pid,
    };
    await expect(engine.request('initialize', other)).rejects.toMatchObject({
      code: ErrorCode.versionMismatch,
      message: expect.stringMatching(/install the same version of both/) as string,
    });
    await engine.initialize(at('storage', 'x'));
    expect(await codeOf(engine.initialize(at('storage', 'x')))).toBe(ErrorCode.notInitialized);
  });

  it('fails with a line where records of jobs cannot be kept', async () => {
    await writeFile(at('a file'), '');
    const engine = start();
    await expect(engine.initialize(at('a file'))).rejects.toMatchObject({ code: ErrorCode.userError });
    await engine.initialize(at('storage', 'y'));
  });
});

describe('hostile input', () => {
  it('in the parameters of any request is refused with its place, and harms nothing', async () => {
    const engine = await open('hostile');
    const hostile = [[], 7, 'x', { unknown: 1 }, { path: 'relative' }, { path: '/a\0b' }, { folders: '/x' }, { id: 5 }]; // prettier-ignore
    for (const method of Object.keys(paramReaders).filter((name) => name !== 'shutdown'))
      for (const params of hostile)
        expect(await codeOf(engine.connection.sendRequest(method, params)), `${method} ${JSON.stringify(params)}`).toBe(ErrorCode.invalidParams); // prettier-ignore
    const asked = { model: at('models'), data: pictures, out: at('x') };
    const request = { ...asked, method: 'quept', options: { epochs: 'many' } };
    await expect(engine.connection.sendRequest('jobs/start', { kind: 'calibrate', request })).rejects.toThrow(
      'jobs/start: params: request: options of quept: "epochs" must be a positive integer, found "many".',
    );
    await expect(engine.connection.sendRequest('jobs/start', { kind: 'format', request })).rejects.toThrow(
      'jobs/start: params: "kind" must be one of "calibrate", "evaluate", "sensitivity", "export", "get", found "format".',
    );
    expect(await codeOf(engine.connection.sendRequest('__proto__', {}))).toBe(ErrorCode.methodNotFound);
    expect(await codeOf(engine.connection.sendRequest('constructor', {}))).toBe(ErrorCode.methodNotFound);
    expect(await engine.request('jobs/list', {})).toEqual({ jobs: [] });
    expect(engine.printed()).toBe('');
  });

  it('in the place of a message or its frame is answered, and ends nothing', async () => {
    const engine = await open('frames');
    const send = (body: string) => engine.child.stdin!.write(`Content-Length: ${body.length}\r\n\r\n${body}`);
    send('{"jsonrpc": "2.0", "id": 1, "method"');
    send('{"jsonrpc": "2.0", "neither": "request nor response"}');
    send('{"jsonrpc": "2.0", "method": "$/cancelRequest"}');
    engine.child.stdin!.write('GET / HTTP/1.1\r\n\r\n');
    expect(await engine.request('ping', {})).toEqual({});
    expect(await engine.request('jobs/list', {})).toEqual({ jobs: [] });
    expect(engine.printed()).toBe('');
  });

  it('in files as large as they may be neither keeps other requests waiting nor fills the memory', async () => {
    const engine = await open('large');
    const size = 16_000_000;
    const files: Record<string, Buffer> = {
      lists: Buffer.from(`{"a":[${'[],'.repeat(size / 3)}[]]}`),
      spaces: Buffer.alloc(size, ' ')
        .fill('{', 0, 1)
        .fill('}', size - 1),
      tensors: Buffer.from(
        `{${Array.from({ length: size / 60 }, (_, i) => `"${i}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`).join()}}`,
      ),
    };
    for (const [name, header] of Object.entries(files)) {
      await writeRandomModel(at('large', name));
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      await writeFile(at('large', name, 'model.safetensors'), Buffer.concat([length, header]));
      const order: string[] = [];
      const described = engine.request('models/describe', { path: at('large', name) });
      await Promise.all([
        described.then(() => order.push('described')),
        engine.request('jobs/list', {}).then(() => order.push('listed')),
      ]);
      expect(order).toEqual(['listed', 'described']);
      expect(await described).toMatchObject({ supported: false });
    }
    if (process.platform !== 'linux') return;
    const status = await readFile(`/proc/${engine.child.pid!}/status`, 'utf8');
    expect(Number(/VmHWM:\s+(\d+)/.exec(status)![1]) * 1024).toBeLessThan(256e6);
  });

  it('that prints to stdout does not reach the client', async () => {
    // Once the engine listens.
    const noise = `process.stdin.on('newListener', (event) => event === 'data' && setImmediate(() => {
      console.log('noise');
      process.stdout.write('more noise\\n');
    }))`;
    const engine = start(['--import', `data:text/javascript,${encodeURIComponent(noise)}`]);
    await engine.initialize(at('storage', 'noise'));
    expect(await engine.request('ping', {})).toEqual({});
    expect(engine.printed()).toBe('noise\nmore noise\n');
  });
});

describe('the end', () => {
  it('comes with a shutdown, which is answered', async () => {
    const engine = await open('shutdown');
    expect(await engine.request('shutdown', {})).toEqual({});
    expect(await engine.exited).toBe(0);
  });

  it('comes when the client closes the stream, or its process is gone', async () => {
    const engine = await open('closed');
    engine.child.stdin!.end();
    expect(await engine.exited).toBe(0);

    const orphan = start();
    const gone = startEngine();
    await gone.kill();
    const params = {
      protocolVersion: PROTOCOL_VERSION,
      storage: at('storage', 'z'),
      hostProcess: gone.child.pid!,
    };
    orphan.request('initialize', params).catch(() => undefined);
    expect(await orphan.exited).toBe(0);
  });
});

it('loads no native code into the process that answers', async () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const visit = async (file: string): Promise<void> => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const [, name] of (await readFile(file, 'utf8')).matchAll(
      /^(?:import|export)\b[^;]*?["']([^"']+)["'];$/gm,
    ))
      if (name!.startsWith('.')) await visit(join(dirname(file), name!));
      else packages.add(name!);
  };
  await visit(enginePath);
  expect(seen.size).toBeGreaterThan(1);
  expect([...packages].filter((name) => !name.startsWith('node:'))).toEqual([]);
});

describe('models and adapter sets', () => {
  it('are found as they are met, and the search can be cancelled', async () => {
    const engine = await open('models');
    const found: ModelReport[] = [];
    engine.on('models/found', ({ search, model }) => search === 'mine' && found.push(model));
    const folders = [at('models'), at('not there')];
    const { models } = await engine.request('models/list', { folders, search: 'mine' });
    expect(models).toMatchObject([{ name: 'ViT ünïcode', supported: true, task: 'image-classification' }]);
    expect(found).toEqual(models);

    // In one write, so that the search cannot end before it is cancelled.
    const answer = answerTo(engine, 'search');
    engine.child.stdin!.write(
      frame({ jsonrpc: '2.0', id: 'search', method: 'models/list', params: { folders: [at('models')] } }) +
        frame({ jsonrpc: '2.0', method: '$/cancelRequest', params: { id: 'search' } }),
    );
    expect(await answer).toMatchObject({ error: { code: ErrorCode.requestCancelled } });
  });

  const frame = (message: object) => {
    const body = JSON.stringify(message);
    return `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  };

  const answerTo = (engine: Engine, id: string) =>
    new Promise((resolve) => {
      let printed = '';
      engine.child.stdout!.on('data', (chunk: Buffer) => {
        printed += chunk.toString();
        const found = printed
          .match(/\{.*?\}(?=Content-Length|$)/gs)
          ?.map((text) => JSON.parse(text) as { id?: unknown });
        const message = found?.find((one) => one.id === id);
        if (message) resolve(message);
      });
    });
});

const settings: Partial<CalibrateRequest> = {
  ...{ bits: [2, 3, 4, 5, 6, 7, 8], samples: 64, device: 'cpu', threads: 1 },
  options: { rank: 2, epochs: 4, batch: 16 },
};
const calibration = (out: string) => ({
  kind: 'calibrate' as const,
  request: { ...settings, model: at('models', 'ViT ünïcode'), data: pictures, out: at('sets', out) },
});
const hashes = async (out: string) =>
  Promise.all(
    ['adapter_config.json', 'adapter_model.safetensors'].map(async (name) =>
      createHash('sha256')
        .update(await readFile(at('sets', out, name)))
        .digest('hex'),
    ),
  );
const partial = (out: string, file: string) => existsSync(at('sets', `${out}.partial`, file));

// Generous: a busy machine takes its time.
describe('a calibration', () => {
  let expected: string[];
  beforeAll(async () => {
    const { model, data } = calibration('').request;
    const args = ['--bits', '2-8', '--rank', '2', '--samples', '64', '--epochs', '4', '--batch', '16'];
    const place = ['--device', 'cpu', '--threads', '1', '--out', at('sets', 'command line')];
    expect(await runCli(['calibrate', model, '--data', data, ...args, ...place])).toMatchObject({ code: 0 });
    expected = await hashes('command line');
  }, 300_000);

  it('ends with the same bytes as on the command line, and tells the losses of every block', async () => {
    const engine = await open('plain');
    const { job } = await engine.request('jobs/start', calibration('plain'));
    const done = await engine.reaches(job.id, 'finished', 'failed');
    expect(done).toMatchObject({ state: 'finished', progress: 1, result: { bits: [8, 7, 6, 5, 4, 3, 2] } });
    expect(done.series.map(({ place, points }) => [place, points.length])).toEqual([
      [0, 4],
      [1, 4],
    ]);
    expect(await hashes('plain')).toEqual(expected);
    await rm(at('sets', 'plain'), { recursive: true });
  });

  it.skipIf(process.platform !== 'linux')(
    'whose engine is killed comes back as interrupted, and is resumed to the same bytes',
    async () => {
      const engine = await open('killed');
      const { job } = await engine.request('jobs/start', calibration('killed'));
      await until(() => partial('killed', 'block-0.safetensors'));
      const [process] = childrenOf(engine.child.pid!);
      await engine.kill();
      // Nothing of it works on where the next engine resumes.
      await until(() => !isRunning(process!));

      const next = await open('killed');
      const { jobs } = await next.request('jobs/list', {});
      expect(jobs).toMatchObject([{ id: job.id, state: 'interrupted', resumable: true, elsewhere: false }]);
      await next.request('jobs/resume', { id: job.id });
      expect(await next.reaches(job.id, 'finished', 'failed')).toMatchObject({ state: 'finished' });
      expect(await hashes('killed')).toEqual(expected);
    },
  );

  it.skipIf(process.platform !== 'linux')(
    'whose process is killed goes on by itself, to the same bytes',
    async () => {
      const engine = await open('crashed');
      const { job } = await engine.request('jobs/start', calibration('crashed'));
      await until(() => partial('crashed', 'epoch.safetensors'));
      process.kill(childrenOf(engine.child.pid!)[0]!, 'SIGKILL');
      const done = await engine.reaches(job.id, 'finished', 'failed', 'interrupted');
      expect(done).toMatchObject({ state: 'finished', crashes: { total: 1 } });
      expect(await hashes('crashed')).toEqual(expected);
      expect((await engine.request('jobs/log', { id: job.id })).text).toMatch(
        /Its process crashed \(SIGKILL\)/,
      );
    },
  );

  it('that is cancelled is resumed to the same bytes, after a restart too', async () => {
    const engine = await open('cancelled');
    const { job } = await engine.request('jobs/start', calibration('cancelled'));
    await until(() => partial('cancelled', 'epoch.safetensors'));
    const { job: cancelled } = await engine.request('jobs/cancel', { id: job.id });
    expect(cancelled).toMatchObject({ state: 'cancelled', resumable: true });
    await engine.request('shutdown', {});
    const next = await open('cancelled');
    expect((await next.request('jobs/list', {})).jobs).toEqual([cancelled]);
    await next.request('jobs/resume', { id: job.id });
    await next.reaches(job.id, 'finished');
    expect(await hashes('cancelled')).toEqual(expected);
  });

  it('goes on in one window while another looks on', async () => {
    const [one, other] = [await open('shared'), await open('shared')];
    const { job } = await one.request('jobs/start', calibration('shared'));
    const { jobs } = await other.request('jobs/list', {});
    expect(jobs).toMatchObject([{ id: job.id, elsewhere: true }]);
    expect(await codeOf(other.request('jobs/cancel', { id: job.id }))).toBe(ErrorCode.userError);
    expect(await codeOf(other.request('adapters/rename', { path: at('sets', 'shared'), name: 'x' }))).toBe(ErrorCode.userError); // prettier-ignore
    await one.reaches(job.id, 'finished');
    expect(await other.reaches(job.id, 'finished')).toMatchObject({ elsewhere: false });
  });

  it('fails with a line for people', async () => {
    const engine = await open('failing');
    const { job } = await engine.request('jobs/start', {
      kind: 'calibrate',
      request: { ...calibration('failing').request, data: at('nowhere') },
    });
    const failed = await engine.reaches(job.id, 'failed');
    expect(failed).toMatchObject({
      resumable: false,
      error: expect.stringMatching(/^[^\n]*nowhere[^\n]*$/) as string,
    });
  });

  it('gives an adapter set that is found, evaluated, kept and renamed', async () => {
    const engine = await open('whole');
    const model = at('models', 'ViT ünïcode');
    const set = at('sets', 'command line');
    const { job } = await engine.request('jobs/start', {
      kind: 'evaluate',
      request: { model, data: pictures, adapters: [set], bits: [4], save: 'at 4 bits', device: 'cpu' },
    });
    const done = await engine.reaches(job.id, 'finished', 'failed');
    expect(done).toMatchObject({
      state: 'finished',
      result: { saved: join(set, 'evaluations', 'at 4 bits.json') },
    });
    const { evaluations } = await engine.request('evaluations/list', { folders: [set, model, at('gone')] });
    expect(evaluations).toMatchObject([{ readable: true, name: 'at 4 bits', folder: set }]);
    const evaluation = await engine.request('evaluations/read', { path: evaluations[0]!.path });
    expect(done.kind === 'evaluate' && done.result?.rows).toEqual(evaluation.result.rows);

    const twice = await engine.request('jobs/retry', { id: job.id }).catch((error: Error) => error.message);
    expect(twice).toMatch(/is finished/);

    const list = () => engine.request('adapters/list', { folders: [at('sets')], models: [model] });
    const named = async (name: string) => (await list()).sets.find((s) => s.name === name);
    expect(await named('command line')).toMatchObject({
      ...{ readable: true, model, matches: true },
      facts: { method: { name: 'quept', title: 'QuEPT' }, offered: [8, 7, 6, 5, 4, 3, 2] },
    });
    const { path } = await engine.request('adapters/rename', { path: set, name: 'renamed' });
    expect(path).toBe(at('sets', 'renamed'));
    expect(await named('renamed')).toMatchObject({ readable: true, matches: true });
    // Another model in its place: the set stays, and is marked.
    const backup = at('backup');
    await cp(model, backup, { recursive: true });
    await writeRandomModel(model, TINY_VIT, 9);
    expect(await named('renamed')).toMatchObject({ model, matches: false });
    await rm(model, { recursive: true });
    await cp(backup, model, { recursive: true });
    expect(await named('renamed')).toMatchObject({ model, matches: true });
    await engine.request('adapters/rename', { path, name: 'command line' });
  });
});

it('estimates a calibration without starting it', async () => {
  const engine = await open('estimate');
  await mkdir(at('sets'), { recursive: true });
  const { model } = calibration('').request;
  const estimate = await engine.request('calibrate/estimate', {
    request: { ...settings, model, data: pictures },
  });
  expect(estimate).toMatchObject({
    device: 'cpu',
    settings: {
      ...{ method: 'quept', mode: 'weight-activation', bits: [8, 7, 6, 5, 4, 3, 2], samples: 64, seed: 0 },
      facts: expect.arrayContaining([
        { label: 'epochs', value: '4' },
        { label: 'batch', value: '16' },
      ]) as object[],
    },
  });
  expect(estimate.seconds).toBeGreaterThan(0);
  expect(estimate.bytes).toBeGreaterThan(50e6);
  const refused = engine.request('calibrate/estimate', { request: { model: at('gone') } });
  await expect(refused).rejects.toMatchObject({ code: ErrorCode.userError });
  const unlisted = engine.request('exports/list', { model: at('gone'), adapters: at('gone'), bits: 4 });
  await expect(unlisted).rejects.toMatchObject({ code: ErrorCode.userError });
});
