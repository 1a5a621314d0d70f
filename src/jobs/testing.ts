/** Job records for unit tests. */
import type {
  CalibrateJob,
  EvaluateJob,
  ExportJob,
  JobState,
  SensitivityJob,
} from '../../engine/protocol/protocol.js';

const base = (id: string, state: JobState) => ({
  id,
  title: `Job ${id}`,
  state,
  created: 0,
  progress: 0,
  resumable: false,
  elsewhere: false,
  series: [],
  crashes: { total: 0, place: 0, atPlace: 0 },
});

export const calibration = (id: string, state: JobState, more: Partial<CalibrateJob> = {}): CalibrateJob => ({
  ...base(id, state),
  kind: 'calibrate',
  request: { model: '/models/vit', data: '/data', out: '/models/vit/adapters/elastic' },
  ...more,
});

export const evaluation = (id: string, state: JobState, more: Partial<EvaluateJob> = {}): EvaluateJob => ({
  ...base(id, state),
  kind: 'evaluate',
  request: { model: '/models/vit', data: '/data' },
  ...more,
});

export const sensitivity = (
  id: string,
  state: JobState,
  more: Partial<SensitivityJob> = {},
): SensitivityJob => ({
  ...base(id, state),
  kind: 'sensitivity',
  request: { model: '/models/vit', data: '/data', adapters: '/models/vit/adapters/other' },
  ...more,
});

export const exporting = (id: string, state: JobState, more: Partial<ExportJob> = {}): ExportJob => ({
  ...base(id, state),
  kind: 'export',
  request: {
    model: '/models/vit',
    adapters: '/models/vit/adapters/other',
    bits: 4,
    format: 'lines',
    out: '/out/vit.txt',
  },
  ...more,
});
