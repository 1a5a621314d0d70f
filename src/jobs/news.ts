/** What a person is told of jobs outside their view: their end, and once that some were interrupted. */
import { basename } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { JobRecord } from '../../engine/protocol/protocol.js';
import { messageOf } from '../common/errors.js';
import type { Disposable } from '../common/event.js';
import { formatDuration } from '../common/format.js';
import { alarm, inform } from '../common/messages.js';
import type { Context } from '../context.js';
import type { JobChange } from './job-list.js';

const OFFERED = 'jobs.offered';

export function tellNews(context: Context): Disposable[] {
  return [
    context.engine.onDidChangeState(({ state }) => {
      if (state !== 'running') return;
      // Another engine: what the one before ran is interrupted.
      context.jobs.refresh();
      offerInterrupted(context).catch((error: unknown) => context.log.warn(messageOf(error)));
    }),
    context.jobs.onDidChange((change) => {
      if (change === undefined) return;
      if (hasEnded(change)) void tellEnd(context, change.job);
    }),
  ];
}

interface Ended extends JobChange {
  readonly job: JobRecord;
}

/** Cancelling needs no news, as somebody did it. */
const hasEnded = (change: JobChange): change is Ended =>
  change.job !== undefined &&
  !change.before?.elsewhere &&
  change.before?.state === 'running' &&
  (change.job.state === 'finished' || change.job.state === 'failed' || change.job.state === 'interrupted');

async function tellEnd(context: Context, job: JobRecord): Promise<void> {
  context.adapters.refresh();
  if (job.state === 'failed') return tellFailed(job);
  if (job.state === 'interrupted') return offerResume(context, [job]);
  // The page of an evaluation shows its result.
  if (job.kind === 'calibrate') await tellCalibrated(context, job);
}

async function tellCalibrated(
  context: Context,
  job: Extract<JobRecord, { kind: 'calibrate' }>,
): Promise<void> {
  const evaluate = vscode.l10n.t('Evaluate');
  const show = vscode.l10n.t('Show Adapter Sets');
  const name = basename(job.request.out);
  const time = formatDuration(job.result?.seconds ?? 0);
  const skipped = job.result?.skippedCount ?? job.result?.skipped.length ?? 0;
  const left = skipped > 0 ? vscode.l10n.t(' {0} samples could not be read.', skipped) : '';
  const chosen = await inform(
    vscode.l10n.t('{0}: done in {1}, adapter set "{2}".', job.title, time, name) + left,
    evaluate,
    show,
  );
  if (chosen === evaluate) context.evaluations.evaluate(job.request.model, [job.request.out]);
  if (chosen === show) await vscode.commands.executeCommand('elasticPrecision.adapterSets.focus');
}

async function tellFailed(job: JobRecord): Promise<void> {
  const show = vscode.l10n.t('Show Job Log');
  const chosen = await alarm(vscode.l10n.t('{0}: failed. {1}', job.title, job.error ?? ''), show);
  if (chosen)
    await vscode.commands.executeCommand('elasticPrecision.showJobLog', { kind: 'job', id: job.id });
}

/** Offers to go on with what an earlier window left, once for each time that it was interrupted. */
async function offerInterrupted(context: Context): Promise<void> {
  const jobs = (await context.jobs.all()).filter(
    ({ state, resumable, elsewhere }) => state === 'interrupted' && resumable && !elsewhere,
  );
  await offerResume(context, jobs);
}

async function offerResume({ extension, engine }: Context, jobs: readonly JobRecord[]): Promise<void> {
  const state = extension.workspaceState;
  const key = ({ id, ended }: JobRecord) => `${id} ${ended ?? 0}`;
  const offered = state.get<string[]>(OFFERED, []);
  const fresh = jobs.filter((job) => !offered.includes(key(job)));
  if (fresh.length === 0) return;
  await state.update(OFFERED, [...offered, ...fresh.map(key)].slice(-50));
  if (!vscode.workspace.isTrusted) return;
  const resume = vscode.l10n.t('Resume');
  const show = vscode.l10n.t('Show Jobs');
  const [first] = fresh;
  const question =
    fresh.length === 1
      ? vscode.l10n.t('"{0}" was interrupted. Resume it?', first!.title)
      : vscode.l10n.t('{0} jobs were interrupted. Resume them?', fresh.length);
  const chosen = await inform(question, resume, show);
  if (chosen === show) await vscode.commands.executeCommand('elasticPrecision.jobs.focus');
  if (chosen === resume) for (const { id } of fresh) await engine.request('jobs/resume', { id });
}
