/** *Export Model*: a set at its bits, written for other tools in the formats and the folder that a person chooses. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { ExportFormat } from '../../engine/protocol/protocol.js';
import { alone, BACK } from '../common/ask.js';
import { formatBytes, formatPercent } from '../common/format.js';
import { pickOne, pickSeveral, type Choice } from '../common/inputs.js';
import { plain } from '../common/plain.js';
import { contains } from '../common/paths.js';
import { readSettings, workspaceFolders } from '../configuration.js';
import type { Context } from '../context.js';
import { promisedFolders } from '../jobs/job-list.js';
import { exportName } from './names.js';
import { sourceOf, type ExportedNode, type ExportSource } from './sources.js';

const FORMATS = 'export.formats';
const FOLDER = 'export.folder';

/** Asks for what the menu does not say, for formats and a folder, and queues a job for each format. */
export async function exportModel(context: Context, from?: ExportedNode): Promise<void> {
  const source = await sourceOf(context, from);
  if (!source) return;
  const formats = await chooseFormats(context, source);
  if (!formats) return;
  const tie = await chooseTie(source, formats);
  if (tie === undefined) return;
  const folder = await chooseFolder(context, source);
  if (folder === undefined) return;
  const { device, threads } = readSettings();
  const ids: string[] = [];
  for (const format of formats) {
    const promised = promisedFolders(context.jobs.known());
    const name = exportName(source, format, (taken) => {
      const path = join(folder, taken);
      return existsSync(path) || promised.includes(path);
    });
    const { job } = await context.engine.request('jobs/start', {
      kind: 'export',
      request: {
        ...source.set,
        ...(tie && format.warning !== undefined && { tie }),
        format: format.name,
        out: join(folder, name),
        device,
        ...(threads > 0 && { threads }),
      },
      title: vscode.l10n.t('Export {0} as {1}', source.model, format.title),
    });
    ids.push(job.id);
    await context.jobs.all();
  }
  await context.trees.jobs.view.reveal({ kind: 'job', id: ids[0]! }, { select: true, focus: false });
}

async function chooseFormats(
  { engine, extension: { workspaceState } }: Context,
  { set, model, words }: ExportSource,
): Promise<readonly ExportFormat[] | undefined> {
  const listed = engine.request('exports/list', set);
  const before = workspaceState.get<readonly string[]>(FORMATS, []);
  const picked = await pickSeveral<string>(
    alone(vscode.l10n.t('Export {0}, {1}', model, words)),
    {
      placeholder: vscode.l10n.t('Formats to write'),
      items: listed.then(({ formats }) => choicesOf(formats, vscode.env.language)),
    },
    (name) => before.includes(name),
  );
  if (picked === undefined || picked === BACK) return undefined;
  await workspaceState.update(FORMATS, picked);
  return (await listed).formats.filter(({ name }) => picked.includes(name));
}

/** Whether layers that vLLM runs as one get the same bits, where a chosen format says that they have not; undefined to stop. */
async function chooseTie(
  { model, words }: ExportSource,
  formats: readonly ExportFormat[],
): Promise<boolean | undefined> {
  const apart = formats.filter(({ warning }) => warning !== undefined);
  if (apart.length === 0) return false;
  const picked = await pickOne<boolean>(alone(vscode.l10n.t('Export {0}, {1}', model, words)), {
    placeholder: vscode.l10n.t('vLLM runs queries, keys and values as one layer, and gate and up as another'),
    items: [
      {
        value: true,
        label: vscode.l10n.t('Tie for vLLM'),
        detail: vscode.l10n.t('Layers that are run as one get the most bits of one of them.'),
      },
      { value: false, label: vscode.l10n.t('Keep Bits'), detail: plain(apart[0]!.warning!) },
    ],
  });
  return picked === BACK ? undefined : picked;
}

/** Those that can hold the set, and behind them the others, which say why not and cannot be chosen. */
export function choicesOf(formats: readonly ExportFormat[], locale: string): Choice<string>[] {
  const refused = formats.filter(({ refusal }) => refusal !== undefined);
  return [
    ...formats.flatMap(({ name, title, description, size, held }) =>
      size
        ? [
            {
              value: name,
              label: title,
              description: [sizeText(size, locale), heldText(held, locale)].filter(Boolean).join(' · '),
              detail: description,
            },
          ]
        : [],
    ),
    ...(refused.length > 0
      ? [{ label: vscode.l10n.t('Not possible'), kind: vscode.QuickPickItemKind.Separator }]
      : []),
    ...refused.map(({ title, refusal }) => ({
      label: `$(circle-slash) ${title}`,
      detail: refusal!,
      buttons: [{ iconPath: new vscode.ThemeIcon('info'), tooltip: plain(refusal!) }],
    })),
  ];
}

/** Whether layers are held as the set has them, else how far off at most. */
function heldText(held: ExportFormat['held'], locale: string): string {
  if (!held || held.length === 0) return '';
  const distances = held.flatMap(({ distance }) => distance ?? []);
  if (distances.length === 0) return vscode.l10n.t('layers exact');
  return vscode.l10n.t('fitted, off by {0} of its error', formatPercent(Math.max(...distances), locale, 2));
}

function sizeText({ bytes, isExact }: NonNullable<ExportFormat['size']>, locale: string): string {
  const text = formatBytes(bytes, locale);
  return isExact ? text : vscode.l10n.t('at most {0}', text);
}

async function chooseFolder(
  { extension: { workspaceState } }: Context,
  { set }: ExportSource,
): Promise<string | undefined> {
  // An export within the model's folder would become a part of it.
  const [near = dirname(set.model)] = [workspaceState.get<string>(FOLDER), ...workspaceFolders()].filter(
    (folder) => folder !== undefined && existsSync(folder) && !contains(set.model, folder),
  );
  const chosen = await vscode.window.showOpenDialog({
    canSelectFolders: true,
    canSelectFiles: false,
    defaultUri: vscode.Uri.file(near),
    title: vscode.l10n.t('Folder to export into'),
    openLabel: vscode.l10n.t('Export'),
  });
  const folder = chosen?.[0]?.fsPath;
  if (folder === undefined) return undefined;
  if (contains(set.model, folder))
    throw new Error(vscode.l10n.t('{0} lies in the folder of the model; choose another.', folder));
  await workspaceState.update(FOLDER, folder);
  return folder;
}
