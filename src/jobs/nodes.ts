/** The rows of the Jobs view, one function per kind of node. */
import { basename } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { EvaluateJob, JobRecord, JobState } from '../../engine/protocol/protocol.js';
import { isVerifiable } from '../exports/verifiable.js';
import { scoreOf } from '../evaluation/score.js';
import { formatBits, formatDuration, formatLoss, formatProgress } from '../common/format.js';
import type { Row } from '../common/tree.js';
import { actionsOf, isActive, latestFigures } from './job-list.js';

export interface JobNode {
  readonly kind: 'job';
  readonly id: string;
}
/** One line about a job. */
export interface DetailNode {
  readonly kind: 'detail';
  readonly job: JobNode;
  /** Which line. */
  readonly key: string;
  readonly label: string;
  readonly description?: string;
  readonly icon: string;
  /** What there is to know of it. */
  readonly help?: string;
}
export type JobsNode = JobNode | DetailNode;

const locale = () => vscode.env.language;

export function jobRow(job: JobRecord): Row {
  const actions = actionsOf(job);
  const words = [
    'job',
    job.state,
    actions.cancel && 'cancellable',
    actions.resume && 'resumable',
    actions.retry && 'retryable',
    actions.remove && 'removable',
    isVerifiable(job) && 'verifiable',
  ];
  const color = { failed: 'list.errorForeground', interrupted: 'list.warningForeground' }[
    job.state as string
  ];
  return {
    id: job.id,
    label: job.title,
    description: [setsOf(job), jobSummary(job)].filter(Boolean).join(' · '),
    kind: vscode.l10n.t('job'),
    icon: ICONS[job.state],
    ...(color && { color }),
    tooltip: tooltipOf(job),
    context: words.filter(Boolean).join(' '),
    // The editor keeps the state that it saw first: what is queued is expanded already when it begins.
    open: isActive(job) ? 'expanded' : 'collapsed',
  };
}

const ICONS: Readonly<Record<JobState, string>> = {
  queued: 'clock',
  running: 'loading~spin',
  interrupted: 'debug-pause',
  finished: 'pass',
  failed: 'error',
  cancelled: 'circle-slash',
};

/** The adapter sets that a job makes or works with, by their names. */
function setsOf({ kind, request }: JobRecord): string {
  const sets =
    kind === 'calibrate' ? [request.out] : 'adapters' in request ? [request.adapters ?? []].flat() : [];
  return sets.map((path) => basename(path)).join(', ');
}

/** How a job stands, in a few words. */
export function jobSummary(job: JobRecord): string {
  const share = formatProgress(job.progress, locale());
  const parts: string[] = [];
  switch (job.state) {
    case 'queued':
      parts.push(vscode.l10n.t('queued'));
      break;
    case 'running':
      parts.push(share, timeLeft(job.secondsLeft));
      break;
    case 'interrupted':
      parts.push(
        job.started === undefined ? vscode.l10n.t('not started') : vscode.l10n.t('interrupted at {0}', share),
      );
      break;
    case 'cancelled':
      parts.push(vscode.l10n.t('cancelled at {0}', share));
      break;
    case 'failed':
      parts.push(vscode.l10n.t('failed'));
      break;
    case 'finished':
      parts.push(vscode.l10n.t('finished'), formatDuration(job.result?.seconds ?? 0));
  }
  if (job.elsewhere) parts.push(vscode.l10n.t('in another window'));
  return parts.filter(Boolean).join(' · ');
}

/** Jobs that are still to end. */
export const countOfJobs = (active: number): string =>
  active === 1
    ? vscode.l10n.t('1 job running or queued')
    : vscode.l10n.t('{0} jobs running or queued', active);

export const timeLeft = (seconds: number | undefined): string =>
  seconds === undefined ? '' : vscode.l10n.t('{0} left', formatDuration(seconds));

function tooltipOf(job: JobRecord): string[] {
  const date = (time: number) => new Date(time).toLocaleString(locale());
  return [
    job.title,
    job.error ?? '',
    vscode.l10n.t('Model: {0}', job.request.model),
    'data' in job.request && job.request.data !== undefined
      ? vscode.l10n.t('Data: {0}', job.request.data)
      : '',
    job.kind === 'export' ? vscode.l10n.t('Written: {0}', job.request.out) : '',
    job.kind === 'calibrate' ? vscode.l10n.t('Adapter set: {0}', job.request.out) : '',
    vscode.l10n.t('Added: {0}', date(job.created)),
    job.ended === undefined ? '' : vscode.l10n.t('Ended: {0}', date(job.ended)),
  ].filter(Boolean);
}

/** The lines under a job. */
export function detailsOf(node: JobNode, job: JobRecord): DetailNode[] {
  const lines = linesOf(job);
  const error = job.error === undefined ? [] : [{ key: 'error', label: job.error, icon: 'warning' }];
  return [...error, ...lines].map((line) => ({ ...line, kind: 'detail', job: node }));
}

type Line = Pick<DetailNode, 'key' | 'label' | 'description' | 'icon' | 'help'>;

function linesOf(job: JobRecord): Line[] {
  const where = job.phase === undefined ? [] : [{ key: 'phase', label: job.phase, icon: 'layers' }];
  const figures = latestFigures(job).map(({ label, value }) => ({
    key: label,
    label,
    description: formatLoss(value, locale()),
    icon: 'graph-line',
    ...(job.kind === 'calibrate' && {
      help: vscode.l10n.t(
        'Of the block at work, or of the last one. An adapter set shows the mean of all blocks, in the first epoch and in the last.',
      ),
    }),
  }));
  const serve = job.kind === 'export' ? job.result?.serve : undefined;
  const command =
    serve === undefined
      ? []
      : [{ key: 'serve', label: serve, icon: 'terminal', help: vscode.l10n.t('Runs what was written.') }];
  return [...where, ...figures, ...command, ...(job.kind === 'evaluate' ? scoreLines(job) : [])];
}

const scoreLines = ({ result, partial }: EvaluateJob): Line[] =>
  (result ?? partial)?.rows.map((row) => ({
    key: `${row.label} ${row.bits}`,
    label:
      row.bits === 'fp'
        ? vscode.l10n.t('Full precision')
        : vscode.l10n.t('{0} bits', formatBits([row.bits], locale())),
    description: row.bits === 'fp' ? scoreOf(row) : `${row.label} · ${scoreOf(row)}`,
    icon: 'graph',
  })) ?? [];

export const detailRow = ({ job, key, label, description, icon, help }: DetailNode): Row => ({
  id: `${job.id}#${key}`,
  label,
  ...(description !== undefined && { description }),
  kind: '',
  icon,
  tooltip: [label, ...(help === undefined ? [] : [help])],
  context: 'detail',
});
