/**
 * A file that was exported, in the runtime that it is for. That is not ours: it runs in a process of its own, whose end takes
 * nobody along.
 */
import { basename } from 'node:path';
import { forkEntry } from '../entry.js';
import { CancelledError, UserError } from '../errors.js';

/** What is run, and in what. */
export interface ForeignFile {
  readonly kind: 'onnx' | 'gguf';
  readonly path: string;
  /** Inputs of an ONNX file that hold what came before a text, empty: their shapes, by their names. */
  readonly caches?: Readonly<Record<string, readonly number[]>>;
  /** The most tokens of a text. */
  readonly tokens?: number;
  readonly threads?: number;
  /** Where the library lies that runs it, of GGUF. */
  readonly library?: string;
}

export type ForeignWork =
  | { readonly kind: 'open'; readonly file: ForeignFile }
  | { readonly kind: 'text'; readonly ids: Int32Array }
  /** Of the tokens `from` to `to` (not included) of the latest text; those before them were asked for already. */
  | { readonly kind: 'logits'; readonly from: number; readonly to: number }
  | { readonly kind: 'pictures'; readonly pixels: Float32Array; readonly shape: readonly number[] };

export type ToForeign = ForeignWork & { readonly id: number };
export type FromForeign = { readonly id: number } & (
  { readonly result: Float32Array | string | undefined } | { readonly error: string }
);

export interface ForeignModel {
  /** Begins a text. */
  text(ids: Int32Array): Promise<void>;
  /**
   * Logits, or logarithms of probabilities, of the tokens `from` to `to` (not included): [to − from, vocabulary]. A text is read
   * once, from its beginning on.
   */
  logits(from: number, to: number): Promise<Float32Array>;
  /** @param shape [count, channels, height, width] @returns [count, classes] */
  pictures(pixels: Float32Array, shape: readonly number[]): Promise<Float32Array>;
  close(): void;
}

/** What a runtime does of a model; it ends with its process. */
export type Loaded = Omit<ForeignModel, 'close'>;

/**
 * Starts the process and has it load the file. Every promise rejects with UserError where the runtime fails or its process ends, and
 * with CancelledError once the signal is aborted, which ends it.
 */
export async function openForeign(
  file: ForeignFile,
  title: string,
  signal: AbortSignal,
): Promise<ForeignModel> {
  if (signal.aborted) throw new CancelledError();
  const name = basename(file.path);
  let printed = '';
  const child = forkEntry('foreign.js', (text) => (printed = (printed + text).slice(-4000)));
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let last = 0;
  let ended: Error | undefined;
  const end = (error: Error) => {
    ended ??= error;
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  const stop = () => {
    end(new CancelledError());
    child.kill('SIGKILL');
  };
  signal.addEventListener('abort', stop);
  child.on('message', (message: FromForeign) => {
    const asked = waiting.get(message.id);
    waiting.delete(message.id);
    if ('error' in message) asked?.reject(new UserError(`${title} cannot run ${name}: ${message.error}`));
    else asked?.resolve(message.result as never);
  });
  child.on('error', (error) => end(error));
  child.on('close', (code, by) => {
    const how = by ?? `exit code ${code ?? 0}`;
    const said = lastLine(printed);
    end(new UserError(`${title} ended (${how}) while it ran ${name}${said && `: ${said}`}.`));
  });
  const ask = <T>(work: ForeignWork): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      if (ended) return reject(ended);
      const id = ++last;
      waiting.set(id, { resolve, reject });
      child.send({ id, ...work } satisfies ToForeign, () => undefined);
    });
  const close = () => {
    signal.removeEventListener('abort', stop);
    child.kill('SIGKILL');
  };
  try {
    await ask({ kind: 'open', file });
  } catch (error) {
    close();
    throw error;
  }
  return {
    text: (ids) => ask({ kind: 'text', ids }),
    logits: (from, to) => ask({ kind: 'logits', from, to }),
    pictures: (pixels, shape) => ask({ kind: 'pictures', pixels, shape }),
    close,
  };
}

/** What a process that ended had to say. */
const lastLine = (text: string): string => text.trim().split('\n').at(-1)!.slice(0, 200);
