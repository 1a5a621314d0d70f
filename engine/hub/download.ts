/** One file of a hub onto the disk: goes on where it was cut, and counts only once its hash is right. */
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { CancelledError, UserError } from '../errors.js';
import { fileError } from '../formats/paths.js';
import { unfinishedOf } from './cache.js';
import { bodyOf, type HubClient, Passing } from './client.js';
import { startHash, type StartedHash } from './hash.js';
import type { HubId } from './id.js';
import type { HubFile } from './listing.js';

const READ_BYTES = 1 << 20;

/**
 * Downloads a file to `path`, under another name until its hash is checked. What lies there of an earlier try is gone on from.
 * Throws UserError where its bytes are not those that were announced, in number or in hash, and where they cannot be written;
 * CancelledError once the client's signal is aborted. @param progress hears how many bytes are here
 */
export async function downloadFile(
  client: HubClient,
  id: HubId,
  file: HubFile,
  path: string,
  progress: (bytes: number) => void,
): Promise<void> {
  const unfinished = unfinishedOf(path);
  const writing = (error: unknown) => fileError(error, 'write', path);
  let matches = await fetchInto(unfinished);
  // Of bytes that an earlier try has left, it cannot be said which are wrong.
  if (matches === 'not after all') matches = await fetchInto(unfinished);
  if (matches !== true)
    throw new UserError(
      `What came as ${file.name} of ${id.model} is not the file that the hub has: its hash is wrong. Try again; if it stays, the network changes what passes.`,
    );
  await rename(unfinished, path).catch((error: unknown) => {
    throw writing(error);
  });

  /** Whether the whole is right; wrong bytes are removed. */
  async function fetchInto(place: string): Promise<boolean | 'not after all'> {
    // Keeps what is there.
    const handle = await open(place, 'a+').catch((error: unknown) => {
      throw writing(error);
    });
    try {
      const had = await begin(handle);
      const { hash, resumed } = await complete(handle, had);
      await handle.sync();
      if (hash.matches()) return true;
      await handle.close();
      await rm(place, { force: true });
      return resumed ? 'not after all' : false;
    } catch (error) {
      throw writing(error);
    } finally {
      await handle.close().catch(() => undefined);
    }
  }

  /** What is there, hashed. */
  async function begin(handle: FileHandle): Promise<{ bytes: number; hash: StartedHash }> {
    const { size } = await handle.stat();
    if (size > file.bytes) await handle.truncate(0);
    const bytes = size > file.bytes ? 0 : size;
    const hash = startHash(file);
    const buffer = Buffer.alloc(Math.min(READ_BYTES, bytes));
    for (let at = 0; at < bytes;) {
      if (client.signal.aborted) throw new CancelledError();
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, bytes - at), at);
      if (bytesRead === 0) throw new UserError(`${path}: changed while it was read.`);
      hash.hasher.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    return { bytes, hash };
  }

  /** Fetches what is missing, over as many connections as it takes. */
  async function complete(
    handle: FileHandle,
    had: { bytes: number; hash: StartedHash },
  ): Promise<{ readonly hash: StartedHash; readonly resumed: boolean }> {
    let { bytes, hash } = had;
    let resumed = bytes > 0;
    let before = bytes;
    progress(bytes);
    const advanced = () => {
      const more = bytes > before;
      before = bytes;
      return more;
    };
    await client.again(async () => {
      if (bytes === file.bytes) return;
      const answer = await client.get(file.url, id, bytes > 0 ? `bytes=${bytes}-` : undefined);
      try {
        if (bytes > 0 && !goesOn(answer.headers['content-range'], answer.statusCode, bytes)) {
          // A server that knows no ranges sends all of it.
          await handle.truncate(0);
          [bytes, before, hash, resumed] = [0, 0, startHash(file), false];
        }
        for await (const chunk of bodyOf(answer)) {
          if (bytes + chunk.length > file.bytes)
            throw new UserError(
              `${file.name} of ${id.model} is larger than the ${file.bytes} bytes that the hub announced.`,
            );
          await writeAll(handle, chunk);
          hash.hasher.update(chunk);
          bytes += chunk.length;
          progress(bytes);
        }
      } finally {
        answer.destroy();
      }
      if (bytes < file.bytes) throw new Passing(`${file.name} ended ${file.bytes - bytes} bytes early`);
    }, advanced);
    return { hash, resumed };
  }
}

/** Opened for appending: every write goes to the end. */
async function writeAll(handle: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length;) at += (await handle.write(chunk, at)).bytesWritten;
}

function goesOn(range: string | undefined, status: number | undefined, from: number): boolean {
  const begin = /^bytes (\d+)-/.exec(range ?? '')?.[1];
  return status === 206 && Number(begin) === from;
}
