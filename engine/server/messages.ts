/**
 * Messages of a client, whatever it sends: requests and their cancellations go on; anything else is answered with what is
 * wrong with it, and ends nothing.
 */
import type { Readable } from 'node:stream';
import { Disposable, Emitter, type Message, type MessageReader } from 'vscode-jsonrpc/node';
import { messageOf } from '../errors.js';
import { show } from '../formats/paths.js';
import { visible } from '../plans/visible.js';
import { ErrorCode } from '../protocol/protocol.js';
import { readFrames } from './frames.js';

type Id = string | number;

/** The answer to what is not a request; without an id where the message has none. */
export interface Refusal {
  readonly jsonrpc: '2.0';
  readonly id: Id | null;
  readonly error: { readonly code: number; readonly message: string };
}

/** Reads messages; hears of the answers, so that no two requests of one id are open at once. */
export interface RequestReader extends MessageReader {
  answered(id: unknown): void;
}

/** Of one message: brackets and commas, so about as many values. */
const MAX_VALUES = 1 << 20;
const MAX_ID_LENGTH = 1000;
const CANCEL = '$/cancelRequest';

export function readMessages(input: Readable, refuse: (refusal: Refusal) => void): RequestReader {
  const [broken, closed, partial] = [new Emitter<Error>(), new Emitter<void>(), new Emitter<never>()];
  const open = new Set<unknown>();
  const refused = (code: number, message: string, id: Id | null = null) =>
    refuse({ jsonrpc: '2.0', id, error: { code, message } });

  function take(bytes: Buffer, deliver: (message: Message) => void): void {
    if (countValues(bytes) > MAX_VALUES)
      return refused(ErrorCode.invalidRequest, `A message has more than ${MAX_VALUES} values.`);
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString('utf8'));
    } catch (error) {
      return refused(ErrorCode.parseError, visible(`A message is not JSON: ${messageOf(error)}`));
    }
    const { id, method, params, problem } = checked(value);
    if (problem !== undefined) return refused(ErrorCode.invalidRequest, problem, id ?? null);
    if (id !== undefined && open.has(id))
      return refused(ErrorCode.invalidRequest, `A request with the id ${show(id)} is open already.`);
    if (id !== undefined) open.add(id);
    // Nothing else is listened to.
    else if (method !== CANCEL) return;
    deliver({ jsonrpc: '2.0', ...(id !== undefined && { id }), method, params } as Message);
  }

  return {
    onError: broken.event,
    onClose: closed.event,
    onPartialMessage: partial.event as MessageReader['onPartialMessage'],
    listen: (deliver) => {
      const push = readFrames({
        body: (bytes) => take(bytes, deliver),
        trouble: (problem) => refused(ErrorCode.parseError, problem),
      });
      input.on('data', push);
      input.on('error', (error) => void broken.fire(error));
      input.on('close', () => void closed.fire());
      input.on('end', () => void closed.fire());
      return Disposable.create(() => input.off('data', push));
    },
    dispose: () => [broken, closed, partial].forEach((emitter) => emitter.dispose()),
    answered: (id) => void open.delete(id),
  };
}

function countValues(bytes: Buffer): number {
  let count = 0;
  for (const byte of bytes) if (byte === 0x2c || byte === 0x5b || byte === 0x7b) count++;
  return count;
}

interface Checked {
  readonly id?: Id;
  readonly method?: string;
  readonly params?: unknown;
  /** Why it is neither a request nor a cancellation. */
  readonly problem?: string;
}

function checked(value: unknown): Checked {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { problem: `A message must be one request, found ${show(value, 40)}.` };
  const { jsonrpc, id, method, params } = value as Readonly<Record<string, unknown>>;
  if (id !== undefined && !isId(id))
    return { problem: `The "id" of a request must be a text or a number, found ${show(id, 40)}.` };
  const known = id === undefined ? {} : { id };
  if (jsonrpc !== '2.0') return { ...known, problem: `"jsonrpc" must be "2.0", found ${show(jsonrpc, 40)}.` };
  if (typeof method !== 'string')
    return { ...known, problem: `"method" must be a text, found ${show(method, 40)}.` };
  if (method === CANCEL && !isId((params as { readonly id?: unknown } | null | undefined)?.id))
    return { ...known, problem: `${CANCEL}: "id" must be a text or a number, found ${show(params, 40)}.` };
  return { ...known, method, params };
}

const isId = (id: unknown): id is Id =>
  (typeof id === 'string' && id.length <= MAX_ID_LENGTH) || Number.isFinite(id);
