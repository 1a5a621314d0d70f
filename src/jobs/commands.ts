import { vscode } from '../common/vscode.js';
import { confirm } from '../common/messages.js';
import type { JobRecord } from '../../engine/protocol/protocol.js';
import type { Context } from '../context.js';
import { actionsOf } from './job-list.js';
import type { JobNode } from './nodes.js';

/** From a menu with its node, from a key with none: then the selected row counts. */
const jobOf = ({ trees, jobs }: Context, node: JobNode | undefined): JobRecord | undefined => {
  const chosen = node ?? trees.jobs.view.selection.find((other) => other.kind === 'job');
  return chosen?.kind === 'job' ? jobs.get(chosen.id) : undefined;
};

export async function cancel(context: Context, node?: JobNode): Promise<void> {
  const job = jobOf(context, node);
  if (job) await context.engine.request('jobs/cancel', { id: job.id });
}

export async function resume(context: Context, node?: JobNode): Promise<void> {
  const job = jobOf(context, node);
  if (job) await context.engine.request('jobs/resume', { id: job.id });
}

/** Asks first where it throws work away. */
export async function retry(context: Context, node?: JobNode): Promise<void> {
  const job = jobOf(context, node);
  if (!job) return;
  if (job.resumable) {
    const begin = vscode.l10n.t('Start from the Beginning');
    const answer = await confirm(
      vscode.l10n.t('Run "{0}" again from the beginning?', job.title),
      vscode.l10n.t('Its progress is deleted. To continue from it, choose Resume instead.'),
      begin,
    );
    if (answer !== begin) return;
  }
  await context.engine.request('jobs/retry', { id: job.id });
}

export async function showLog(context: Context, node?: JobNode): Promise<void> {
  const job = jobOf(context, node);
  if (job) await context.logs.show(job.id);
}

/** Asks about the progress of what did not end. */
export async function remove(context: Context, node?: JobNode): Promise<void> {
  const job = jobOf(context, node);
  if (!job || !actionsOf(job).remove) return;
  const keep = vscode.l10n.t('Keep Progress');
  const erase = vscode.l10n.t('Delete Progress');
  if (!job.resumable) return removeJob(context, job, false);
  const answer = await confirm(
    vscode.l10n.t('Remove "{0}" from the list?', job.title),
    job.kind === 'get'
      ? vscode.l10n.t('What has come so far is kept in the Hugging Face cache.')
      : vscode.l10n.t('Its progress is kept next to where the adapter set will be written.'),
    keep,
    erase,
  );
  if (answer) await removeJob(context, job, answer === erase);
}

async function removeJob({ engine }: Context, { id }: JobRecord, deleteProgress: boolean): Promise<void> {
  await engine.request('jobs/remove', { id, ...(deleteProgress && { deleteProgress }) });
}

/** Those that ended well, and cancelled or failed ones that cannot go on. */
export async function clearFinished(context: Context): Promise<void> {
  for (const job of await context.jobs.all())
    if (actionsOf(job).remove && !job.resumable && job.state !== 'interrupted')
      await removeJob(context, job, false);
}
