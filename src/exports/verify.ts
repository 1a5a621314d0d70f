/** *Verify*: what an export wrote, run in what it is for and scored beside the set; and other exports of the same with it. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { JobRecord } from '../../engine/protocol/protocol.js';
import { confirm } from '../common/messages.js';
import { readSettings } from '../configuration.js';
import type { Context } from '../context.js';
import { chooseEvaluationData } from '../data/remembered.js';
import { fileName } from '../evaluation/page.js';
import type { JobNode } from '../jobs/nodes.js';
import { samplesOf } from './samples.js';
import { verifiable } from './verifiable.js';

/** Asks for data and how much of it, queues the job, and shows it where its rows will stand. */
export async function verifyExport(context: Context, node?: JobNode): Promise<void> {
  const chosen = node ?? context.trees.jobs.view.selection.find((other) => other.kind === 'job');
  const job = chosen?.kind === 'job' ? context.jobs.get(chosen.id) : undefined;
  if (job) await verify(context, job);
}

export async function verify(context: Context, job: JobRecord): Promise<void> {
  const exported = verifiable(job, await context.jobs.all(), existsSync);
  if (exported.length === 0) throw new Error(vscode.l10n.t('What the export wrote is not there any more.'));
  if (exported.some(({ request }) => request.format === 'gguf') && !(await hasLlama(context))) return;
  const { model, adapters, bits, plan, tie } = exported[0]!.request;
  const known = (await context.models.all()).find(({ path }) => path === model);
  if (!known?.supported) throw new Error(vscode.l10n.t('The model is not there any more.'));
  const data = await chooseEvaluationData(context.extension, known);
  if (data === undefined) return;
  const limit = await samplesOf();
  if (limit === undefined) return;
  const { device, threads } = readSettings();
  const at = {
    ...(bits !== undefined && { bits }),
    ...(plan !== undefined && { plan }),
    ...(tie && { tie }),
  };
  const save = fileName(new Date());
  const { job: begun } = await context.engine.request('jobs/start', {
    kind: 'evaluate',
    request: {
      ...{ model, data, adapters: [adapters], device, save },
      exports: exported.map(({ request }) => ({ path: request.out, ...at })),
      ...(threads > 0 && { threads }),
      ...(limit > 0 && { limit }),
    },
    title: vscode.l10n.t('Verify {0}', exported.map(({ request }) => basename(request.out)).join(', ')),
  });
  const result = join(adapters, 'evaluations', `${save}.json`);
  context.evaluations.follow(model, adapters, { id: begun.id, result });
}

/** Whether llama.cpp is there. Where it is not, asks whether npm is to install it, in a terminal that shows what is done. */
async function hasLlama({ engine }: Context): Promise<boolean> {
  const { installed, install } = await engine.request('exports/llama', {});
  if (installed) return true;
  const yes = vscode.l10n.t('Install');
  const answer = await confirm(
    vscode.l10n.t('Install llama.cpp to verify GGUF files?'),
    vscode.l10n.t(
      'It is the npm package node-llama-cpp, about 90 MB, and is kept in your cache folder. This runs:\n\nnpm {0}',
      install.join(' '),
    ),
    yes,
  );
  if (answer !== yes) return false;
  const name = vscode.l10n.t('Install llama.cpp');
  const task = new vscode.Task(
    { type: 'shell' },
    vscode.TaskScope.Workspace,
    name,
    'Elastic Precision',
    new vscode.ShellExecution('npm', [...install]),
  );
  const running = await vscode.tasks.executeTask(task);
  const code = await new Promise<number | undefined>((resolve) => {
    const subscription = vscode.tasks.onDidEndTaskProcess(({ execution, exitCode }) => {
      if (execution !== running) return;
      subscription.dispose();
      resolve(exitCode);
    });
  });
  if (code === 0) return true;
  throw new Error(vscode.l10n.t('llama.cpp could not be installed; the terminal says why.'));
}
