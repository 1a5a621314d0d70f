import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect, type Socket } from 'node:net';
import { existsSync } from 'node:fs';
import {
  lstat,
  mkdir,
  readFile,
  readlink,
  readdir,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CancelledError } from '../errors.js';
import { complaint, safetensorsBytes, useTemporaryFolder } from '../formats/testing.js';
import { cachedModel, modelFolder, repositoryOf as repositoryIn } from './cache.js';
import { hubClient } from './client.js';
import { getModel } from './get.js';
import { parseHubId } from './id.js';
import { proxyFor } from './proxy.js';
import { listModel } from './listing.js';
import { headersOf } from './outline.js';
import { hubSettings, type Environment } from './settings.js';
import { OTHER_TOKEN, repositoryOf, startHub, TOKEN, type HubRepository, type TestHub } from './testing.js';

const at = useTemporaryFolder();
let hub: TestHub;
beforeEach(async () => {
  hub = await startHub();
});
afterEach(() => hub.close());

const WEIGHTS = safetensorsBytes({ w: { dtype: 'F32', shape: [250_000], data_offsets: [0, 1e6] } }, 1e6);
WEIGHTS.fill(7, 200);
const FILES = {
  'config.json': '{"model_type":"none"}',
  'tokenizer.json': '{}',
  'pytorch_model.bin': 'pickle',
  'modeling_own.py': 'import os',
  'README.md': '# A model',
  'model.safetensors': WEIGHTS,
};
const publish = (more: Partial<HubRepository> = {}, files: Record<string, Buffer | string> = FILES) =>
  hub.add('org/name', repositoryOf(files, more));

const ID = parseHubId('org/name');
const HASTE = { pauses: [0, 0, 0], patience: 2000 };
const environment = (more: Environment = {}): Environment => ({
  HF_ENDPOINT: hub.endpoint,
  HF_HOME: at('home'),
  HF_HUB_CACHE: at('cache'),
  ...more,
});
const clientOf = (more: Environment = {}, signal = new AbortController().signal) =>
  hubClient(hubSettings(environment(more)), signal, HASTE);

async function get(more: Environment = {}, id = ID) {
  const client = clientOf(more);
  const seen: number[] = [];
  const got = await getModel(client, await listModel(client, id), ({ bytes }) => seen.push(bytes));
  return { ...got, seen };
}
const unfinished = () =>
  readdir(at('cache', 'models--org--name', 'blobs')).then((names) =>
    names.filter((n) => n.includes('incomplete')),
  );
/** Comparing a million elements one by one takes seconds. */
const isWhole = async (folder: string) => (await readFile(join(folder, 'model.safetensors'))).equals(WEIGHTS);
const asked = (name: string) => hub.requests.filter(({ path }) => path.includes(name));

describe('a model of the hub', () => {
  it('is downloaded without pickles and code into the layout of the cache', async () => {
    publish({ licence: 'apache-2.0' });
    const listing = await listModel(clientOf(), ID);
    expect(listing.licence).toBe('apache-2.0');
    expect(listing.files.map(({ name }) => name)).toEqual([
      'config.json',
      'tokenizer.json',
      'model.safetensors',
    ]);
    const { folder, bytes, downloaded, seen } = await get();
    expect(folder).toBe(at('cache', 'models--org--name', 'snapshots', listing.commit));
    expect((await readdir(folder)).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect((await lstat(join(folder, 'model.safetensors'))).isSymbolicLink()).toBe(true);
    expect(await readlink(join(folder, 'config.json'))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/);
    expect(await isWhole(folder)).toBe(true);
    expect(await readFile(at('cache', 'models--org--name', 'refs', 'main'), 'utf8')).toBe(listing.commit);
    expect([bytes, downloaded, seen.at(-1)]).toEqual(
      Array(3).fill(FILES['config.json'].length + 2 + WEIGHTS.length),
    );
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  it('is not downloaded again, and what is missing alone is', async () => {
    publish();
    await get();
    expect(asked('resolve').length).toBe(3);
    expect((await get()).downloaded).toBe(0);
    expect(asked('resolve').length).toBe(3);
  });

  it('of several shards comes with those that its index names', async () => {
    const index = {
      weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors', c: 'model-1.safetensors' },
    };
    publish(
      {},
      {
        ...without('model.safetensors'),
        'model.safetensors.index.json': JSON.stringify(index),
        'model-1.safetensors': WEIGHTS,
        'model-2.safetensors': WEIGHTS,
        'model-3.safetensors': 'other',
      },
    );
    const { files } = await listModel(clientOf(), ID);
    expect(files.map(({ name }) => name)).toEqual([
      ...['config.json', 'tokenizer.json', 'model.safetensors.index.json'],
      ...['model-1.safetensors', 'model-2.safetensors'],
    ]);
  });

  it('is described by the headers of its weights alone', async () => {
    const long = {
      w: { dtype: 'U8', shape: [10], data_offsets: [0, 10] },
      __metadata__: { note: 'x'.repeat(400_000) },
    };
    publish({}, { ...FILES, 'model.safetensors': safetensorsBytes(long, 10) });
    const client = clientOf();
    const [header] = await headersOf(client, await listModel(client, ID));
    expect(JSON.parse(Buffer.from(header!.header).toString())).toEqual(long);
    expect(asked('/store/').map(({ range }) => range)).toEqual([
      expect.stringMatching(/^bytes=0-/),
      expect.stringMatching(/^bytes=0-4\d{5}$/),
    ]);
  });
});

const without = (name: string) => Object.fromEntries(Object.entries(FILES).filter(([key]) => key !== name));

describe('a connection that is cut', () => {
  it('is resumed by a range, several times', async () => {
    publish();
    hub.fail('model.safetensors', { cutAfter: 150_000, times: 5 });
    await get();
    const ranges = asked('/store/').map(({ range }) => range);
    expect(ranges.length).toBe(6);
    expect(ranges[0]).toBeUndefined();
    const begins = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range!)![1]));
    expect(begins.every((begin, i) => begin > (begins[i - 1] ?? 0))).toBe(true);
  });

  it('that stays cut keeps what came, and another call goes on from it', async () => {
    publish();
    hub.fail('model.safetensors', { status: 503, times: 9 });
    expect(await complaint(get)).toMatch(/127\.0\.0\.1:\d+ answers 503; what has come so far is kept/);
    hub.fail('model.safetensors', { cutAfter: 300_000, times: 1 });
    const client = clientOf();
    const stop = new AbortController();
    const stopped = hubClient(client.settings, stop.signal, HASTE);
    const listing = await listModel(client, ID);
    const running = getModel(stopped, listing, ({ bytes }) => bytes > 100_000 && stop.abort());
    await expect(running).rejects.toThrow(CancelledError);
    const [name] = await unfinished();
    const { size } = await stat(at('cache', 'models--org--name', 'blobs', name!));
    expect(size).toBeGreaterThan(0);
    expect(size).toBeLessThan(WEIGHTS.length);
    expect(cachedModel(ID, at('cache'))).toBeUndefined();
    hub.requests.length = 0;
    const { downloaded } = await get();
    expect(downloaded).toBe(WEIGHTS.length - size);
    expect(asked('/store/')[0]!.range).toBe(`bytes=${size}-`);
    expect(await unfinished()).toEqual([]);
  });

  it('goes on from the beginning where the server knows no ranges', async () => {
    publish();
    const client = clientOf();
    const listing = await listModel(client, ID);
    await mkdir(at('cache', 'models--org--name', 'blobs'), { recursive: true });
    const blob = at('cache', 'models--org--name', 'blobs', listing.files.at(-1)!.hash.hex);
    await writeFile(`${blob}.elastic-precision.incomplete`, WEIGHTS.subarray(0, 1000));
    hub.fail('model.safetensors', { noRanges: true, times: 1 });
    const { folder } = await get();
    expect(await isWhole(folder)).toBe(true);
  });

  it('counts as cut where nothing comes for too long', async () => {
    publish();
    hub.fail('model.safetensors', { slow: 1500, times: 1 });
    const client = hubClient(hubSettings(environment()), new AbortController().signal, {
      ...HASTE,
      patience: 300,
    });
    await getModel(client, await listModel(client, ID), () => undefined);
    expect(asked('/store/').map(({ range }) => range)).toEqual([undefined, 'bytes=65536-']);
  });

  it('is tried again where the hub is busy', async () => {
    publish();
    hub.fail('api', { status: 502, times: 2 });
    hub.fail('config.json', { status: 429, times: 1 });
    expect((await get()).downloaded).toBeGreaterThan(0);
  });
});

describe('bytes that are not those of the hub', () => {
  it('are thrown away: of another hash', async () => {
    publish();
    hub.fail('model.safetensors', { wrong: Buffer.alloc(WEIGHTS.length, 1), times: 9 });
    expect(await complaint(get)).toMatch(
      /model\.safetensors of org\/name is not the file that the hub has: its hash is wrong/,
    );
    expect(await unfinished()).toEqual([]);
    expect(cachedModel(ID, at('cache'))).toBeUndefined();
  });

  it('are thrown away: a small file of another hash', async () => {
    publish();
    hub.fail('config.json', { wrong: Buffer.alloc(FILES['config.json'].length, 1), times: 9 });
    expect(await complaint(get)).toMatch(/config\.json of org\/name is not the file/);
  });

  it('are fetched anew where they were left by an earlier try', async () => {
    publish();
    const { files } = await listModel(clientOf(), ID);
    const blobs = at('cache', 'models--org--name', 'blobs');
    await mkdir(blobs, { recursive: true });
    await writeFile(
      join(blobs, `${files.at(-1)!.hash.hex}.elastic-precision.incomplete`),
      Buffer.alloc(5000, 9),
    );
    const { folder } = await get();
    expect(await isWhole(folder)).toBe(true);
  });

  it('are not taken beyond what was announced', async () => {
    publish();
    hub.fail('model.safetensors', { wrong: Buffer.concat([WEIGHTS, Buffer.alloc(10)]), times: 9 });
    expect(await complaint(get)).toMatch(/larger than the \d+ bytes that the hub announced/);
    hub.fail('config.json', { wrong: Buffer.alloc(9000), times: 9 });
    expect(await complaint(get)).toMatch(/larger than the \d+ bytes that the hub announced/);
  });

  it('a blob that was cut off counts as missing', async () => {
    publish();
    const { folder } = await get();
    await truncate(join(folder, 'model.safetensors'), 1000);
    expect((await get()).downloaded).toBe(WEIGHTS.length);
    expect(await isWhole(folder)).toBe(true);
  });
});

it.runIf(existsSync('/dev/full'))('a full drive is one line, and is not asked for more', async () => {
  publish();
  const { files } = await listModel(clientOf(), ID);
  const blobs = at('cache', 'models--org--name', 'blobs');
  await mkdir(blobs, { recursive: true });
  await symlink('/dev/full', join(blobs, `${files.at(-1)!.hash.hex}.elastic-precision.incomplete`));
  expect(await complaint(get)).toMatch(/^Cannot write .*: no space left on the drive\.$/);
  expect(asked('/store/').length).toBe(1);
});

describe('names from the hub', () => {
  const hash = 'a'.repeat(40);
  it.each([
    '../evil.json',
    '/etc/passwd',
    'a\\..\\config.json',
    'sub/config.json',
    '..',
    'C:config.json',
    'config.json\0',
  ])('%j stays out of the folder', async (path) => {
    publish({ listed: (entries) => [...entries, { type: 'file', path, size: 3, oid: hash }] });
    const { files } = await listModel(clientOf(), ID);
    expect(files.map(({ name }) => name)).toEqual(['config.json', 'tokenizer.json', 'model.safetensors']);
  });

  it.each([
    '../../evil.safetensors',
    '/evil.safetensors',
    'model.py',
    'absent.safetensors',
    'sub/model.safetensors',
  ])('an index that names %j is refused', async (name) => {
    const index = JSON.stringify({ weight_map: { a: name } });
    publish(
      {
        listed: (entries) => [
          ...entries,
          { type: 'file', path: name === 'absent.safetensors' ? 'x' : name, size: 3, oid: hash },
        ],
      },
      { ...without('model.safetensors'), 'model.safetensors.index.json': index },
    );
    expect(await complaint(() => listModel(clientOf(), ID))).toMatch(/which is no file of its folder/);
  });

  it.each([
    { oid: '../../../x' },
    { oid: undefined },
    { oid: hash, size: -1 },
    { oid: hash, size: 1.5 },
    { oid: hash, lfs: { oid: '../x', size: 3 } },
  ])('a hash or size that is none is refused: %j', async (more) => {
    publish({ listed: (entries) => [{ type: 'file', path: 'vocab.txt', size: 3, ...more }, ...entries] });
    expect(await complaint(() => listModel(clientOf(), ID))).toMatch(
      /does not say the size and hash of "vocab\.txt"/,
    );
  });

  it('a model of pickles is refused', async () => {
    publish({}, without('model.safetensors'));
    expect(await complaint(() => listModel(clientOf(), ID))).toMatch(/no safetensors weights/);
  });
});

describe('who asks', () => {
  it('is told to the hub alone, not to where it redirects', async () => {
    publish({ access: 'private' });
    await get({ HF_TOKEN: TOKEN });
    const from = (server: string) => hub.requests.filter((request) => request.server === server);
    expect(from('hub').every(({ authorization }) => authorization === `Bearer ${TOKEN}`)).toBe(true);
    expect(from('store').length).toBeGreaterThan(0);
    expect(from('store').every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it('is known by the token file of Hugging Face', async () => {
    publish({ access: 'private' });
    await mkdir(at('home'));
    await writeFile(at('home', 'token'), `${TOKEN}\n`);
    expect((await get()).downloaded).toBeGreaterThan(0);
    expect(await complaint(() => get({ HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }))).toMatch(
      /no public model "org\/name"/,
    );
    await writeFile(at('other'), TOKEN);
    expect((await get({ HF_HOME: at('none'), HF_TOKEN_PATH: at('other') })).downloaded).toBe(0);
  });

  it('a list that goes on at another address is not followed', async () => {
    publish({ access: 'private' });
    const other = createServer((request, response) => {
      response.writeHead(200, {
        'content-type': 'application/json',
        link: `<http://127.0.0.1:1/next>; rel="next"`,
      });
      response.end(
        JSON.stringify(request.url!.includes('/tree/') ? [] : { id: 'org/name', sha: 'a'.repeat(40) }),
      );
    });
    await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
    const HF_ENDPOINT = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    expect(await complaint(() => get({ HF_ENDPOINT, HF_TOKEN: TOKEN }))).toMatch(
      /continues its list elsewhere/,
    );
    other.close();
  });
});

describe('what the hub refuses is one line with what helps', () => {
  it.each([
    [
      'gated',
      {},
      /org\/name is gated: accept its terms at http:\/\/127\.0\.0\.1:\d+\/org\/name, and give an access token in HF_TOKEN/,
    ],
    [
      'gated',
      { HF_TOKEN: OTHER_TOKEN },
      /gated, and its terms have not been accepted with this token: accept them at http/,
    ],
    ['private', {}, /no public model "org\/name" on 127\.0\.0\.1.*access token in HF_TOKEN/],
    ['private', { HF_TOKEN: OTHER_TOKEN }, /no model "org\/name" on .* that this token may read/],
    ['public', { HF_TOKEN: 'hf_unknown' }, /does not know the access token/],
  ] as const)('%s, %j', async (access, env, message) => {
    publish({ access });
    expect(await complaint(() => get(env))).toMatch(message);
  });

  it('no such model, and no such revision', async () => {
    publish();
    expect(await complaint(() => get({}, parseHubId('org/other')))).toMatch(/no public model "org\/other"/);
    expect(await complaint(() => get({}, parseHubId('org/name@v2')))).toMatch(
      /org\/name has no revision "v2"/,
    );
  });

  it('a server that is none, cannot be reached, or speaks otherwise', async () => {
    publish();
    expect(await complaint(() => get({ HF_ENDPOINT: 'http://127.0.0.1:1' }))).toMatch(
      /cannot be reached: the connection is refused/,
    );
    expect(await complaint(() => get({ HF_ENDPOINT: 'ftp://hub' }))).toMatch(/HF_ENDPOINT is "ftp:\/\/hub"/);
    expect(await complaint(() => get({ HF_HUB_OFFLINE: '1' }))).toMatch(/HF_HUB_OFFLINE is set/);
    expect(await complaint(() => get({ HF_TOKEN: 'a b' }))).toMatch(
      /HF_TOKEN holds something that is not an access token/,
    );
  });
});

it('goes through the proxy that the environment names, except where it says not to', async () => {
  publish();
  const through: string[] = [];
  const proxy = createServer((request, response) => {
    through.push(request.url!);
    expect(request.headers.authorization).toBeUndefined();
    expect(request.headers['proxy-authorization']).toMatch(/^Basic /);
    const to = new URL(request.url!);
    const socket = connect(Number(to.port), to.hostname, () => {
      const range = request.headers.range ? `range: ${request.headers.range}\r\n` : '';
      socket.write(
        `GET ${to.pathname}${to.search} HTTP/1.1\r\nhost: ${to.host}\r\n${range}connection: close\r\n\r\n`,
      );
      socket.pipe(response.socket!);
    });
  });
  await new Promise<void>((done) => proxy.listen(0, '127.0.0.1', done));
  const http_proxy = `http://me:secret@127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  await get({ http_proxy });
  expect(through.length).toBe(hub.requests.length);
  await get({ http_proxy, NO_PROXY: 'localhost,127.0.0.1' });
  expect(through.length).toBeLessThan(hub.requests.length);
  proxy.closeAllConnections();
  proxy.close();
});

describe('a proxy before HTTPS', () => {
  async function proxied(accepts: boolean) {
    const asked: (string | undefined)[] = [];
    let first = Buffer.alloc(0);
    const proxy = createServer();
    proxy.on('connect', ({ url, headers }, socket: Socket) => {
      asked.push(url, headers['proxy-authorization'], headers.authorization);
      socket.on('error', () => undefined);
      if (!accepts) return socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.once('data', (chunk) => {
        first = chunk;
        socket.destroy();
      });
    });
    await new Promise<void>((done) => proxy.listen(0, '127.0.0.1', done));
    const { port } = proxy.address() as AddressInfo;
    const message = await complaint(() =>
      get({
        ...{ HF_ENDPOINT: 'https://hub.test', HF_TOKEN: TOKEN },
        HTTPS_PROXY: `http://me:p%40ss@127.0.0.1:${port}`,
      }),
    );
    proxy.closeAllConnections();
    proxy.close();
    return { asked, first, message };
  }

  it('passes on what it cannot read, and hears of no token', async () => {
    const { asked, first } = await proxied(true);
    const login = `Basic ${Buffer.from('me:p@ss').toString('base64')}`;
    expect(asked.slice(0, 3)).toEqual(['hub.test:443', login, undefined]);
    // The beginning of a TLS handshake, for that host.
    expect(first[0]).toBe(0x16);
    expect(first.includes('hub.test')).toBe(true);
    expect(first.includes(TOKEN)).toBe(false);
  });

  it('that refuses is named, and its password is not', async () => {
    const { message } = await proxied(false);
    expect(message).toMatch(/^The proxy 127\.0\.0\.1:\d+ refuses to connect to hub\.test \(407\)\.$/);
  });

  it.each([
    ['https://a.example.org/x', 'example.org', true],
    ['https://a.example.org/x', '.example.org', true],
    ['https://badexample.org/x', 'example.org', false],
    ['https://a.org:8443/x', 'a.org:8443', true],
    ['https://a.org/x', 'a.org:8443', false],
    ['https://a.org/x', '*', true],
    ['https://a.org/x', '', false],
  ])('%s is exempt by NO_PROXY=%j: %j', (url, list, isExempt) => {
    const env = { https_proxy: 'proxy:3128', NO_PROXY: list };
    expect(proxyFor(new URL(url), env)?.href).toBe(isExempt ? undefined : 'http://proxy:3128/');
  });

  it('of another kind is refused without telling its password', async () => {
    const env = { ALL_PROXY: 'socks5://me:secret@127.0.0.1' };
    expect(await complaint(() => get(env))).toMatch(/The proxy for http .* is not one by HTTP/);
  });
});

describe('where a folder is asked for', () => {
  it('the name of a model in the cache is its folder', async () => {
    publish();
    const { folder } = await get();
    expect(modelFolder('org/name', environment())).toBe(folder);
    expect(modelFolder('org/name@main', environment())).toBe(folder);
    expect(modelFolder(`org/name@${folder.slice(-40)}`, environment())).toBe(folder);
  });

  it('one that is not there is refused by the command that gets it, and a folder stays what it is', async () => {
    expect(await complaint(() => modelFolder('org/name', environment()))).toMatch(
      /elastic-precision get org\/name$/,
    );
    expect(modelFolder(at(), environment())).toBe(at());
    expect(modelFolder('./none', environment())).toBe('./none');
    expect(modelFolder('none', environment())).toBe('none');
  });
});

it.each([
  'a/b/c',
  '../x',
  'a/..',
  'a--b/c',
  '.a/b',
  'a/b@',
  'a/b@../x',
  'a/b@x.lock',
  'a/b@-/../x',
  'a b/c',
  '',
  'a/b@x@y',
])('%j is no name of a model', async (text) => {
  expect(await complaint(() => parseHubId(text))).toMatch(/is not the name of a model of the hub/);
  expect(existsSync(repositoryIn(at(), ID))).toBe(false);
});
