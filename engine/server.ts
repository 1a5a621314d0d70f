/** The engine as a server: JSON-RPC 2.0 on two streams (protocol/, docs/PROTOCOL.md). */
import { Writable, type Readable } from 'node:stream';
import {
  createMessageConnection,
  ResponseError,
  StreamMessageWriter,
  type CancellationToken,
  type Message,
} from 'vscode-jsonrpc/node';
import { CancelledError, messageOf, UserError } from './errors.js';
import { processIsAlive } from './formats/atomic.js';
import { show } from './formats/paths.js';
import { visible } from './plans/visible.js';
import {
  ErrorCode,
  PROTOCOL_VERSION,
  type InitializeParams,
  type ParamsOf,
  type RequestMethod,
} from './protocol/protocol.js';
import { openSession, type Notify, type Session } from './server/handlers.js';
import { readMessages } from './server/messages.js';
import { paramReaders } from './server/params.js';

const HOST_MILLISECONDS = 5000;

/**
 * Serves one client until it asks for the end, closes `input`, or its process is gone; then stops what runs and resolves.
 * Nothing else may write to `output`.
 */
export async function serve(input: Readable, output: Writable): Promise<void> {
  const writer = new StreamMessageWriter(output);
  const reader = readMessages(input, (refusal) => void writer.write(refusal as Message).catch(() => end()));
  const connection = createMessageConnection(reader, {
    onError: writer.onError,
    onClose: writer.onClose,
    write: (message) => {
      if ('id' in message) reader.answered(message.id);
      return writer.write(message);
    },
    end: () => writer.end(),
    dispose: () => writer.dispose(),
  });
  const notify: Notify = (method, params) => {
    connection.sendNotification(method, params).catch(() => undefined);
  };
  let session: Session | undefined;
  let opening = false;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((done) => (end = done));

  const answer = async (method: string, value: unknown, signal: AbortSignal): Promise<unknown> => {
    if (!isMethod(method))
      throw new ResponseError(ErrorCode.methodNotFound, `There is no method ${show(method)}.`);
    const params = read(method, value);
    if (method === 'initialize') return initialize(params as InitializeParams);
    if (method === 'ping') return {};
    if (!session) throw new ResponseError(ErrorCode.notInitialized, `"${method}" before "initialize".`);
    if (method !== 'shutdown') {
      const handler = session.handlers[method] as (params: unknown, signal: AbortSignal) => unknown;
      return handler(params, signal);
    }
    await session.close();
    // What is sent after the answer is written after it.
    setImmediate(() => {
      connection
        .sendNotification('engine/log', { level: 'info', message: 'The engine has ended.' })
        .then(end, end);
    });
    return {};
  };

  const initialize = async (params: InitializeParams) => {
    if (opening) throw new ResponseError(ErrorCode.notInitialized, '"initialize" a second time.');
    if (params.protocolVersion !== PROTOCOL_VERSION)
      throw new ResponseError(
        ErrorCode.versionMismatch,
        `The engine speaks version ${PROTOCOL_VERSION} of the protocol, its client version ${params.protocolVersion}; install the same version of both.`,
      );
    opening = true;
    try {
      session = await openSession(params, notify);
    } catch (error) {
      opening = false;
      throw error;
    }
    const watch = () => processIsAlive(params.hostProcess) || end();
    setInterval(watch, HOST_MILLISECONDS).unref();
    watch();
    return session.greeting;
  };

  connection.onRequest(async (method: string, params: unknown, token: CancellationToken) => {
    const stop = new AbortController();
    // A token that came cancelled would tell its listeners later.
    if (token.isCancellationRequested) stop.abort();
    else token.onCancellationRequested(() => stop.abort());
    try {
      return await answer(method, params ?? {}, stop.signal);
    } catch (error) {
      const response = responseOf(error);
      if (response.code === ErrorCode.internalError && session)
        notify('engine/log', { level: 'error', message: `${method}: ${stackOf(error)}` });
      return response;
    }
  });
  connection.onError(([error]) => {
    process.stderr.write(`The stream of messages is broken: ${visible(show(messageOf(error), 200))}\n`);
    end();
  });
  connection.onClose(end);
  process.once('SIGTERM', end);
  connection.listen();
  await ended;
  process.off('SIGTERM', end);
  await session?.close();
  connection.dispose();
}

const isMethod = (method: string): method is RequestMethod => Object.hasOwn(paramReaders, method);

function read<M extends RequestMethod>(method: M, value: unknown): ParamsOf<M> {
  try {
    return paramReaders[method](value);
  } catch (error) {
    if (error instanceof UserError)
      throw new ResponseError(ErrorCode.invalidParams, `${method}: ${error.message}`);
    throw error;
  }
}

function responseOf(error: unknown): ResponseError<void> {
  if (error instanceof ResponseError) return error as ResponseError<void>;
  if (error instanceof CancelledError) return new ResponseError(ErrorCode.requestCancelled, error.message);
  if (error instanceof UserError) return new ResponseError(ErrorCode.userError, error.message);
  return new ResponseError(ErrorCode.internalError, `Internal error: ${messageOf(error)}`);
}

const stackOf = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error));

/** Serves on stdin and stdout. Whatever else wants to write to stdout goes to stderr. */
export async function serveStdio(): Promise<void> {
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = process.stderr.write.bind(process.stderr);
  const output = new Writable({
    write: (chunk: Uint8Array, _encoding, done) => void write(chunk, (error) => done(error)),
  });
  await serve(process.stdin, output);
}
