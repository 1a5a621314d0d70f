import { vscode } from '../common/vscode.js';
import { alone, BACK } from '../common/ask.js';
import { confirm } from '../common/messages.js';
import { readSettings, writeDevice } from '../configuration.js';
import type { Context } from '../context.js';
import { chooseDevice as askDevice, deviceName } from '../devices/choose.js';
import { isActive } from '../jobs/job-list.js';
import { countOfJobs } from '../jobs/nodes.js';
import { refresh } from '../models/commands.js';

/** Asks first where something runs. */
export async function restartEngine(context: Context): Promise<void> {
  const running = context.jobs.known().some(({ state, elsewhere }) => state === 'running' && !elsewhere);
  if (running && context.engine.state === 'running') {
    const restart = vscode.l10n.t('Restart');
    const answer = await confirm(
      vscode.l10n.t('Restart the engine while a job is running?'),
      vscode.l10n.t('The job will be interrupted. A calibration can be resumed.'),
      restart,
    );
    if (answer !== restart) return;
  }
  await context.engine.restart();
  refresh(context);
}

export async function chooseDevice({ engine }: Context): Promise<void> {
  const reports = engine.request('devices/list', {}).then(({ devices }) => devices);
  const device = await askDevice(alone(vscode.l10n.t('Choose Device')), readSettings().device, reports);
  if (device !== undefined && device !== BACK) await writeDevice(device);
}

export async function showMenu(context: Context): Promise<void> {
  const { state } = context.engine;
  const jobs = context.jobs.known().filter(isActive).length;
  const entries = [
    {
      label: `$(list-unordered) ${vscode.l10n.t('Show Jobs')}`,
      description: jobs > 0 ? countOfJobs(jobs) : '',
      command: 'elasticPrecision.jobs.focus',
    },
    {
      label: `$(chip) ${vscode.l10n.t('Choose Device…')}`,
      description: deviceName(readSettings().device),
      command: 'elasticPrecision.chooseDevice',
    },
    {
      label: `$(debug-restart) ${vscode.l10n.t('Restart Engine')}`,
      description: state === 'failed' ? vscode.l10n.t('not running') : '',
      command: 'elasticPrecision.restartEngine',
    },
    { label: `$(output) ${vscode.l10n.t('Show Log')}`, command: 'elasticPrecision.showLog' },
  ];
  const chosen = await vscode.window.showQuickPick(entries, { title: 'Elastic Precision' });
  if (chosen) await vscode.commands.executeCommand(chosen.command);
}
