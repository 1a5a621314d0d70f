/** What the engine knows of a kind of job without loading what runs it. A new kind is a file like it and a line in `registry.ts`. */
import type { Fields } from '../../formats/json-fields.js';
import type { JsonObject } from '../../formats/json.js';
import type { JobKind, JobTypes } from '../../protocol/protocol.js';
import type { JobHooks } from '../requests.js';

type RequestOf<K extends JobKind> = JobTypes[K]['request'];
type ResultOf<K extends JobKind> = JobTypes[K]['result'];

export interface Kind<K extends JobKind> {
  /** Begins the title of a job; the model's name follows. */
  readonly title: string;
  /** Readers of a request from JSON of unknown origin. */
  readonly request: Fields<RequestOf<K>>;
  /** A request of a record of schema 1, as such requests are now. */
  readonly fromSchema1?: (request: JsonObject) => JsonObject;
  readonly result: Fields<ResultOf<K>>;
  /** Of a kind that has something of its result before its end. */
  readonly partial?: Fields<JobTypes[K]['partial']>;
  /** The file or folder that no other job may write meanwhile. */
  writes(request: RequestOf<K>): string | undefined;
  /** Adapter sets that must stay where they are while it waits or runs. */
  sets(request: RequestOf<K>): readonly string[];
  /** Absent where a job that stopped has to start over. */
  readonly progress?: Progress<RequestOf<K>>;
  /** Does the work, in the worker thread: loads whatever it needs when it is called. */
  run(request: RequestOf<K>, hooks: JobHooks<K>): Promise<ResultOf<K>>;
}

/** What a job keeps on its way, to go on from. */
export interface Progress<Request> {
  /** What a place of its status is, such as `block`. */
  readonly place: string;
  /** Whether there is anything to go on from. */
  made(request: Request): Promise<boolean>;
  discard(request: Request): Promise<void>;
  /** The request of the job that goes on. */
  resumed(request: Request): Request;
}
