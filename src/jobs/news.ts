/** What a person is told of jobs outside their view: their end, and once that some were interrupted. */
import { basename } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { ExportJob, GetJob, JobRecord } from '../../engine/protocol/protocol.js';
import { messageOf } from '../common/errors.js';
import type { Disposable } from '../common/event.js';
import { formatBytes, formatDuration } from '../common/format.js';
import { alarm, inform } from '../common/messages.js';
import type { Context } from '../context.js';
import { isVerifiable } from '../exports/verifiable.js';
import { revealFolder } from '../models/commands.js';
import { interruptedJobs, wayOn, type JobChange } from './job-list.js';

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
  if (job.kind === 'get') context.models.refresh();
  if (job.state === 'failed') return tellFailed(job);
  if (job.state === 'interrupted') return offerAgain(context, [job]);
  // The page of an evaluation shows its result.
  if (job.kind === 'calibrate') await tellCalibrated(context, job);
  if (job.kind === 'export') await tellExported(job);
  if (job.kind === 'get') await tellGot(context, job);
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

async function tellExported(job: ExportJob): Promise<void> {
  const { title, request, result } = job;
  const reveal = vscode.l10n.t('Reveal');
  const size = formatBytes(result?.bytes ?? 0, vscode.env.language);
  const message = vscode.l10n.t('{0}: wrote "{1}", {2}.', title, basename(request.out), size);
  const { serve } = result ?? {};
  const copy = vscode.l10n.t('Copy Command');
  const check = vscode.l10n.t('Verify');
  const actions = [reveal, ...(serve === undefined ? [] : [copy]), ...(isVerifiable(job) ? [check] : [])];
  const chosen = await inform(message, ...actions);
  if (chosen === check)
    await vscode.commands.executeCommand('elasticPrecision.verifyExport', { kind: 'job', id: job.id });
  if (chosen === reveal) await revealFolder(request.out);
  if (chosen === copy) await vscode.env.clipboard.writeText(serve!);
}

async function tellGot({ models }: Context, { request, result }: GetJob): Promise<void> {
  const calibrate = vscode.l10n.t('Calibrate');
  const size = formatBytes(result?.bytes ?? 0, vscode.env.language);
  const chosen = await inform(vscode.l10n.t('{0} is here: {1}.', request.model, size), calibrate);
  if (chosen !== calibrate) return;
  const model = (await models.all()).find(({ path }) => path === result?.out);
  await vscode.commands.executeCommand('elasticPrecision.calibrate', model && { kind: 'model', model });
}

async function tellFailed(job: JobRecord): Promise<void> {
  const show = vscode.l10n.t('Show Job Log');
  const chosen = await alarm(vscode.l10n.t('{0}: failed. {1}', job.title, job.error ?? ''), show);
  if (chosen)
    await vscode.commands.executeCommand('elasticPrecision.showJobLog', { kind: 'job', id: job.id });
}

/** Offers to go on with what an earlier window left, once for each time that it was interrupted. */
const offerInterrupted = async (context: Context): Promise<void> =>
  offerAgain(context, interruptedJobs(await context.jobs.all()));

async function offerAgain({ extension, engine }: Context, jobs: readonly JobRecord[]): Promise<void> {
  const state = extension.workspaceState;
  const key = ({ id, ended }: JobRecord) => `${id} ${ended ?? 0}`;
  const offered = state.get<string[]>(OFFERED, []);
  const fresh = jobs.filter((job) => !offered.includes(key(job)));
  if (fresh.length === 0) return;
  await state.update(OFFERED, [...offered, ...fresh.map(key)].slice(-50));
  if (!vscode.workspace.isTrusted) return;
  const { question, again } = offerOf(fresh);
  const show = vscode.l10n.t('Show Jobs');
  const chosen = await inform(question, again, show);
  if (chosen === show) await vscode.commands.executeCommand('elasticPrecision.jobs.focus');
  if (chosen === again) for (const job of fresh) await engine.request(wayOn(job), { id: job.id });
}

/** Evaluations and exports keep nothing on their way: they start again, and the question says so. */
function offerOf(jobs: readonly JobRecord[]): { readonly question: string; readonly again: string } {
  const [{ title }] = jobs as [JobRecord];
  const fromStart = jobs.filter((job) => !job.resumable).length;
  if (fromStart === jobs.length) {
    const question =
      jobs.length === 1
        ? vscode.l10n.t('"{0}" was interrupted. Run it again from the beginning?', title)
        : vscode.l10n.t('{0} jobs were interrupted. Run them again from the beginning?', jobs.length);
    return { question, again: vscode.l10n.t('Run Again') };
  }
  const question =
    jobs.length === 1
      ? vscode.l10n.t('"{0}" was interrupted. Resume it?', title)
      : vscode.l10n.t('{0} jobs were interrupted. Resume them?', jobs.length);
  const note = fromStart > 0 ? vscode.l10n.t(' Those that keep no progress start again.') : '';
  return { question: question + note, again: vscode.l10n.t('Resume') };
}
