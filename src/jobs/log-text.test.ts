import { describe, expect, it } from 'vitest';
import { logText, type LogSources, type LogWord } from './log-text.js';
import { calibration } from './testing.js';

const words = new Proxy({} as LogSources['words'], {
  get: (_, word) => (word === 'bits' ? '{0} bits' : word) as LogWord,
});

const finished = calibration('a', 'finished', {
  title: 'Calibrate vit',
  request: { model: '/m/vit', data: '/d', out: '/m/vit/adapters/a', bits: [8, 4], options: { epochs: 2 } },
  series: [
    { place: 0, points: [{ label: 'loss at 8 bits', value: 0.1234 }] },
    { place: 1, points: [{ label: 'loss at 8 bits', value: 0.5 }] },
  ],
  result: {
    ...{ out: '/m/vit/adapters/a', device: 'cpu', bits: [8, 4], samples: 64, skipped: [] },
    ...{ seconds: 95, peakMemory: 422_000_000 },
  },
});

describe('the log of a job', () => {
  it('has its settings, device, peak memory, losses and decisions, and what it wrote', () => {
    const parts = [
      { bits: [8], facts: [{ label: 'rank', value: '16' }] },
      { bits: [4], facts: [{ label: 'kept its start', value: '', help: 'It runs as it started.' }] },
    ];
    const log = 'T1 Starts: Calibrate vit\nT2 Now finished\n';
    const text = logText({ job: finished, summary: 'finished', parts, log, locale: 'en', words });
    expect(text.split('\n\n').slice(2)).toEqual([
      '## settings\nmodel:   /m/vit\ndata:    /d\nout:     /m/vit/adapters/a\nbits:    [8,4]\noptions: {"epochs":2}',
      '## losses\n1: loss at 8 bits 0.123\n2: loss at 8 bits 0.5',
      '## decisions\n8 bits: rank 16\n4 bits: It runs as it started.',
      '## log\nT1 Starts: Calibrate vit\nT2 Now finished\n',
    ]);
    expect(text).toMatch(/^Calibrate vit\n\nstate: +finished\n/);
    expect(text).toMatch(/took: +2 min\ndevice: +cpu\nmemory: +422 MB\n/);
  });

  it('leaves out what there is not', () => {
    const job = calibration('a', 'failed', { title: 'Calibrate vit', error: 'No pictures.' });
    const text = logText({ job, summary: 'failed', parts: [], log: '', locale: 'en', words });
    expect(text).toMatch(/error: +No pictures\./);
    expect(text).not.toMatch(/##.*(losses|decisions|log)|memory|device/);
  });
});
