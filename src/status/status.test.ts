import { describe, expect, it } from 'vitest';
import { calibration } from '../jobs/testing.js';
import { statusOf } from './status.js';

const ok = { health: 'ok', quiescent: true } as const;
const warning = { health: 'warning', quiescent: true, message: 'No graphics adapter.' } as const;
const running = calibration('a', 'running', { progress: 0.421, secondsLeft: 90 });

describe('statusOf', () => {
  it('is idle before the engine is needed and while it has nothing to do', () => {
    expect(statusOf('stopped', undefined, [running])).toEqual({ kind: 'idle' });
    expect(statusOf('running', ok, [calibration('a', 'finished')])).toEqual({ kind: 'idle' });
  });

  it('shows the running job and how many wait', () => {
    const jobs = [running, calibration('b', 'queued'), calibration('c', 'queued', { elsewhere: true })];
    expect(statusOf('running', ok, jobs)).toEqual({
      kind: 'busy',
      job: running,
      progress: 0.421,
      secondsLeft: 90,
      queued: 1,
    });
  });

  it('leaves out what another window runs', () => {
    expect(statusOf('running', ok, [{ ...running, elsewhere: true }])).toEqual({ kind: 'idle' });
  });

  it('warns when nothing runs, and reports errors even then', () => {
    expect(statusOf('running', warning, [])).toEqual({ kind: 'warning', message: warning.message });
    expect(statusOf('running', warning, [running]).kind).toBe('busy');
    expect(statusOf('running', { ...warning, health: 'error' }, [running]).kind).toBe('error');
    expect(statusOf('failed', warning, [running])).toEqual({ kind: 'error', message: warning.message });
    expect(statusOf('starting', warning, [])).toEqual({ kind: 'starting' });
  });
});
