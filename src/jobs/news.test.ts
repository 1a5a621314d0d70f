import { describe, expect, it, vi } from 'vitest';
import type { JobRecord } from '../../engine/protocol/protocol.js';
import { createEmitter } from '../common/event.js';
import { fakeConnection } from '../common/testing.js';
import type { Context } from '../context.js';
import type { JobChange } from './job-list.js';
import { calibration, evaluation, exporting } from './testing.js';

/** What was asked, and the button that the person presses. */
const asked = vi.hoisted(() => ({
  questions: [] as string[],
  press: (_: string[]): string | undefined => '',
}));
const copied = vi.hoisted(() => [] as string[]);
vi.mock('../common/vscode.js', () => ({
  vscode: {
    workspace: { isTrusted: true },
    env: { language: 'en', clipboard: { writeText: (text: string) => void copied.push(text) } },
    l10n: {
      t: (text: string, ...args: unknown[]) => text.replace(/\{(\d)\}/g, (_, i) => String(args[Number(i)])),
    },
  },
}));
vi.mock('../common/messages.js', () => ({
  inform: (question: string, ...buttons: string[]) => {
    asked.questions.push(question);
    return Promise.resolve(asked.press(buttons));
  },
}));
const revealed = vi.hoisted(() => [] as string[]);
vi.mock('../models/commands.js', () => ({ revealFolder: (path: string) => void revealed.push(path) }));
const { tellNews } = await import('./news.js');

/** An engine that has just started, where these jobs are. */
function started(jobs: readonly JobRecord[], press = ([first]: string[]) => first) {
  const [states, changes] = [createEmitter<{ state: string }>(), createEmitter<JobChange | undefined>()];
  const connection = fakeConnection({
    'jobs/resume': () => ({ job: jobs[0]! }),
    'jobs/retry': () => ({ job: jobs[0]! }),
  });
  const kept = new Map<string, unknown>();
  const workspaceState = {
    get: (key: string, standard: unknown) => kept.get(key) ?? standard,
    update: (key: string, value: unknown) => Promise.resolve(void kept.set(key, value)),
  };
  const context = {
    extension: { workspaceState },
    engine: { ...connection, onDidChangeState: states.event },
    jobs: { onDidChange: changes.event, refresh: () => undefined, all: () => Promise.resolve(jobs) },
    adapters: { refresh: () => undefined },
    log: { warn: (line: string) => expect.unreachable(line) },
  };
  asked.questions = [];
  asked.press = press;
  tellNews(context as unknown as Context);
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  const start = async () => {
    states.fire({ state: 'running' });
    await settled();
    return connection.requests.map(({ method, params }) => [method, (params as { id: string }).id]);
  };
  return { start, end: async (change: JobChange) => (changes.fire(change), settled()) };
}

const kept = calibration('kept', 'interrupted', { title: 'Calibrate vit', resumable: true });
const lost = evaluation('lost', 'interrupted', { title: 'Evaluate vit' });

describe('after a reload of the window', () => {
  it('a job that has kept something is resumed, any other runs again, where that is wanted', async () => {
    expect(await started([kept]).start()).toEqual([['jobs/resume', 'kept']]);
    expect(asked.questions).toEqual(['"Calibrate vit" was interrupted. Resume it?']);
    expect(await started([lost]).start()).toEqual([['jobs/retry', 'lost']]);
    expect(asked.questions).toEqual(['"Evaluate vit" was interrupted. Run it again from the beginning?']);
    expect(await started([kept, lost]).start()).toEqual([
      ['jobs/resume', 'kept'],
      ['jobs/retry', 'lost'],
    ]);
    expect(asked.questions).toEqual([
      '2 jobs were interrupted. Resume them? Those that keep no progress start again.',
    ]);
    expect(await started([kept, lost], () => undefined).start()).toEqual([]);
  });

  it('nobody is asked of one job twice, nor of those of another window', async () => {
    const { start } = started([{ ...lost, elsewhere: true }, calibration('done', 'finished'), kept]);
    await start();
    await start();
    expect(asked.questions).toHaveLength(1);
  });

  it('an evaluation whose process ended is offered to run again, not to be resumed', async () => {
    const { start, end } = started([]);
    await end({ before: evaluation('lost', 'running'), job: { ...lost, ended: 5 } });
    expect(asked.questions).toEqual(['"Evaluate vit" was interrupted. Run it again from the beginning?']);
    expect(await start()).toEqual([['jobs/retry', 'lost']]);
  });
});

it('an export says what it wrote, shows where, and copies what runs it', async () => {
  const result = {
    ...{ out: '/out/vit.txt', format: 'lines', bits: 4, bytes: 1_200_000, serve: 'read /out/vit.txt' },
    ...{ device: 'cpu' as const, seconds: 1, peakMemory: 1 },
  };
  const job = exporting('x', 'finished', { title: 'Export vit as Lines', result });
  await started([]).end({ before: exporting('x', 'running'), job });
  expect(asked.questions).toEqual(['Export vit as Lines: wrote "vit.txt", 1.2 MB.']);
  expect(revealed).toEqual(['/out/vit.txt']);
  expect(copied).toEqual([]);
  await started([], ([, second]) => second).end({ before: exporting('x', 'running'), job });
  expect(copied).toEqual(['read /out/vit.txt']);
});
