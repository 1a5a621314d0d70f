import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CancelledError, UserError } from '../errors.js';
import type { SessionClosed } from '../protocol/protocol.js';
import { openSessions } from './manager.js';
import { SessionEnded, type SessionProcess, type SessionWork } from './process.js';

const IDLE = 1000;
const { signal } = new AbortController();

/** A process that answers when it is told to. */
function fakeProcess() {
  let end: (how: string) => void = () => undefined;
  const ended = new Promise<string>((done) => (end = done));
  const asked: { work: SessionWork; answer: (value: object) => void; fail: (error: Error) => void }[] = [];
  const process: SessionProcess = {
    ended,
    kill: () => end('SIGKILL'),
    ask: (work) =>
      new Promise((resolve, reject) => asked.push({ work, answer: resolve as never, fail: reject })),
  };
  return { process, asked, end };
}

function setUp() {
  const processes: ReturnType<typeof fakeProcess>[] = [];
  const closed: SessionClosed[] = [];
  const start = () => {
    processes.push(fakeProcess());
    return processes.at(-1)!.process;
  };
  const hooks = {
    closed: (params: SessionClosed) => closed.push(params),
    progress: () => undefined,
    text: () => undefined,
    output: () => undefined,
  };
  const sessions = openSessions(start, hooks, IDLE);
  const open = async () => {
    const opening = sessions.open({ model: '/model', adapters: '/set' }, signal);
    processes.at(-1)!.asked.at(-1)!.answer({ seconds: 1, warnings: [] });
    return (await opening).session;
  };
  return { sessions, processes, closed, open };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('sessions', () => {
  it('close when nothing was asked of them for a time, and not before', async () => {
    const { sessions, processes, closed, open } = setUp();
    const session = await open();
    vi.advanceTimersByTime(IDLE - 1);
    const using = sessions.use({ session, bits: [4] }, signal);
    // However long the work takes.
    vi.advanceTimersByTime(5 * IDLE);
    expect(closed).toEqual([]);
    processes[0]!.asked.at(-1)!.answer({ changed: 1, seconds: 2 });
    expect(await using).toEqual({ changed: 1, seconds: 2 });
    vi.advanceTimersByTime(IDLE - 1);
    expect(closed).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(closed).toMatchObject([{ session, reason: expect.stringContaining('not used') as string }]);
    expect(await processes[0]!.process.ended).toBe('SIGKILL');
    await expect(sessions.use({ session, bits: [4] }, signal)).rejects.toThrow('no such session');
  });

  it('that crash are reported once, and fail what was asked of them with a line for people', async () => {
    const { sessions, processes, closed, open } = setUp();
    const session = await open();
    const asking = sessions.predict({ session, input: { text: 'to be' } }, signal);
    processes[0]!.asked.at(-1)!.fail(new SessionEnded('SIGSEGV'));
    processes[0]!.end('SIGSEGV');
    const line = "The session's process ended unexpectedly (SIGSEGV); open it again.";
    await expect(asking).rejects.toThrow(new UserError(line));
    expect(closed).toEqual([{ session, reason: line }]);
  });

  it('that cannot be opened leave nothing behind', async () => {
    const { sessions, processes, closed } = setUp();
    const opening = sessions.open({ model: '/model', adapters: '/set' }, signal);
    processes[0]!.asked[0]!.fail(new UserError('The set is for another model.'));
    await expect(opening).rejects.toThrow('another model');
    expect(await processes[0]!.process.ended).toBe('SIGKILL');
    await vi.advanceTimersByTimeAsync(2 * IDLE);
    expect(closed).toEqual([]);
  });

  it('closed by the client are not reported', async () => {
    const { sessions, processes, closed, open } = setUp();
    const [first, second] = [await open(), await open()];
    await sessions.close({ session: first });
    await sessions.close({ session: first });
    await sessions.closeAll();
    expect(await Promise.all(processes.map(({ process }) => process.ended))).toEqual(['SIGKILL', 'SIGKILL']);
    await expect(sessions.use({ session: second, bits: [4] }, signal)).rejects.toThrow(UserError);
    expect(closed).toEqual([]);
  });

  it('closed by the client while they work say so, and not that they crashed', async () => {
    const { sessions, processes, open } = setUp();
    const session = await open();
    const asking = sessions.predict({ session, input: { text: 'to be' } }, signal);
    const closing = sessions.close({ session });
    processes[0]!.asked.at(-1)!.fail(new SessionEnded('SIGKILL'));
    await expect(asking).rejects.toThrow('The session was closed before it had answered.');
    expect(await closing).toEqual({});
  });

  it('whose opening is cancelled end', async () => {
    const { sessions, processes } = setUp();
    const stop = new AbortController();
    const opening = sessions.open({ model: '/model', adapters: '/set' }, stop.signal);
    stop.abort();
    processes[0]!.asked[0]!.fail(new SessionEnded('SIGKILL'));
    await expect(opening).rejects.toThrow(CancelledError);
    expect(await processes[0]!.process.ended).toBe('SIGKILL');
  });
});
