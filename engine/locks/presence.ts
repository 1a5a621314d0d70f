/**
 * Whether a process still runs. Each that others must know of listens on a local socket of its own (a named pipe on
 * Windows), which the system closes when the process ends, however it ends: process ids are used again, and clocks stop with
 * the lid.
 */
import { randomBytes } from 'node:crypto';
import { lstat, readdir, rename, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { UserError } from '../errors.js';
import { processIsAlive } from '../formats/atomic.js';

export interface Presence {
  /** 16 hex digits. */
  readonly id: string;
  /** Where it listens. */
  readonly address: string;
  close(): Promise<void>;
}

/** The path of a socket is cut off behind so many bytes on some systems, without an error. */
const MAX_ADDRESS_BYTES = 103;

const pipeOf = (id: string) => `\\\\.\\pipe\\elastic-precision-${id}`;
const socketName = (id: string) => `elastic-precision-${id}.sock`;
const SOCKET = /^elastic-precision-[0-9a-f]{16}\.sock$/;
/** A socket has this name, with the id of its process, until it listens: before that it looks like a dead one. */
const LISTENING_SOON = /^elastic-precision-[0-9a-f]{16}\.(\d+)$/;

/** Makes this process known as a live one until it ends. Throws UserError where no folder takes a socket. */
export async function announce(): Promise<Presence> {
  const id = randomBytes(8).toString('hex');
  if (process.platform === 'win32') {
    const server = await listen(pipeOf(id));
    return { id, address: pipeOf(id), close: () => closed(server) };
  }
  let failure: unknown;
  for (const folder of new Set([tmpdir(), '/tmp', '/var/tmp', homedir()])) {
    const address = join(folder, socketName(id));
    if (!isAbsolute(address) || Buffer.byteLength(address) > MAX_ADDRESS_BYTES) continue;
    try {
      return await announceAt(id, address);
    } catch (error) {
      failure ??= error;
    }
  }
  const reason = failure instanceof Error ? `: ${failure.message}` : '';
  throw new UserError(
    `No folder for temporary files takes a socket${reason}; let TMPDIR name one that can be written.`,
    { cause: failure },
  );
}

async function announceAt(id: string, address: string): Promise<Presence> {
  await sweep(dirname(address));
  const soon = join(dirname(address), `elastic-precision-${id}.${process.pid}`);
  const server = await listen(soon);
  const close = async () => {
    await closed(server);
    await rm(address, { force: true });
  };
  try {
    await rename(soon, address);
  } catch (error) {
    await close();
    throw error;
  }
  return { id, address, close };
}

async function listen(address: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  server.unref();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(address, resolve));
  return server;
}

const closed = (server: Server) => new Promise<void>((resolve) => server.close(() => resolve()));

/** Removes the sockets that killed processes have left in a folder. */
async function sweep(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name);
    const soon = LISTENING_SOON.exec(name);
    if (soon && !processIsAlive(Number(soon[1]))) await rm(path, { force: true }).catch(() => undefined);
    else if (SOCKET.test(name)) await answers(path);
  }
}

/**
 * Whether the process that announced itself by that id runs on this machine.
 * @param address where it said it listens; without one, where it would in this process's folder for temporary files
 */
export async function isAlive(id: string, address = join(tmpdir(), socketName(id))): Promise<boolean> {
  if (process.platform === 'win32') return answers(pipeOf(id));
  // Text of a file says where: nothing but a socket of ours is touched.
  return isAbsolute(address) && basename(address) === socketName(id) && answers(address);
}

async function answers(address: string): Promise<boolean> {
  const code = await new Promise<string | undefined>((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  // What a killed process leaves behind refuses connections.
  if (code === 'ECONNREFUSED' && (await lstat(address).catch(() => undefined))?.isSocket())
    await rm(address, { force: true }).catch(() => undefined);
  return code !== 'ECONNREFUSED' && code !== 'ENOENT' && code !== 'ENOTDIR';
}
