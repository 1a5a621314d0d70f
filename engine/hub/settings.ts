/** Where a hub is, where its models are kept, and who asks: by the variables that Hugging Face's own tools read. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { show } from '../formats/paths.js';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** The folder of `models--…`, absolute. */
  readonly cache: string;
  readonly token?: string;
  /** Proxies are found in it. */
  readonly env: Environment;
}

const ENDPOINT = 'https://huggingface.co';

/** Throws UserError where `HF_HUB_OFFLINE` forbids to ask, and for an endpoint that is none. */
export function hubSettings(env: Environment = process.env): HubSettings {
  if (isSet(env.HF_HUB_OFFLINE) || isSet(env.TRANSFORMERS_OFFLINE))
    throw new UserError('HF_HUB_OFFLINE is set: nothing is asked of the hub.');
  const token = tokenOf(env);
  return { endpoint: endpointOf(env), cache: hubCache(env), ...(token !== undefined && { token }), env };
}

/** Where models of the hub are kept: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in the user's cache folder. */
export const hubCache = (env: Environment = process.env): string =>
  resolve(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(hubHome(env), 'hub'));

const hubHome = (env: Environment): string =>
  env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');

function endpointOf({ HF_ENDPOINT: named }: Environment): string {
  const text = named?.trim() || ENDPOINT;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.search || url.hash)
    throw new UserError(`HF_ENDPOINT is ${show(text)}, which is not the address of a hub.`);
  return url.href.replace(/\/+$/, '');
}

function tokenOf(env: Environment): string | undefined {
  const typed = (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN)?.trim();
  if (typed) return checked(typed, 'HF_TOKEN');
  if (isSet(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const path = env.HF_TOKEN_PATH || join(hubHome(env), 'token');
  try {
    const kept = readFileSync(path, 'utf8').trim();
    return kept === '' ? undefined : checked(kept, path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    return undefined;
  }
}

/** It goes into a header, which takes no other characters; it is never shown. */
function checked(token: string, where: string): string {
  if (/^[\x21-\x7e]{1,4096}$/.test(token)) return token;
  throw new UserError(`${where} holds something that is not an access token.`);
}

const isSet = (value: string | undefined): boolean => /^(1|true|yes|on)$/i.test(value ?? '');
