/** Parameters of requests from JSON of unknown origin. A method without a reader here does not compile. */
import {
  flag,
  either,
  integer,
  list,
  number,
  oneOf,
  optional,
  path,
  readFields,
  record,
  text,
  type Fields,
} from '../formats/json-fields.js';
import { expectObject } from '../formats/json.js';
import { parseEstimate } from '../jobs/kinds/calibrate.js';
import { exported } from '../jobs/kinds/export.js';
import { hubModelParams } from '../jobs/kinds/get.js';
import { bits, placement } from '../jobs/kinds/fields.js';
import { parseKind, parseRequest } from '../jobs/kinds/registry.js';
import type {
  AllocateParams,
  MeasurePlanParams,
  Empty,
  ExportedSet,
  HubModelParams,
  InitializeParams,
  JobKind,
  LayerConstraint,
  ListModelsParams,
  OpenSessionParams,
  ParamsOf,
  PrecisionParams,
  PredictParams,
  RemoveJobParams,
  RequestMethod,
  SessionEvaluateParams,
  StartJobParams,
  StartParams,
  UseParams,
} from '../protocol/protocol.js';

const of =
  <T extends object>(fields: Fields<T>) =>
  (value: unknown): T =>
    readFields(value, fields, 'params');

const none = (value: unknown): Empty => {
  readFields<object>(value, {}, 'params');
  return {};
};
const job = { id: text() };
const session = { session: text() };
const precision: Fields<PrecisionParams> = { model: path(), adapters: optional(path()) };
const limit = optional(bits);
const constraint: Fields<LayerConstraint> = { layer: text(), min: limit, max: limit, fixed: limit };
const limits: Fields<Pick<AllocateParams, 'budget' | 'constraints'>> = {
  budget: oneOf('average-bits', 'bytes'),
  constraints: optional(list(record<LayerConstraint>(constraint))),
};

/** Each throws `UserError` for the first thing wrong, naming its place. */
export const paramReaders: { readonly [M in RequestMethod]: (value: unknown) => ParamsOf<M> } = {
  initialize: of<InitializeParams>({
    protocolVersion: integer(0),
    storage: path(),
    hostProcess: integer(1),
  }),
  shutdown: none,
  ping: none,
  'models/list': of<ListModelsParams>({ folders: list(path()), search: optional(text()) }),
  'models/describe': of({ path: path() }),
  'hub/look': of<HubModelParams>(hubModelParams),
  'adapters/list': of({ folders: list(path()), models: list(path()) }),
  'adapters/rename': of({ path: path(), name: text() }),
  'adapters/contents': of({ path: path() }),
  'adapters/delete': of({ path: path() }),
  'jobs/list': none,
  'jobs/start': startJob,
  'jobs/cancel': of(job),
  'jobs/resume': of(job),
  'jobs/retry': of(job),
  'jobs/remove': of<RemoveJobParams>({ ...job, deleteProgress: optional(flag()) }),
  'jobs/log': of(job),
  'calibrate/methods': of({ path: path() }),
  'calibrate/estimate': of({
    request: (object, key) => parseEstimate(object[key], 'params: request'),
  }),
  'precision/describe': of<PrecisionParams>(precision),
  'precision/allocate': of<AllocateParams>({
    ...precision,
    ...limits,
    within: optional(number(0)),
  }),
  'precision/measure': of<MeasurePlanParams>({
    ...placement,
    ...limits,
    model: path(),
    adapters: path(),
    within: number(0),
    data: path(),
  }),
  'exports/list': of<ExportedSet>(exported),
  'exports/llama': of<ParamsOf<'exports/llama'>>({}),
  'session/open': of<OpenSessionParams>({
    model: path(),
    adapters: path(),
    device: placement.device,
  }),
  'session/use': of<UseParams>({ ...session, bits: list(bits) }),
  'session/predict': of<PredictParams>({
    ...session,
    input: either(
      record<{ picture: string }>({ picture: text() }),
      record<{ text: string; tokens?: number }>({ text: text(), tokens: optional(integer(0, 4096)) }),
    ),
  }),
  'session/evaluate': of<SessionEvaluateParams>({
    ...session,
    data: path(),
    limit: optional(integer(1)),
  }),
  'session/close': of(session),
  'evaluations/list': of({ folders: list(path()) }),
  'evaluations/read': of({ path: path() }),
  'devices/list': of<ParamsOf<'devices/list'>>({ refresh: optional(flag()) }),
};

function startJob(value: unknown): StartJobParams {
  const kind = parseKind(expectObject(value, 'params').kind, 'params');
  const fields: Fields<StartParams<JobKind>> = {
    kind: oneOf(kind),
    title: optional(text()),
    request: (object, key) => parseRequest(kind, object[key], 'params: request'),
  };
  return readFields(value, fields, 'params') as StartJobParams;
}
