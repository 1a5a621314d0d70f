import { expect, it, vi } from 'vitest';
import type { JobRecord } from '../../engine/protocol/protocol.js';
import { calibration, evaluation, sensitivity } from './testing.js';

vi.mock('../common/vscode.js', () => ({
  vscode: { env: { language: 'en' }, l10n: { t: (text: string) => text } },
}));
const { jobRow } = await import('./nodes.js');

const set = (name: string) => `/models/vit/adapters/${name}`;

it.each<[string, JobRecord, string]>([
  ['that it makes', calibration('a', 'queued'), 'elastic · queued'],
  ['that it measures', sensitivity('a', 'queued'), 'other · queued'],
  [
    'that it compares',
    evaluation('a', 'queued', { request: { model: '/m', data: '/d', adapters: [set('a'), set('b')] } }),
    'a, b · queued',
  ],
  ['where there is any', evaluation('a', 'queued'), 'queued'],
])('a job is told from others by the sets %s', (_, job, description) =>
  expect(jobRow(job).description).toBe(description),
);
