/** The measurement of layers that a plan waits for, among all jobs. Knows no editor. */
import type { JobRecord } from '../../engine/protocol/protocol.js';
import { isActive } from '../jobs/job-list.js';

/** The job that measures the sensitivity of a set's layers now, or will; of several the first of `jobs`. */
export const sensitivityJobOf = (
  jobs: readonly JobRecord[],
  adapters: string | undefined,
): JobRecord | undefined =>
  jobs.find(
    (job) =>
      job.kind === 'sensitivity' &&
      isActive(job) &&
      job.request.adapters === adapters &&
      // Written elsewhere it changes nothing for the plan.
      job.request.out === undefined,
  );
