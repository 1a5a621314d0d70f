/** For unit tests of the queue: processes of jobs that do as they are told. */
import type { JobProcess, JobProcessHooks, Outcome, StartJobProcess } from './process.js';
import type {
  CalibrateRequest,
  CalibrateResult,
  EvaluateResult,
  SeriesPoint,
  Status,
} from '../protocol/protocol.js';

export interface FakeProcess {
  readonly kind: string;
  readonly request: CalibrateRequest;
  readonly hooks: JobProcessHooks<'calibrate'> & JobProcessHooks<'evaluate'>;
  readonly asked: ('cancel' | 'kill')[];
  end(outcome: Outcome<'calibrate'> | Outcome<'evaluate'>): void;
}

/** `kill` ends a process at once, `cancel` only where `cancels`. */
export function fakeProcesses({ cancels = true } = {}): {
  readonly processes: FakeProcess[];
  readonly start: StartJobProcess;
} {
  const processes: FakeProcess[] = [];
  const start = (kind: string, request: unknown, hooks: unknown): JobProcess<'calibrate'> => {
    let end: FakeProcess['end'] = () => undefined;
    const outcome = new Promise<Outcome<'calibrate'>>((done) => (end = done as FakeProcess['end']));
    const asked: FakeProcess['asked'] = [];
    processes.push({
      ...{ kind, asked, end },
      request: request as CalibrateRequest,
      hooks: hooks as FakeProcess['hooks'],
    });
    return {
      outcome,
      cancel: () => {
        asked.push('cancel');
        if (cancels) end({ type: 'cancelled' });
      },
      kill: () => {
        asked.push('kill');
        end({ type: 'crashed', how: 'SIGKILL' });
      },
    };
  };
  return { processes, start: start as StartJobProcess };
}

/** A status of a calibration of four blocks of ten epochs in two bit groups. */
export const statusAt = (block: number, epoch: number, losses?: readonly [number, number]): Status => ({
  done: (block + epoch / 10) / 4,
  phase: `block ${block + 1}/4, epoch ${Math.floor(epoch) + 1}/10`,
  place: block,
  ...(losses && { series: seriesOf(losses) }),
});

export const seriesOf = ([high, low]: readonly [number, number]): SeriesPoint[] => [
  { label: 'loss at 7/8 bits', value: high },
  { label: 'loss at 4 bits', value: low },
];

export const calibrateResult: CalibrateResult = {
  ...{ out: '/out', device: 'cpu', bits: [8, 7, 4], samples: 8, skipped: [], seconds: 1, peakMemory: 1 },
};

export const evaluateResult: EvaluateResult = {
  ...{ device: 'cpu', task: 'image-classification', data: 'pictures', skipped: [] },
  ...{ seconds: 1, peakMemory: 1 },
  rows: [{ label: 'full', kind: 'full', bits: 'fp', bytes: 100, samples: 8, top1: 0.5, top5: 1, kl: 0 }],
};
