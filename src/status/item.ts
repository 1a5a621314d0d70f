/** The one status item: what the engine does, and a menu. */
import { vscode } from '../common/vscode.js';
import type { Health, JobRecord } from '../../engine/protocol/protocol.js';
import { formatDuration, formatProgress } from '../common/format.js';
import { plain } from '../common/plain.js';
import type { EngineClient } from '../engine/client.js';
import { timeLeft } from '../jobs/nodes.js';
import type { JobList } from '../jobs/job-list.js';
import { statusOf, type Status } from './status.js';

export function createStatusItem(engine: EngineClient, jobs: JobList): vscode.Disposable {
  const item = vscode.window.createStatusBarItem(
    'elasticPrecision.status',
    vscode.StatusBarAlignment.Left,
    10,
  );
  item.name = 'Elastic Precision';
  item.command = 'elasticPrecision.showStatusMenu';
  let health: Health | undefined;
  let failure: string | undefined;

  const update = () => {
    const message =
      failure === undefined ? health : { health: 'error' as const, quiescent: true, message: failure };
    show(item, statusOf(engine.state, message, jobs.known()));
  };
  const subscriptions = [
    item,
    engine.onNotification('engine/health', (news) => {
      health = news;
      update();
    }),
    engine.onDidChangeState(({ state, message }) => {
      failure = state === 'failed' ? message : undefined;
      if (state !== 'running') health = undefined;
      update();
    }),
    jobs.onDidChange(update),
  ];
  update();
  item.show();
  return { dispose: () => subscriptions.forEach((subscription) => subscription.dispose()) };
}

/** No sign by colour alone: each has its icon and its words. */
function show(item: vscode.StatusBarItem, status: Status): void {
  const { icon, text, tooltip } = wordsOf(status);
  item.text = `$(${icon}) ${text}`;
  item.tooltip = plain(tooltip);
  item.accessibilityInformation = { label: plain(`Elastic Precision, ${tooltip}`) };
  const background = { error: 'statusBarItem.errorBackground', warning: 'statusBarItem.warningBackground' }[
    status.kind as string
  ];
  item.backgroundColor = background === undefined ? undefined : new vscode.ThemeColor(background);
}

function workOf({ kind }: JobRecord): string {
  switch (kind) {
    case 'calibrate':
      return vscode.l10n.t('Calibrating');
    case 'evaluate':
      return vscode.l10n.t('Evaluating');
    case 'sensitivity':
      return vscode.l10n.t('Measuring layers');
    case 'export':
      return vscode.l10n.t('Exporting');
    case 'get':
      return vscode.l10n.t('Downloading');
  }
}

function wordsOf(status: Status): { readonly icon: string; readonly text: string; readonly tooltip: string } {
  const name = 'Elastic Precision';
  switch (status.kind) {
    case 'idle':
      return { icon: 'layers', text: name, tooltip: vscode.l10n.t('Elastic Precision: idle') };
    case 'starting':
      return { icon: 'loading~spin', text: name, tooltip: vscode.l10n.t('The engine is starting') };
    case 'warning':
      return {
        icon: 'warning',
        text: name,
        tooltip: status.message ?? vscode.l10n.t('The engine reports a warning'),
      };
    case 'error':
      return {
        icon: 'error',
        text: name,
        tooltip: status.message ?? vscode.l10n.t('The engine is not running'),
      };
    case 'busy': {
      const { job, progress, secondsLeft, queued } = status;
      const left = secondsLeft === undefined ? '' : ` · ${formatDuration(secondsLeft)}`;
      const waiting = queued > 0 ? vscode.l10n.t('{0} more queued', queued) : '';
      const share = formatProgress(progress, vscode.env.language);
      return {
        icon: 'loading~spin',
        text: `${workOf(job)} ${share}${left}`,
        tooltip: [job.title, share, timeLeft(secondsLeft), waiting].filter(Boolean).join(', '),
      };
    }
  }
}
