/** What each request does. Nothing here computes: the work lies in `catalog` and `jobs`. */
import { join } from 'node:path';
import { deleteAdapters, renameAdapters } from '../catalog/adapters.js';
import { CancelledError, UserError } from '../errors.js';
import { setContents } from '../formats/set-folder.js';
import { kindNames } from '../jobs/kinds/registry.js';
import { openJobManager, type JobManager } from '../jobs/manager.js';
import { measurePlan } from '../jobs/precision.js';
import { startJobProcess } from '../jobs/process.js';
import type { Jobs } from '../jobs/requests.js';
import { openJobStore } from '../jobs/store.js';
import { ownerOf } from '../locks/claims.js';
import { announce } from '../locks/presence.js';
import { families } from '../models/registry.js';
import type {
  DeviceReport,
  Health,
  InitializeParams,
  InitializeResult,
  LogMessage,
  ModelReport,
  NotificationMethod,
  Notifications,
  ParamsOf,
  RequestMethod,
  ResultOf,
} from '../protocol/protocol.js';
import { PROTOCOL_VERSION } from '../protocol/protocol.js';
import { openSessions, type Sessions } from '../sessions/manager.js';
import { startSessionProcess } from '../sessions/process.js';
import { openReader } from './reader.js';
import type { Reading } from './readings.js';
import { version } from '../version.js';
import { findLlama, installArguments } from '../verification/library.js';

type Log = (level: LogMessage['level'], message: string) => void;
export type Notify = <M extends NotificationMethod>(method: M, params: Notifications[M]) => void;

export type Handlers = {
  readonly [M in Exclude<RequestMethod, 'initialize' | 'ping' | 'shutdown'>]: (
    params: ParamsOf<M>,
    signal: AbortSignal,
  ) => Promise<ResultOf<M>> | ResultOf<M>;
};

/** The engine as one client sees it, from `initialize` to `shutdown`. */
export interface Session {
  readonly handlers: Handlers;
  readonly greeting: InitializeResult;
  /** Stops what runs and saves it. */
  close(): Promise<void>;
}

export async function openSession({ storage }: InitializeParams, notify: Notify): Promise<Session> {
  const log: Log = (level, message) => notify('engine/log', { level, message });
  const presence = await announce();
  const store = await openJobStore(join(storage, 'jobs'), ownerOf(presence));
  let health: Health = { health: 'ok', quiescent: true };
  const setHealth = (next: Health) => {
    if (JSON.stringify(next) === JSON.stringify(health)) return;
    health = next;
    notify('engine/health', health);
  };
  const jobs = openJobManager(store, startJobProcess, {
    changed: (job) => notify('jobs/changed', { job }),
    removed: (id) => notify('jobs/removed', { id }),
    busy: (busy) => setHealth({ ...health, quiescent: !busy }),
    trouble: (message) =>
      setHealth({
        health: message === undefined ? 'ok' : 'warning',
        quiescent: health.quiescent,
        ...(message !== undefined && { message }),
      }),
    log,
  });
  const sessions = openSessions(startSessionProcess, {
    closed: (params) => notify('session/closed', params),
    progress: (params) => notify('session/progress', params),
    text: (params) => notify('session/text', params),
    output: (text) => log('debug', text.trimEnd()),
  });
  return {
    greeting: {
      protocolVersion: PROTOCOL_VERSION,
      engineVersion: version,
      capabilities: {
        jobs: kindNames,
        families: families.map(({ modelType }) => modelType),
      },
    },
    handlers: createHandlers(jobs, sessions, notify, log),
    close: async () => {
      await sessions.closeAll();
      await jobs.close();
      await presence.close();
    },
  };
}

function createHandlers(jobs: JobManager, sessions: Sessions, notify: Notify, log: Log): Handlers {
  const devices = deviceCache(log);
  const reader = openReader();
  const info = (line: string) => log('info', line);
  const read =
    <M extends Reading>(reading: M) =>
    (params: ParamsOf<M>, signal: AbortSignal): Promise<ResultOf<M>> =>
      reader.read(reading, params, { signal, info, found: () => undefined });
  return {
    'models/list': (params, signal) => {
      const { search } = params;
      const found = (model: ModelReport) => {
        if (search !== undefined) notify('models/found', { search, model });
      };
      return reader.read('models/list', params, { signal, info, found });
    },
    'models/describe': read('models/describe'),
    'hub/look': (params, signal) => runApart('look', params, log, signal),
    'adapters/list': read('adapters/list'),
    'adapters/rename': async ({ path, name }) => {
      if (await jobs.uses(path)) throw new UserError(`A job works with ${path}; rename it afterwards.`);
      return { path: await renameAdapters(path, name) };
    },
    'adapters/contents': ({ path }) => setContents(path),
    'adapters/delete': async ({ path }) => {
      if (await jobs.uses(path)) throw new UserError(`A job works with ${path}; delete it afterwards.`);
      return deleteAdapters(path);
    },
    'jobs/list': async () => ({ jobs: await jobs.list() }),
    'jobs/start': async (params) => ({ job: await jobs.start(params) }),
    'jobs/cancel': async ({ id }) => ({ job: await jobs.cancel(id) }),
    'jobs/resume': async ({ id }) => ({ job: await jobs.resume(id) }),
    'jobs/retry': async ({ id }) => ({ job: await jobs.retry(id) }),
    'jobs/remove': async ({ id, deleteProgress }) => {
      await jobs.remove(id, deleteProgress ?? false);
      return {};
    },
    'jobs/log': ({ id }) => jobs.log(id),
    'calibrate/methods': read('calibrate/methods'),
    'calibrate/estimate': async ({ request }, signal) =>
      runApart('estimate', { request, devices: await devices(false) }, log, signal),
    'precision/describe': read('precision/describe'),
    'precision/allocate': read('precision/allocate'),
    'precision/measure': (params, signal) =>
      measurePlan(
        params,
        (asked) => read('precision/describe')(asked, signal),
        (request) => runApart('compare-plans', request, log, signal),
      ),
    'exports/list': async (params, signal) => ({
      formats: await runApart('list-exports', params, log, signal),
    }),
    'exports/llama': async () => ({
      installed: (await findLlama()) !== undefined,
      install: installArguments(),
    }),
    'session/open': (params, signal) => sessions.open(params, signal),
    'session/use': (params, signal) => sessions.use(params, signal),
    'session/predict': (params, signal) => sessions.predict(params, signal),
    'session/evaluate': (params, signal) => sessions.evaluate(params, signal),
    'session/close': (params) => sessions.close(params),
    'evaluations/list': read('evaluations/list'),
    'evaluations/read': read('evaluations/read'),
    'devices/list': async ({ refresh }) => ({ devices: await devices(refresh ?? false) }),
  };
}

/** What can run here, measured once. */
function deviceCache(log: Log) {
  let known: Promise<readonly DeviceReport[]> | undefined;
  return (refresh: boolean): Promise<readonly DeviceReport[]> => {
    if (refresh || !known) {
      known = runApart('devices', {}, log);
      known.catch(() => (known = undefined));
    }
    return known;
  };
}

/** Short work in a process of its own, for its native libraries; it ends with `signal`. */
async function runApart<K extends 'devices' | 'estimate' | 'compare-plans' | 'list-exports' | 'look'>(
  kind: K,
  request: Jobs[K]['request'],
  log: Log,
  signal?: AbortSignal,
): Promise<Jobs[K]['result']> {
  const apart = startJobProcess(kind, request, {
    status: () => undefined,
    note: (line) => log('info', line),
    output: (text) => log('debug', text.trimEnd()),
  });
  signal?.addEventListener('abort', () => apart.kill());
  const ended = await apart.outcome;
  if (signal?.aborted) throw new CancelledError();
  switch (ended.type) {
    case 'result':
      return ended.result;
    case 'cancelled':
      throw new CancelledError();
    case 'error':
      throw ended.reason === 'user' ? new UserError(ended.message) : new Error(ended.message);
    case 'crashed':
      throw new UserError(`The process that was to find this out ended unexpectedly (${ended.how}).`);
  }
}
