/** Requests by HTTP and HTTPS, through the proxies that the usual variables name. */
import * as http from 'node:http';
import * as https from 'node:https';
import * as tls from 'node:tls';
import type { Socket } from 'node:net';
import { UserError } from '../errors.js';
import type { Environment } from './settings.js';

export interface Outgoing {
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** Milliseconds without a byte after which a connection counts as cut. */
  readonly patience: number;
}

/** Sends a GET. Resolves to the answer as its headers come; rejects where the connection cannot be made or is cut before. */
export async function send(url: URL, outgoing: Outgoing, env: Environment): Promise<http.IncomingMessage> {
  const { headers, signal, patience } = outgoing;
  const proxy = proxyFor(url, env);
  const options: https.RequestOptions = { headers, signal };
  if (!proxy) return answerOf(schemeOf(url).request(url, options), patience);
  if (url.protocol === 'http:') {
    const through = { ...headers, ...authorization(proxy), host: url.host };
    return answerOf(
      schemeOf(proxy).request(withoutLogin(proxy), { ...options, path: url.href, headers: through }),
      patience,
    );
  }
  const socket = await tunnel(proxy, url, outgoing);
  const createConnection = () => tls.connect({ socket, servername: bare(url) });
  // An agent, of its own too, would connect by itself.
  return answerOf(https.request(url, { ...options, createConnection }), patience);
}

const schemeOf = ({ protocol }: URL) => (protocol === 'https:' ? https : http);
/** A host without the brackets of IPv6. */
const bare = ({ hostname }: URL) => hostname.replace(/^\[|\]$/g, '');

function answerOf(request: http.ClientRequest, patience: number): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.setTimeout(patience, () => request.destroy(new Error('nothing came for too long')));
    request.on('response', resolve);
    request.on('error', reject);
    request.end();
  });
}

/** A connection to the host of `url`, which the proxy passes on as it is. */
function tunnel(proxy: URL, url: URL, { signal, patience }: Outgoing): Promise<Socket> {
  const path = `${url.hostname}:${url.port || 443}`;
  const request = schemeOf(proxy).request(withoutLogin(proxy), {
    method: 'CONNECT',
    path,
    headers: { host: path, ...authorization(proxy) },
    agent: false,
    signal,
  });
  return new Promise((resolve, reject) => {
    request.setTimeout(patience, () => request.destroy(new Error('the proxy does not answer')));
    request.on('connect', ({ statusCode = 0 }, socket: Socket) => {
      if (statusCode === 200) return resolve(socket);
      socket.destroy();
      reject(new UserError(`The proxy ${proxy.host} refuses to connect to ${url.host} (${statusCode}).`));
    });
    request.on('response', ({ statusCode }) => {
      request.destroy();
      reject(new UserError(`The proxy ${proxy.host} refuses to connect to ${url.host} (${statusCode}).`));
    });
    request.on('error', reject);
    request.end();
  });
}

/** Its name and password would be sent to the host behind the proxy. */
const withoutLogin = ({ href }: URL): URL => Object.assign(new URL(href), { username: '', password: '' });

const authorization = ({ username, password }: URL): Record<string, string> => {
  if (username === '') return {};
  const words = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(words).toString('base64')}` };
};

/** The proxy for an address; undefined where there is none for it. Throws UserError for one of another kind than HTTP. */
export function proxyFor(url: URL, env: Environment): URL | undefined {
  const scheme = url.protocol.slice(0, -1);
  const named = (name: string) => env[name] || env[name.toUpperCase()];
  const text = named(`${scheme}_proxy`) ?? named('all_proxy');
  if (!text || isExempt(url, named('no_proxy'))) return undefined;
  const address = /^[a-z][\w+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const proxy = URL.canParse(address) ? new URL(address) : undefined;
  if (proxy && ['http:', 'https:'].includes(proxy.protocol)) return proxy;
  // It may hold a password.
  throw new UserError(`The proxy for ${scheme} that the environment names is not one by HTTP.`);
}

/** By a list such as `localhost,.example.org,10.0.0.1:8080`; `*` is all. */
function isExempt(url: URL, list: string | undefined): boolean {
  const host = bare(url).toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return (list ?? '')
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean)
    .some((item) => {
      if (item === '*') return true;
      const [, name, only] = /^(.*?)(?::(\d+))?$/.exec(item)!;
      const domain = name!.replace(/^\*?\./, '');
      return (only === undefined || only === port) && (host === domain || host.endsWith(`.${domain}`));
    });
}
