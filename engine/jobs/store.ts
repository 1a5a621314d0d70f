/**
 * Jobs on disk, in a folder that several engines may share: `<id>.json` the record, `<id>.log` what the job reported,
 * `<id>.owner.<n>` who may write them (`ownership.ts`). Only a job's owner writes or removes its files.
 */
import { watch, type FSWatcher } from 'node:fs';
import { appendFile, open, readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { removeStaleTemporaries, writeFileAtomic } from '../formats/atomic.js';
import { makeFolder } from '../formats/folders.js';
import { readJsonFile } from '../formats/json.js';
import type { Owner } from '../locks/claims.js';
import { visibleLines } from '../plans/visible.js';
import type { JobLog } from '../protocol/protocol.js';
import { openOwnership, type Ownership } from './ownership.js';
import { parseRecord, SCHEMA_VERSION, type StoredJob } from './record.js';

export interface JobStore extends Ownership {
  /** The ids of all records, oldest first. */
  ids(): Promise<string[]>;
  /** Undefined where there is none. Throws UserError for one that cannot be read. */
  read(id: string): Promise<StoredJob | undefined>;
  /** Replaces the record. Writes of one job come one after another; of those that wait only the last is done. */
  write(record: StoredJob): Promise<void>;
  /** Shows engines on other machines that the owner of a job is live. */
  touch(id: string): Promise<void>;
  remove(id: string): Promise<void>;
  appendLog(id: string, text: string): void;
  readLog(id: string): Promise<JobLog>;
  /** Hears the id of a job whose record was written or removed by whomever. */
  watch(changed: (id: string) => void): () => void;
}

const MAX_RECORD_BYTES = 16 << 20;
/** What is read of a log, and what is written of one. */
const LOG_TAIL_BYTES = 256 << 10;
const MAX_LOG_BYTES = 4 << 20;

/** Ids sort by their time of creation. */
export const ID = /^[0-9a-z]{1,12}-[0-9a-f]{8}$/;

/** @param engine this engine, as its claims name it. A folder that somebody deletes is made again. */
export async function openJobStore(folder: string, engine: Owner): Promise<JobStore> {
  await makeFolder(folder);
  await removeStaleTemporaries(folder);
  const recordOf = (id: string) => join(folder, `${id}.json`);
  const logOf = (id: string) => join(folder, `${id}.log`);
  const ownership = openOwnership(folder, engine, recordOf);
  const watched = watchFolder(folder);
  /** Makes the folder again where it is gone; what is written then is claimed anew. */
  const keep = async (): Promise<boolean> => {
    const isNew = (await makeFolder(folder)).length > 0;
    if (isNew) watched.renew();
    return isNew;
  };
  const waiting = new Map<string, StoredJob>();
  const writing = new Map<string, Promise<void>>();
  const logs = new Map<string, { bytes: number; done: Promise<void> }>();

  const drain = async (id: string): Promise<void> => {
    for (let next = waiting.get(id); next; next = waiting.get(id)) {
      waiting.delete(id);
      if (await keep()) await ownership.claim(id);
      await writeFileAtomic(recordOf(id), `${JSON.stringify({ schema_version: SCHEMA_VERSION, ...next })}\n`);
    }
  };

  return {
    ...ownership,
    claim: async (id) => {
      await keep();
      return ownership.claim(id);
    },
    ids: async () => {
      await keep();
      return (await readdir(folder))
        .filter((name) => name.endsWith('.json'))
        .map((name) => name.slice(0, -'.json'.length))
        .filter((id) => ID.test(id))
        .sort();
    },
    read: async (id) => {
      const value = await readJsonFile(recordOf(id), { maxBytes: MAX_RECORD_BYTES }).catch(
        (error: unknown) => {
          const cause =
            error instanceof UserError ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
          if (cause?.code === 'ENOENT') return undefined;
          throw error;
        },
      );
      return value === undefined ? undefined : parseRecord(value, `${id}.json`);
    },
    write: (record) => {
      waiting.set(record.id, record);
      const running = writing.get(record.id);
      // A write that has failed does not keep later ones from trying.
      const done = (running ?? Promise.resolve()).catch(() => undefined).then(() => drain(record.id));
      writing.set(record.id, done);
      const forget = () => writing.get(record.id) === done && writing.delete(record.id);
      void done.then(forget, forget);
      return done;
    },
    touch: async (id) => {
      const now = new Date();
      await utimes(recordOf(id), now, now).catch(() => undefined);
    },
    remove: async (id) => {
      await writing.get(id)?.catch(() => undefined);
      await rm(recordOf(id), { force: true });
      await rm(logOf(id), { force: true });
      await ownership.release(id);
    },
    appendLog: (id, printed) => {
      const text = visibleLines(printed);
      const log = logs.get(id) ?? { bytes: 0, done: Promise.resolve() };
      logs.set(id, log);
      if (log.bytes > MAX_LOG_BYTES) return;
      log.bytes += Buffer.byteLength(text);
      const whole = log.bytes > MAX_LOG_BYTES ? `${text}\nThe rest is left out.\n` : text;
      log.done = log.done.then(() => appendFile(logOf(id), whole)).catch(() => undefined);
    },
    readLog: async (id) => {
      await logs.get(id)?.done;
      return readTail(logOf(id));
    },
    watch: watched.watch,
  };
}

async function readTail(path: string): Promise<JobLog> {
  const file = await open(path, 'r').catch(() => undefined);
  if (!file) return { text: '', truncated: false };
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - LOG_TAIL_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
    const text = buffer.toString('utf8', 0, bytesRead);
    // A tail begins with a whole line.
    return start === 0
      ? { text, truncated: false }
      : { text: text.slice(text.indexOf('\n') + 1), truncated: true };
  } finally {
    await file.close();
  }
}

interface WatchedFolder {
  watch(this: void, changed: (id: string) => void): () => void;
  /** To be called where the folder has been made again. */
  renew(): void;
}

/** Drives that cannot be watched are let off: changes by others then show with the next list. */
function watchFolder(folder: string): WatchedFolder {
  const watchers = new Map<(id: string) => void, FSWatcher | undefined>();
  const open = (changed: (id: string) => void): FSWatcher | undefined => {
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) => {
        const id = name?.endsWith('.json') ? name.slice(0, -'.json'.length) : '';
        if (ID.test(id)) changed(id);
      });
      return watcher.on('error', () => watcher.close());
    } catch {
      return undefined;
    }
  };
  return {
    watch: (changed) => {
      watchers.set(changed, open(changed));
      return () => {
        watchers.get(changed)?.close();
        watchers.delete(changed);
      };
    },
    renew: () => {
      for (const [changed, watcher] of watchers) {
        watcher?.close();
        watchers.set(changed, open(changed));
      }
    },
  };
}
