import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../protocol/protocol.js';
import { serve } from '../server.js';
import { MAX_BODY_BYTES, readFrames } from './frames.js';

const frame = (body: string) => `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const request = (id: unknown, method: string, params?: unknown) =>
  frame(JSON.stringify({ jsonrpc: '2.0', id, method, params }));

interface Answer {
  readonly id?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
}

/** An engine in this process. */
function startServer() {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const answers: Answer[] = [];
  let heard: () => void = () => undefined;
  output.on(
    'data',
    readFrames({
      body: (bytes) => {
        answers.push(JSON.parse(bytes.toString()) as Answer);
        heard();
      },
      trouble: () => undefined,
    }),
  );
  const ended = serve(input, output);
  /** The first answers, once there are so many. */
  const first = async (count: number) => {
    while (answers.length < count) await new Promise<void>((resolve) => (heard = resolve));
    return answers.slice(0, count);
  };
  return { send: (text: string | Buffer) => input.write(text), first, end: () => (input.end(), ended) };
}

let server: ReturnType<typeof startServer>;
afterEach(() => server.end());

describe('what a client sends', () => {
  it.each<[string, string, number, unknown]>([
    [
      'a cancellation without params',
      frame('{"jsonrpc":"2.0","method":"$/cancelRequest"}'),
      ErrorCode.invalidRequest,
      null,
    ],
    [
      'a cancellation of no id',
      frame('{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":{}}}'),
      ErrorCode.invalidRequest,
      null,
    ],
    ['a negative length', 'Content-Length: -5\r\n\r\n{}', ErrorCode.parseError, null],
    ['a length that is not a number', 'Content-Length: many\r\n\r\n{}', ErrorCode.parseError, null],
    ['a length beyond any message', 'Content-Length: 123456789012345\r\n\r\n{}', ErrorCode.parseError, null],
    ['a header broken off', 'Content-Length: 1', ErrorCode.parseError, null],
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}', ErrorCode.parseError, null],
    ['no length', 'Content-Type: text\r\n\r\n{}', ErrorCode.parseError, null],
    ['a header without end', `Content-Type: ${'x'.repeat(5000)}`, ErrorCode.parseError, null],
    ['another protocol', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', ErrorCode.parseError, null],
    ['a body that is not JSON', frame('{"jsonrpc": "2.0", "id": 1, "method"'), ErrorCode.parseError, null],
    ['an empty body', frame(''), ErrorCode.parseError, null],
    ['a body that is not UTF-8', 'Content-Length: 2\r\n\r\n\u00ff\u00fe', ErrorCode.parseError, null],
    ['a batch', frame('[{"jsonrpc":"2.0","id":1,"method":"ping"}]'), ErrorCode.invalidRequest, null],
    ['a number', frame('7'), ErrorCode.invalidRequest, null],
    ['null', frame('null'), ErrorCode.invalidRequest, null],
    ['an answer', frame('{"jsonrpc":"2.0","id":5,"result":{}}'), ErrorCode.invalidRequest, 5],
    [
      'a method that is not a text',
      frame('{"jsonrpc":"2.0","id":5,"method":{"toString":1}}'),
      ErrorCode.invalidRequest,
      5,
    ],
    [
      'an id that is an object',
      frame('{"jsonrpc":"2.0","id":{},"method":"ping"}'),
      ErrorCode.invalidRequest,
      null,
    ],
    ['an id without end', request('x'.repeat(1001), 'ping'), ErrorCode.invalidRequest, null],
    ['another version', frame('{"jsonrpc":"1.0","id":5,"method":"ping"}'), ErrorCode.invalidRequest, 5],
    ['a method that is not there', request(5, '\u001b]0;x\u0007'), ErrorCode.methodNotFound, 5],
    ['params by position', request(5, 'ping', [1]), ErrorCode.invalidParams, 5],
    [
      'params nested 20,000 deep',
      frame(
        `{"jsonrpc":"2.0","id":5,"method":"models/describe","params":{"path":${'['.repeat(20_000)}${']'.repeat(20_000)}}}`,
      ),
      ErrorCode.invalidParams,
      5,
    ],
    [
      'more values than any request has',
      frame(`{"jsonrpc":"2.0","id":5,"method":"ping","params":[${'[],'.repeat(1 << 20)}[]]}`),
      ErrorCode.invalidRequest,
      null,
    ],
  ])('is answered, and the next request too: %s', async (_, text, code, id) => {
    server = startServer();
    server.send(Buffer.from(text, 'latin1'));
    server.send(request('next', 'ping'));
    const [refused, next] = await server.first(2);
    expect(refused).toMatchObject({ id, error: { code } });
    expect(refused!.error!.message).toMatch(/^[^\p{Cc}]{1,300}$/u);
    expect(next).toEqual({ jsonrpc: '2.0', id: 'next', result: {} });
  });

  it('may come in any pieces', async () => {
    server = startServer();
    const text = `noise${request(1, 'ping')}Content-Length: x\r\n\r\n${request(2, 'ping')}`;
    for (const byte of Buffer.from(text)) server.send(Buffer.from([byte]));
    const answers = await server.first(4);
    expect(answers.map(({ id }) => String(id)).sort()).toEqual(['1', '2', 'null', 'null']);
  });

  it('two requests of one id at once are answered both, and the id can be used again', async () => {
    server = startServer();
    server.send(request(1, 'ping') + request(1, 'ping'));
    const [refused, answered] = await server.first(2);
    expect(refused).toMatchObject({ id: null, error: { code: ErrorCode.invalidRequest } });
    expect(answered).toMatchObject({ id: 1, result: {} });
    server.send(request(1, 'ping'));
    expect((await server.first(3))[2]).toMatchObject({ id: 1, result: {} });
  });
});

describe('a body above the limit', () => {
  it('is passed over without being kept', () => {
    const [bodies, problems]: [string[], string[]] = [[], []];
    const push = readFrames({
      body: (bytes) => bodies.push(bytes.toString()),
      trouble: (problem) => problems.push(problem),
    });
    push(Buffer.from(`Content-Length: ${MAX_BODY_BYTES + 10}\r\n\r\n`));
    const piece = Buffer.alloc(1 << 20, 'Content-Length: 2\r\n\r\n{}');
    for (let left = MAX_BODY_BYTES + 10; left > 0; left -= piece.length) push(piece.subarray(0, left));
    push(Buffer.from(frame('next')));
    expect(bodies).toEqual(['next']);
    expect(problems).toHaveLength(1);
  });
});
