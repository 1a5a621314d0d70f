/**
 * Whether an engine still runs. Each listens on a local socket of its own (a named pipe on Windows), which the system
 * closes when the process ends, however it ends: process ids are used again, and clocks stop with the lid.
 */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Presence {
  /** 16 hex digits. */
  readonly id: string;
  close(): Promise<void>;
}

/** Makes this process known as a live engine until it ends. */
export async function announce(): Promise<Presence> {
  const id = randomBytes(8).toString('hex');
  const server = createServer((socket) => socket.destroy());
  server.unref();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(addressOf(id), resolve));
  return {
    id,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** Whether the engine of that id runs on this machine. */
export async function isAlive(id: string): Promise<boolean> {
  const code = await new Promise<string | undefined>((resolve) => {
    const socket = connect(addressOf(id));
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  // What a killed engine leaves behind refuses connections.
  if (code === 'ECONNREFUSED') await rm(addressOf(id), { force: true });
  return code !== 'ECONNREFUSED' && code !== 'ENOENT';
}

/** Short: the path of a socket may have no more than about a hundred bytes. */
const addressOf = (id: string) =>
  process.platform === 'win32'
    ? `\\\\.\\pipe\\elastic-precision-${id}`
    : join(tmpdir(), `elastic-precision-${id}.sock`);
