/** *Add Model from Hugging Face*: what a model of the hub would take, and a job that downloads it. */
import { vscode } from '../common/vscode.js';
import type { HubModel } from '../../engine/protocol/protocol.js';
import { alone, BACK } from '../common/ask.js';
import { formatBytes, formatCount, formatDuration } from '../common/format.js';
import { askText, pickOne, type Choice } from '../common/inputs.js';
import { alarm } from '../common/messages.js';
import { listHuggingFaceCache } from '../configuration.js';
import type { Context } from '../context.js';
import { wordsOf } from '../tasks.js';
import { parseHubName, type HubName } from './hub-name.js';

/** Asks for a name, shows what there is before anything is downloaded, and queues the download. */
export async function addFromHub(context: Context): Promise<void> {
  const title = vscode.l10n.t('Add Model from Hugging Face');
  const text = await askText(alone(title), {
    prompt: vscode.l10n.t('Name of the model, such as org/name or org/name@revision'),
    value: '',
    problem: (typed) =>
      typed.trim() === '' || parseHubName(typed)
        ? undefined
        : vscode.l10n.t('This is not the name of a model of the hub.'),
  });
  const name = text === undefined || text === BACK ? undefined : parseHubName(text);
  if (!name) return;
  const model = await look(context, name);
  const problem = problemOf(model, vscode.env.language);
  if (problem !== undefined) return void alarm(problem);
  const picked = await pickOne<true>(alone(title), {
    placeholder: vscode.l10n.t('{0}, {1}', model.model, termsOf(model)),
    items: rowsOf(model, vscode.env.language),
  });
  if (picked !== true) return;
  const { job } = await context.engine.request('jobs/start', {
    kind: 'get',
    request: { ...name, commit: model.commit },
    title: vscode.l10n.t('Download {0}', model.model),
  });
  await listHuggingFaceCache();
  await context.jobs.all();
  await context.trees.jobs.view.reveal({ kind: 'job', id: job.id }, { select: true, focus: false });
}

const look = ({ engine }: Context, name: HubName): Thenable<HubModel> =>
  vscode.window.withProgress(
    {
      location: vscode.ProgressLocation.Notification,
      title: vscode.l10n.t('Looking at {0}', name.model),
      cancellable: true,
    },
    (_progress, token) => {
      const stop = new AbortController();
      token.onCancellationRequested(() => stop.abort());
      return engine.request('hub/look', name, stop.signal);
    },
  );

const missingOf = ({ files }: HubModel): number =>
  files.reduce((sum, { bytes, here }) => sum + bytes - here, 0);

function termsOf({ licence, gated }: HubModel): string {
  const words =
    licence === undefined ? vscode.l10n.t('no licence stated') : vscode.l10n.t('licence {0}', licence);
  return gated ? vscode.l10n.t('{0}, gated', words) : words;
}

/** Why it is not worth downloading; undefined where it is. */
export function problemOf(model: HubModel, locale: string): string | undefined {
  if (!model.description)
    return vscode.l10n.t('{0} is not supported: {1}', model.model, model.unsupported ?? '');
  const missing = missingOf(model);
  if (model.free === undefined || missing <= model.free) return undefined;
  const [needed, free] = [missing, model.free].map((count) => formatBytes(count, locale));
  return vscode.l10n.t('{0} needs {1} in {2}, where {3} are free.', model.model, needed!, model.cache, free!);
}

/** The way on, and behind it all there is to know: what it is, what calibrating takes, and its files. */
export function rowsOf(model: HubModel, locale: string): Choice<true>[] {
  const { files, cache, free, memory, description } = model;
  const size = (count: number) => formatBytes(count, locale);
  const missing = missingOf(model);
  const { family, task, blocks, parameters, warnings, estimates } = description!;
  const separator = (label: string) => ({ label, kind: vscode.QuickPickItemKind.Separator });
  return [
    {
      value: true,
      label: missing === 0 ? vscode.l10n.t('Add') : vscode.l10n.t('Download {0}', size(missing)),
      description:
        free === undefined ? cache : vscode.l10n.t('to {0}, where {1} are free', cache, size(free)),
      detail: vscode.l10n.t('The Models view then lists what is in the Hugging Face cache.'),
    },
    separator(vscode.l10n.t('Model')),
    {
      label: wordsOf(task).name,
      description: [
        family,
        vscode.l10n.t('{0} blocks', blocks),
        vscode.l10n.t('{0} parameters', formatCount(parameters, locale)),
        termsOf(model),
      ].join(' · '),
    },
    ...warnings.map((label) => ({ label })),
    separator(vscode.l10n.t('Calibrating it here, with {0} of memory', size(memory))),
    ...estimates.map(({ method, effort, forecast }) => ({
      label: effort === undefined ? method : `${method}, ${effort}`,
      description: [
        formatDuration(forecast.seconds),
        vscode.l10n.t('{0} of memory', size(forecast.bytes)),
        ...(forecast.bytes > memory ? [vscode.l10n.t('more than there is')] : []),
      ].join(' · '),
    })),
    separator(vscode.l10n.t('Files')),
    ...files.map(({ name, bytes, here }) => ({
      label: name,
      description:
        here === 0 ? size(bytes) : vscode.l10n.t('{0}, of which {1} are here', size(bytes), size(here)),
    })),
  ];
}
