/** Starts the process of a job and turns what it reports into changes of the job's record. */
import type { JobRecord } from '../protocol/protocol.js';
import { timeLeft } from '../time-left.js';
import type { JobProcess, JobProcessHooks, StartJobProcess } from './process.js';
import {
  withCalibrationStatus,
  withEvaluationStatus,
  withSensitivityStatus,
  type StoredJob,
} from './record.js';

export interface BeginHooks extends Pick<JobProcessHooks<never>, 'note' | 'output'> {
  readonly change: (make: (record: StoredJob) => StoredJob) => void;
}

export function beginJob(
  startProcess: StartJobProcess,
  { kind, request }: StoredJob,
  now: () => number,
  { note, output, change }: BeginHooks,
): JobProcess<JobRecord['kind']> {
  const left = timeLeft(now);
  if (kind === 'sensitivity')
    return startProcess(kind, request, {
      ...{ note, output },
      status: (status) =>
        change((job) =>
          job.kind === 'sensitivity' ? withSensitivityStatus(job, status, left(status.done)) : job,
        ),
    });
  return kind === 'calibrate'
    ? startProcess(kind, request, {
        ...{ note, output },
        status: (status) =>
          change((job) =>
            job.kind === 'calibrate' ? withCalibrationStatus(job, status, left(status.done)) : job,
          ),
      })
    : startProcess(kind, request, {
        ...{ note, output },
        status: (status) =>
          change((job) =>
            job.kind === 'evaluate' ? withEvaluationStatus(job, status, left(status.done)) : job,
          ),
      });
}
