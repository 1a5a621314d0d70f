/** The message that shows a plan's table on its page, or says what it lacks. */
import { basename } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { ShowTable } from '../../webview/precision/protocol.js';
import { formatBits } from '../common/format.js';
import { pageTable } from './page.js';
import type { OpenPlan } from './plans.js';
import { pageStrings } from './strings.js';

/** @param live whether the plan's model can run. @param pinned names of layers */
export function tableMessage(plan: OpenPlan, live: boolean, pinned: readonly string[]): ShowTable {
  const { paths, table } = plan;
  return {
    type: 'table',
    locale: vscode.env.language,
    strings: pageStrings(),
    live,
    pinned,
    title: table?.model.name ?? basename(paths.model ?? ''),
    subtitle: table ? subtitleOf(paths, table) : '',
    lacks: lacksOf(plan),
    ...(table && { table: pageTable(table) }),
  };
}

function subtitleOf(
  { adapters }: OpenPlan['paths'],
  { bits, sensitivity }: NonNullable<OpenPlan['table']>,
): string {
  const set = adapters === undefined ? vscode.l10n.t('no adapter set') : basename(adapters);
  const widths = vscode.l10n.t('{0} bits', formatBits(bits, vscode.env.language));
  if (!sensitivity) return `${set} · ${widths}`;
  const { kind, samples, data } = sensitivity;
  const origin =
    kind === 'estimated'
      ? vscode.l10n.t('sensitivity estimated on {0} samples of {1}', samples, data)
      : vscode.l10n.t('sensitivity measured on {0} samples of {1}', samples, data);
  return `${set} · ${widths} · ${origin}`;
}

function lacksOf({ paths: { model, adapters }, table, failure, state }: OpenPlan): ShowTable['lacks'] {
  if (failure !== undefined)
    return [
      { lack: 'engine', text: failure, action: vscode.l10n.t('Try Again') },
      {
        lack: 'model',
        text: vscode.l10n.t('The plan is for {0}.', basename(model ?? '')),
        action: vscode.l10n.t('Choose Model…'),
      },
    ];
  if (model !== undefined && !table)
    return [
      {
        lack: 'trust',
        text: vscode.l10n.t('The model of a plan is read once you trust this workspace.'),
        action: vscode.l10n.t('Manage Workspace Trust'),
      },
    ];
  if (model === undefined)
    return state.plan === undefined
      ? []
      : [
          {
            lack: 'model',
            text: vscode.l10n.t('The plan does not name a model yet.'),
            action: vscode.l10n.t('Choose Model…'),
          },
        ];
  if (adapters === undefined)
    return [
      {
        lack: 'adapters',
        text: vscode.l10n.t('Without an adapter set, only sizes are known.'),
        action: vscode.l10n.t('Choose Adapter Set…'),
      },
    ];
  const action = vscode.l10n.t('Compute Sensitivity…');
  if (table && !table.sensitivity)
    return [
      {
        lack: 'sensitivity',
        text: vscode.l10n.t('What each bit-width costs each layer has not been measured yet.'),
        action,
      },
    ];
  if (table?.sensitivity?.stale) return [{ lack: 'stale', text: table.sensitivity.stale, action }];
  return [];
}
