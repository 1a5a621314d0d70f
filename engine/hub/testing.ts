/** A hub on loopback for tests: its interface, and a second server that its large files are redirected to, as a hub has. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface HubRepository {
  readonly files: ReadonlyMap<string, Buffer>;
  readonly commit: string;
  readonly licence?: string;
  /** Who may read it: anybody, those with a token, or those who accepted its terms. */
  readonly access?: 'public' | 'private' | 'gated';
  /** Replaces entries of the list of files. */
  readonly listed?: (entries: object[]) => object[];
}

export interface HubRequest {
  /** `hub` or `store`. */
  readonly server: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** What goes wrong with the next answers for a file. */
export interface Fault {
  /** Answers this status, so many times. */
  readonly status?: number;
  /** Cuts the connection after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Sends other bytes. */
  readonly wrong?: Buffer;
  /** Sends all of the file whatever range is asked for. */
  readonly noRanges?: boolean;
  /** Milliseconds between pieces of 64 kB. */
  readonly slow?: number;
  readonly times?: number;
}

export interface TestHub {
  readonly endpoint: string;
  readonly requests: HubRequest[];
  add(model: string, repository: HubRepository): void;
  /** The next answers for a file of this name, or for `api`. */
  fail(name: string, fault: Fault): void;
  close(): Promise<void>;
}

export const TOKEN = 'hf_test';
/** Knows the hub, and has accepted nothing. */
export const OTHER_TOKEN = 'hf_other';
/** Entries of a list before it goes on at another address. */
const PAGE = 4;
const LARGE = /\.(safetensors|model|bin)$/;

const sha = (kind: string, bytes: Buffer | string) => createHash(kind).update(bytes).digest('hex');
export const gitHash = (bytes: Buffer): string =>
  sha('sha1', Buffer.concat([Buffer.from(`blob ${bytes.length}\0`), bytes]));

/** A repository of the files of a folder. */
export const repositoryFrom = (folder: string, more: Partial<HubRepository> = {}): HubRepository =>
  repositoryOf(
    Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))])),
    more,
  );

export function repositoryOf(
  files: Readonly<Record<string, Buffer | string>>,
  more: Partial<HubRepository> = {},
): HubRepository {
  const all = new Map(Object.entries(files).map(([name, content]) => [name, Buffer.from(content)]));
  return { files: all, commit: sha('sha1', [...all.keys()].join()), ...more };
}

export async function startHub(): Promise<TestHub> {
  const repositories = new Map<string, HubRepository>();
  const faults = new Map<string, { fault: Fault; left: number }>();
  const requests: HubRequest[] = [];

  const store = await listen((request, response) => {
    const { path } = note('store', request);
    const [, model, name] = /^\/store\/(.+)\/([^/]+)$/.exec(path)!;
    send(request, response, name!, repositories.get(model!)!.files.get(name!)!, {});
  });
  const hub = await listen((request, response) => {
    const { path } = note('hub', request);
    const fault = path.startsWith('/api/') ? faultOf('api') : undefined;
    if (fault?.status) return refuse(response, fault.status, '');
    const at = new URL(path, hub.address);
    const info = /^\/api\/models\/(.+)\/revision\/([^/]+)$/.exec(at.pathname);
    const tree = /^\/api\/models\/(.+)\/tree\/([^/]+)$/.exec(at.pathname);
    const file = /^\/(.+)\/resolve\/([^/]+)\/([^/]+)$/.exec(at.pathname);
    const [, model = '', revision = '', name = ''] = info ?? tree ?? file ?? [];
    const repository = repositories.get(model);
    const refusal = refusalOf(repository, request, decodeURIComponent(revision), file !== null);
    if (refusal) return refuse(response, ...refusal);
    response.setHeader('x-repo-commit', repository!.commit);
    if (info) return json(response, about(model, repository!));
    if (tree) return list(response, at, repository!);
    const content = repository!.files.get(decodeURIComponent(name));
    if (!content) return refuse(response, 404, 'EntryNotFound');
    if (!LARGE.test(name)) return send(request, response, name, content, { etag: `"${gitHash(content)}"` });
    response.writeHead(302, {
      location: `${store.address}/store/${model}/${name}?signature=1`,
      'x-linked-etag': `"${sha('sha256', content)}"`,
      'x-linked-size': content.length,
    });
    response.end();
  });

  function note(server: string, { url = '', headers }: IncomingMessage): HubRequest {
    const path = server === 'store' ? url.replace(/\?.*/, '') : url;
    const request = { server, path, range: headers.range, authorization: headers.authorization };
    requests.push(request);
    return request;
  }

  function faultOf(name: string): Fault | undefined {
    const found = faults.get(name);
    if (!found) return undefined;
    if (--found.left === 0) faults.delete(name);
    return found.fault;
  }

  function list(response: ServerResponse, at: URL, { files, listed = (all) => all }: HubRepository): void {
    const entries = listed([...files].map(([name, content]) => entryOf(name, content)));
    const from = Number(at.searchParams.get('cursor') ?? 0);
    if (from + PAGE < entries.length) {
      at.searchParams.set('cursor', String(from + PAGE));
      response.setHeader('link', `<${at.href}>; rel="next"`);
    }
    json(response, entries.slice(from, from + PAGE));
  }

  function send(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    content: Buffer,
    headers: Record<string, string>,
  ): void {
    const fault = faultOf(name);
    if (fault?.status) return refuse(response, fault.status, '');
    const bytes = fault?.wrong ?? content;
    const [, from, to] = (!fault?.noRanges && /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')) || [];
    const begin = Number(from ?? 0);
    const end = to ? Math.min(Number(to) + 1, bytes.length) : bytes.length;
    response.writeHead(from === undefined ? 200 : 206, {
      ...headers,
      'accept-ranges': 'bytes',
      'content-length': end - begin,
      ...(from !== undefined && { 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}` }),
    });
    void pour(response, bytes.subarray(begin, end), fault ?? {});
  }

  return {
    endpoint: hub.address,
    requests,
    add: (model, repository) => repositories.set(model, repository),
    fail: (name, fault) => faults.set(name, { fault, left: fault.times ?? 1 }),
    close: async () => {
      await Promise.all([hub.close(), store.close()]);
    },
  };
}

async function pour(response: ServerResponse, bytes: Buffer, { cutAfter, slow }: Fault): Promise<void> {
  const end = Math.min(cutAfter ?? bytes.length, bytes.length);
  for (let at = 0; at < end; at += 1 << 16) {
    await new Promise<void>((done) =>
      response.write(bytes.subarray(at, Math.min(end, at + (1 << 16))), () => done()),
    );
    if (slow) await new Promise((done) => setTimeout(done, slow));
  }
  if (cutAfter === undefined) response.end();
  else response.destroy();
}

/** As the hub refuses: who is not known is told of nothing that is private, and of what is gated that it is. */
function refusalOf(
  repository: HubRepository | undefined,
  { headers }: IncomingMessage,
  revision: string,
  isFile: boolean,
): [number, string] | undefined {
  const token = headers.authorization?.replace(/^Bearer /, '');
  if (token !== undefined && ![TOKEN, OTHER_TOKEN].includes(token)) return [401, ''];
  if (!repository || (repository.access === 'private' && token !== TOKEN))
    return token === undefined ? [401, 'RepoNotFound'] : [404, 'RepoNotFound'];
  if (revision !== 'main' && revision !== repository.commit) return [404, 'RevisionNotFound'];
  if (repository.access === 'gated' && isFile && token !== TOKEN)
    return token === undefined ? [401, 'GatedRepo'] : [403, 'GatedRepo'];
  return undefined;
}

const about = (model: string, { commit, licence, access }: HubRepository) => ({
  ...{
    _id: '1',
    id: model,
    sha: commit,
    private: access === 'private',
    gated: access === 'gated' && 'manual',
  },
  ...{ downloads: 0, likes: 0, lastModified: '2024-01-01T00:00:00.000Z' },
  tags: licence === undefined ? [] : [`license:${licence}`],
  ...(licence !== undefined && { cardData: { license: licence } }),
});

const entryOf = (path: string, content: Buffer) => ({
  ...{ type: 'file', path, size: content.length },
  ...(LARGE.test(path)
    ? { oid: sha('sha1', path), lfs: { oid: sha('sha256', content), size: content.length, pointerSize: 130 } }
    : { oid: gitHash(content) }),
});

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, {
    ...(code !== '' && { 'x-error-code': code }),
    'content-type': 'application/json',
  });
  response.end(JSON.stringify({ error: code }));
}

async function listen(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ readonly address: string; close(): Promise<void> }> {
  const server: Server = createServer(answer);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
