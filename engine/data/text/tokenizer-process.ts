/**
 * A tokenizer in a process of its own, which is bounded in time and memory and can be ended at any moment: the library
 * aborts on its own defects, and a forged file can make it work for ever.
 */
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { findEntry, forkEntry } from '../../entry.js';
import { CancelledError, UserError } from '../../errors.js';
import type { LoadedTokenizer, Special, TokenizerFacts, TokenizerFiles } from './tokenizer-library.js';

export type Work =
  | { readonly kind: 'open'; readonly files: TokenizerFiles }
  | { readonly kind: 'encode'; readonly texts: readonly string[]; readonly special: Special }
  | { readonly kind: 'decode'; readonly ids: readonly number[] };

/** `memory`: bytes that the process may have while it works. */
export type ToTokenizer = Work & { readonly memory: number };
export type FromTokenizer =
  { readonly result: unknown } | { readonly error: string; readonly isDefect: boolean };

/** What the process prints before it ends for want of memory. */
export const OUT_OF_MEMORY = 'More memory than allowed.\n';

/** A tokenizer that may run elsewhere; aborting `signal` ends what it does, with CancelledError. */
export interface RemoteTokenizer {
  facts(signal?: AbortSignal): Promise<TokenizerFacts>;
  encode(texts: readonly string[], special: Special, signal?: AbortSignal): Promise<Uint32Array[]>;
  decode(ids: readonly number[], signal?: AbortSignal): Promise<string>;
}

const ENTRY = 'tokenizer.js';
const MIB = 2 ** 20;
/** Ten times what the largest tokenizers and texts took on a slow machine. */
const SECONDS = 60;
const SECONDS_PER_MIB = 20;
/** Twice what tokenizers take per character of their file, and texts that make a token of each. */
const MEMORY = 512 * MIB;
const MEMORY_PER_FILE_CHARACTER = 128;
const MOST_FILE_MEMORY = 4096 * MIB;
const MEMORY_PER_CHARACTER = 256;
/** Without work for so long the process ends; the next request starts another. */
const IDLE_MILLISECONDS = 10_000;

/**
 * The tokenizer that `read` gives the files of; they are read again when its process has ended. Unbundled, as in unit
 * tests, it runs in this process.
 */
export function remoteTokenizer(read: () => Promise<TokenizerFiles>): RemoteTokenizer {
  return findEntry(ENTRY) === undefined ? local(read) : inProcess(read);
}

function local(read: () => Promise<TokenizerFiles>): RemoteTokenizer {
  let loading: Promise<LoadedTokenizer> | undefined;
  const load = () =>
    (loading ??= Promise.all([import('./tokenizer-library.js'), read()]).then(([library, files]) =>
      library.loadTokenizer(files),
    ));
  return {
    facts: async () => (await load()).facts,
    encode: async (texts, special) => (await load()).encode(texts, special),
    decode: async (ids) => (await load()).decode(ids),
  };
}

function inProcess(read: () => Promise<TokenizerFiles>): RemoteTokenizer {
  let running: TokenizerProcess | undefined;
  let facts: TokenizerFacts | undefined;
  let idle: NodeJS.Timeout | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  const stop = () => {
    running?.kill();
    running = undefined;
  };
  /** Answers one request after another. */
  const ask = (work: Work | undefined, characters: number, signal?: AbortSignal): Promise<unknown> => {
    const answer = turn.then(async () => {
      clearTimeout(idle);
      if (signal?.aborted) throw new CancelledError();
      try {
        if (running === undefined) {
          const files = await read();
          const started = startTokenizer(() => {
            if (running === started) running = undefined;
          });
          running = started;
          facts = (await running.ask({ kind: 'open', files }, files.json.length, signal)) as TokenizerFacts;
        }
        return work === undefined ? facts : await running.ask(work, characters, signal);
      } catch (error) {
        stop();
        throw error;
      } finally {
        idle = setTimeout(stop, IDLE_MILLISECONDS).unref();
      }
    });
    turn = answer.catch(() => undefined);
    return answer;
  };
  return {
    facts: (signal) => ask(undefined, 0, signal) as Promise<TokenizerFacts>,
    encode: (texts, special, signal) => {
      const characters = texts.reduce((sum, text) => sum + text.length, 0);
      return ask({ kind: 'encode', texts, special }, characters, signal) as Promise<Uint32Array[]>;
    },
    decode: (ids, signal) => ask({ kind: 'decode', ids }, 8 * ids.length, signal) as Promise<string>,
  };
}

export interface TokenizerProcess {
  /**
   * What the library answers; `characters` says how much there is to do. UserError where it refuses, ends its process, or
   * goes beyond its bounds, which ends the process too.
   */
  ask(work: Work, characters: number, signal?: AbortSignal): Promise<unknown>;
  kill(): void;
}

/** A process that opens one tokenizer after another. @param gone is called when it has ended */
export function startTokenizer(gone: () => void = () => undefined): TokenizerProcess {
  let printed = '';
  let memory = MEMORY;
  const child = forkEntry(ENTRY, (text) => (printed = (printed + text).slice(0, 4096)));
  // Between requests it keeps nobody from ending.
  for (const handle of [child, child.stdout as Socket | null, child.stderr as Socket | null]) handle?.unref();
  child.on('error', gone).on('close', gone);
  const kill = () => void child.kill('SIGKILL');
  const ask = (work: Work, characters: number, signal?: AbortSignal) =>
    new Promise<unknown>((resolve, reject) => {
      const seconds = SECONDS + SECONDS_PER_MIB * (characters / MIB);
      const late = setTimeout(() => {
        kill();
        settle(() =>
          reject(refusal(work, `took longer than ${Math.round(seconds)} s, so its patterns are too costly`)),
        );
      }, seconds * 1000);
      const cancel = () => {
        kill();
        settle(() => reject(new CancelledError()));
      };
      const answered = (answer: FromTokenizer) =>
        settle(() => {
          if ('result' in answer) resolve(answer.result);
          else
            reject(answer.isDefect ? refusal(work, `failed (${answer.error})`) : new UserError(answer.error));
        });
      const failed = (error: Error) => settle(() => reject(error));
      const ended = (code: number | null, how: NodeJS.Signals | null) =>
        settle(() => reject(refusal(work, reasonOf(printed, how ?? `exit code ${code ?? 0}`))));
      const settle = (then: () => void) => {
        clearTimeout(late);
        signal?.removeEventListener('abort', cancel);
        child.off('message', answered).off('error', failed).off('close', ended);
        child.channel?.unref();
        then();
      };
      if (work.kind === 'open')
        memory = MEMORY + Math.min(MOST_FILE_MEMORY, MEMORY_PER_FILE_CHARACTER * work.files.json.length);
      signal?.addEventListener('abort', cancel);
      child.channel?.ref();
      child.on('message', answered).on('error', failed).on('close', ended);
      send(child, { ...work, memory: memory + MEMORY_PER_CHARACTER * characters });
      if (signal?.aborted) cancel();
    });
  return { ask, kill };
}

function send(child: ChildProcess, message: ToTokenizer): void {
  // Where it has ended, `close` says so.
  if (child.connected) child.send(message, () => undefined);
}

const DOES = { open: 'opening it', encode: 'encoding a text', decode: 'decoding tokens' };

const refusal = ({ kind }: Work, problem: string) =>
  new UserError(`tokenizer.json: ${DOES[kind]} ${problem}.`);

function reasonOf(printed: string, how: string): string {
  if (printed.includes(OUT_OF_MEMORY)) return 'takes too much memory';
  const [, panic] = /panicked at [^\n]*\n([^\n]+)/.exec(printed) ?? [];
  return `ended the tokenizer's process (${panic?.trim() ?? how})`;
}
