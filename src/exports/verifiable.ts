/** Which exports are verified together. Knows no editor. */
import type { ExportJob, JobRecord } from '../../engine/protocol/protocol.js';

/** Formats that hold no weights. */
const NO_MODELS = ['gguf-types'];

/** Whether what a job wrote can be verified. */
export const isVerifiable = (job: JobRecord): job is ExportJob =>
  job.kind === 'export' &&
  job.state === 'finished' &&
  !NO_MODELS.includes(job.request.format) &&
  (job.request.bits !== undefined || job.request.plan !== undefined);

/**
 * The export of a job, and others of the same set at the same bits that are there; none where it cannot be verified. Of two that
 * wrote to one place the latest counts.
 * @param all every job @param isThere whether anything is at a path
 */
export function verifiable(
  job: JobRecord,
  all: readonly JobRecord[],
  isThere: (path: string) => boolean,
): ExportJob[] {
  if (!isVerifiable(job)) return [];
  const same = all.filter(isVerifiable).filter((one) => one.id !== job.id && keyOf(one) === keyOf(job));
  const places = new Map([...same, job].map((one) => [one.request.out, one]));
  if (!isThere(job.request.out)) return [];
  return [...places.values()].filter(({ request }) => isThere(request.out));
}

const keyOf = ({ request: { model, adapters, bits, plan, tie = false } }: ExportJob): string =>
  JSON.stringify([model, adapters, bits, plan, tie]);
