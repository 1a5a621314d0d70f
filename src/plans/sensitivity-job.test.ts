import { expect, it } from 'vitest';
import { calibration, sensitivity } from '../jobs/testing.js';
import { sensitivityJobOf } from './sensitivity-job.js';

const set = '/models/vit/adapters/other';
const request = { model: '/models/vit', data: '/data', adapters: set };

it('finds the job that measures the layers of a set, while it waits or runs', () => {
  const jobs = [
    calibration('a', 'running'),
    sensitivity('b', 'finished'),
    sensitivity('c', 'running', { request: { ...request, adapters: '/another' } }),
    sensitivity('d', 'running', { request: { ...request, out: '/elsewhere.json' } }),
    sensitivity('e', 'queued'),
  ];
  expect(sensitivityJobOf(jobs, set)?.id).toBe('e');
  expect(sensitivityJobOf(jobs.slice(0, 4), set)).toBeUndefined();
  expect(sensitivityJobOf(jobs, undefined)).toBeUndefined();
});
