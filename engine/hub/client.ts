/** Asks a hub: who asks is told to nobody else, what fails for a moment is asked again, and errors are one line. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledError, messageOf, UserError } from '../errors.js';
import type { HubId } from './id.js';
import { send } from './proxy.js';
import type { HubSettings } from './settings.js';
import { version } from '../version.js';

export interface HubClient {
  readonly settings: HubSettings;
  readonly signal: AbortSignal;
  /**
   * The answer to a GET, redirects followed, with a status below 300. Throws UserError for what the hub refuses, `Passing` for
   * what may go well another time.
   */
  get(url: string, about: HubId, range?: string): Promise<IncomingMessage>;
  /** All bytes of such an answer, again where it is cut. Throws UserError for more than `most`. */
  read(
    url: string,
    about: HubId,
    most: number,
    range?: string,
  ): Promise<{ readonly bytes: Buffer; readonly answer: IncomingMessage }>;
  /** Does `work`, again after a while where it throws `Passing`. What it throws last is a UserError. `advanced` begins the count anew. */
  again<T>(work: () => Promise<T>, advanced?: () => boolean): Promise<T>;
}

/** A failure that may be gone when it is tried again. @property after seconds to wait that were asked for */
export class Passing extends Error {
  constructor(
    message: string,
    readonly after?: number,
  ) {
    super(message);
  }
}

const MAX_REDIRECTS = 8;
const PATIENCE = 30_000;
/** Seconds before each next try. */
const PAUSES = [1, 2, 4, 8, 16];
const LONGEST_PAUSE = 60;

export interface Haste {
  readonly patience?: number;
  readonly pauses?: readonly number[];
}

export function hubClient(
  settings: HubSettings,
  signal: AbortSignal,
  { patience = PATIENCE, pauses = PAUSES }: Haste = {},
): HubClient {
  const home = new URL(settings.endpoint);

  /** Once, to one address. */
  async function ask(url: URL, range: string | undefined): Promise<IncomingMessage> {
    const headers = {
      'user-agent': `elastic-precision/${version}`,
      'accept-encoding': 'identity',
      ...(range !== undefined && { range }),
      ...(settings.token !== undefined &&
        url.origin === home.origin && { authorization: `Bearer ${settings.token}` }),
    };
    try {
      return await send(url, { headers, signal, patience }, settings.env);
    } catch (error) {
      if (signal.aborted) throw new CancelledError();
      if (error instanceof UserError) throw error;
      throw new Passing(`${url.host} cannot be reached: ${reasonOf(error)}`);
    }
  }

  async function get(address: string, about: HubId, range?: string): Promise<IncomingMessage> {
    let url = new URL(address);
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer = await ask(url, range);
      const { statusCode: status = 0, headers } = answer;
      if (status < 300) return answer;
      answer.destroy();
      if (status < 400 && headers.location !== undefined) {
        url = redirected(url, headers.location);
        continue;
      }
      if (status === 429 || status >= 500)
        throw new Passing(`${url.host} answers ${status}`, Number(headers['retry-after']) || undefined);
      throw refusalOf(status, String(headers['x-error-code'] ?? ''), about, settings);
    }
    throw new UserError(`${home.host} redirects without end.`);
  }

  async function again<T>(work: () => Promise<T>, advanced: () => boolean = () => false): Promise<T> {
    for (let failures = 0; ; failures++) {
      try {
        return await work();
      } catch (error) {
        if (signal.aborted) throw new CancelledError();
        if (!(error instanceof Passing)) throw error;
        if (advanced()) failures = 0;
        const pause = pauses[failures];
        if (pause === undefined)
          throw new UserError(`${error.message}; what has come so far is kept: try again later.`, {
            cause: error,
          });
        const seconds = Math.min(Math.max(pause, pause === 0 ? 0 : (error.after ?? 0)), LONGEST_PAUSE);
        await sleep(1000 * seconds, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) throw new CancelledError();
      }
    }
  }

  return {
    settings,
    signal,
    get,
    again,
    read: (url, about, most, range) =>
      again(async () => {
        const answer = await get(url, about, range);
        const chunks: Buffer[] = [];
        let total = 0;
        for await (const chunk of bodyOf(answer)) {
          chunks.push(chunk);
          total += chunk.length;
          if (total <= most) continue;
          answer.destroy();
          throw new UserError(`${home.host} sends more than the ${most} bytes that were asked for.`);
        }
        return { bytes: Buffer.concat(chunks), answer };
      }),
  };
}

/** What comes of an answer. Throws `Passing` where it is cut. */
export async function* bodyOf(answer: IncomingMessage): AsyncGenerator<Buffer> {
  let cause: unknown;
  try {
    for await (const chunk of answer) yield chunk as Buffer;
  } catch (error) {
    cause = error;
  }
  if (cause !== undefined || !answer.complete)
    throw new Passing(`the connection was cut (${reasonOf(cause)})`);
}

function redirected(from: URL, location: string): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  const isAllowed =
    to && (to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:'));
  if (!isAllowed) throw new UserError(`${from.host} redirects to an address that is not followed.`);
  return to;
}

/** What a refusal means, and what helps. `code` is the hub's own word for it. */
function refusalOf(
  status: number,
  code: string,
  { model, revision }: HubId,
  settings: HubSettings,
): UserError {
  const page = `${settings.endpoint}/${model}`;
  const { host } = new URL(settings.endpoint);
  const isKnown = settings.token !== undefined;
  if (code === 'GatedRepo' || (status === 403 && code === ''))
    return new UserError(
      isKnown
        ? `${model} is gated, and its terms have not been accepted with this token: accept them at ${page}, then try again.`
        : `${model} is gated: accept its terms at ${page}, and give an access token in HF_TOKEN.`,
    );
  if (code === 'RevisionNotFound') return new UserError(`${model} has no revision "${revision}" on ${host}.`);
  if (code === 'EntryNotFound')
    return new UserError(`A file of ${model} is not on ${host} any more; try again.`);
  if (status === 401 && isKnown && code !== 'RepoNotFound')
    return new UserError(
      `${host} does not know the access token; renew it in HF_TOKEN, or with "hf auth login".`,
    );
  if (status === 404 || status === 401)
    return new UserError(
      isKnown
        ? `There is no model "${model}" on ${host} that this token may read.`
        : `There is no public model "${model}" on ${host}; a private one needs an access token in HF_TOKEN.`,
    );
  return new UserError(`${host} refuses ${model} (${status}${/^\w+$/.test(code) ? ` ${code}` : ''}).`);
}

const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'its name cannot be resolved now',
  ECONNREFUSED: 'the connection is refused',
  ECONNRESET: 'the other side closed it',
  ETIMEDOUT: 'nothing came for too long',
  EPIPE: 'the other side closed it',
};

const reasonOf = (error: unknown): string =>
  error === undefined
    ? 'it ended early'
    : (REASONS[String((error as NodeJS.ErrnoException).code)] ?? messageOf(error));
