import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import * as vscode from 'vscode';
import type { Event } from '../../src/common/event.js';
import type { Context } from '../../src/context.js';
import {
  context,
  draw,
  eventually,
  jobIn,
  run,
  shortCalibration,
  startCalibration,
  workspace,
} from './support.js';

let extension: Context;
const node = (id: string) => ({ kind: 'job', id });
/** A calibration that lasts until it is stopped, so that a test can meet it running. */
const long = (name: string) => shortCalibration(workspace('vit-fashion'), name, { epochs: 500, samples: 64 });

describe('jobs', () => {
  before(async () => {
    extension = await context();
    await extension.jobs.all();
  });
  after(async () => {
    for (const job of await extension.jobs.all())
      await extension.engine.request('jobs/remove', { id: job.id, deleteProgress: true });
  });

  it('are calibrated, and show how they did', async () => {
    const { id } = await startCalibration(extension, shortCalibration(workspace('vit-fashion'), 'first'));
    await jobIn(extension, id, 'running', 'finished');
    const job = await jobIn(extension, id, 'finished');
    assert.ok(job.series.length > 0);
    const [row, ...details] = (await draw(extension.trees.jobs)).split('\n');
    assert.match(row!, /^Calibrate vit-fashion · first · finished · \d+ (s|min) \[job finished removable\]$/);
    assert.match(details.join('\n'), /^ {2}relative loss at 4\/8 bits · \d[\d.e-]* \[detail\]$/m);
    assert.ok(existsSync(join(workspace('vit-fashion'), 'adapters', 'first', 'adapter_config.json')));
  });

  it('run one at a time, are cancelled and resumed, and end with an adapter set', async () => {
    const first = await startCalibration(extension, long('long'));
    const second = await startCalibration(extension, shortCalibration(workspace('vit-fashion'), 'second'));
    await eventually(extension.jobs.onDidChange as Event<never>, () => {
      const job = extension.jobs.get(first.id);
      return job && job.series.length > 0 ? true : undefined;
    });
    assert.equal(extension.jobs.get(second.id)?.state, 'queued');
    assert.equal(extension.trees.jobs.view.badge?.value, 2);
    assert.match(
      await draw(extension.trees.jobs, 0),
      /Calibrate vit-fashion · long · \d+%.*\[job running cancellable\]/,
    );

    await run('cancelJob', node(first.id));
    const cancelled = await jobIn(extension, first.id, 'cancelled');
    assert.equal(cancelled.resumable, true);
    await jobIn(extension, second.id, 'finished');
    assert.equal(extension.trees.jobs.view.badge, undefined);

    await run('resumeJob', node(first.id));
    const resumed = await jobIn(extension, first.id, 'running');
    assert.ok(resumed.progress >= 0);
    await run('cancelJob', node(first.id));
    await jobIn(extension, first.id, 'cancelled');
  });

  it('come back as interrupted after the engine was restarted, and can go on', async () => {
    const { id } = await startCalibration(extension, long('interrupted'));
    await eventually(extension.jobs.onDidChange as Event<never>, () => {
      const job = extension.jobs.get(id);
      return job && job.series.length > 0 ? true : undefined;
    });
    await extension.engine.restart();
    const job = await jobIn(extension, id, 'interrupted');
    assert.equal(job.resumable, true);
    assert.match(
      await draw(extension.trees.jobs, 0),
      /interrupted at \d+%.*\[job interrupted resumable retryable removable\]/,
    );
    await run('resumeJob', node(id));
    await jobIn(extension, id, 'running');
    await run('cancelJob', node(id));
    await jobIn(extension, id, 'cancelled');
  });

  it('that fail say why', async () => {
    const request = {
      ...shortCalibration(workspace('vit-fashion'), 'failing'),
      data: workspace('vit-fashion'),
    };
    const { id } = await startCalibration(extension, request);
    const job = await jobIn(extension, id, 'failed');
    assert.ok(job.error);
    const drawing = await draw(extension.trees.jobs);
    assert.ok(drawing.includes(job.error), drawing);
    assert.match(drawing, /failed \[job failed retryable removable\]/);
  });

  it('have a log', async () => {
    const finished = extension.jobs.known().find(({ state }) => state === 'finished')!;
    await run('showJobLog', node(finished.id));
    const text = vscode.window.activeTextEditor?.document.getText() ?? '';
    assert.match(text, /Calibrate vit-fashion/);
    await vscode.commands.executeCommand('workbench.action.closeActiveEditor');
  });

  it('leave the list when they are over', async () => {
    const before = extension.jobs.known().filter(({ resumable }) => !resumable);
    assert.ok(before.length >= 3);
    await run('clearFinishedJobs');
    const left = (await extension.jobs.all()).map(({ request }) =>
      'out' in request ? basename(request.out) : '',
    );
    assert.deepEqual(left.sort(), ['interrupted', 'long']);
  });

  it('that nobody knows are passed over', async () => {
    for (const command of ['cancelJob', 'resumeJob', 'retryJob', 'removeJob', 'showJobLog'])
      await run(command, node('no such job'));
  });
});
