/** Logs of jobs as read-only documents, which follow a job while it runs. */
import { vscode } from '../common/vscode.js';
import type { AdapterList } from '../adapters/adapter-list.js';
import type { Connection } from '../common/connection.js';
import { messageOf } from '../common/errors.js';
import type { JobList } from './job-list.js';
import { logText, type LogSources } from './log-text.js';
import { jobSummary } from './nodes.js';

const SCHEME = 'elastic-precision-log';

export interface LogDocuments extends vscode.Disposable {
  show(id: string): Promise<void>;
}

export function createLogDocuments(
  connection: Connection,
  jobs: JobList,
  adapters: Pick<AdapterList, 'all'>,
): LogDocuments {
  const changed = new vscode.EventEmitter<vscode.Uri>();

  async function read(id: string): Promise<string> {
    const job = jobs.get(id) ?? (await jobs.all()).find((other) => other.id === id);
    if (!job) return vscode.l10n.t('The job is gone.');
    const { text, truncated } = await connection.request('jobs/log', { id });
    return logText({
      job,
      summary: jobSummary(job),
      parts: job.kind === 'calibrate' && job.result ? await partsOf(job.result.out) : [],
      log: truncated ? `${vscode.l10n.t('(The beginning is omitted.)')}\n${text}` : text,
      locale: vscode.env.language,
      words: logWords(),
    });
  }

  async function partsOf(out: string): Promise<LogSources['parts']> {
    const sets = (await adapters.all()).flatMap((owner) => owner.sets.map(({ set }) => set));
    const set = sets.find(({ path }) => path === out);
    return set?.readable ? set.facts.parts : [];
  }

  const subscriptions = [
    changed,
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, {
      onDidChange: changed.event,
      provideTextDocumentContent: ({ query }) => read(query).catch(messageOf),
    }),
    jobs.onDidChange((change) => {
      const id = change?.job?.id;
      for (const { uri } of vscode.workspace.textDocuments)
        if (uri.scheme === SCHEME && uri.query === id) changed.fire(uri);
    }),
  ];
  return {
    show: async (id) => {
      const title = jobs.get(id)?.title ?? id;
      const path = `/${title.replace(/[/\\]/g, '-')}.log`;
      const uri = vscode.Uri.from({ scheme: SCHEME, path, query: id });
      // A document that is open already may be of an earlier state.
      changed.fire(uri);
      const document = await vscode.workspace.openTextDocument(uri);
      await vscode.languages.setTextDocumentLanguage(document, 'log');
      await vscode.window.showTextDocument(document, { preview: true });
    },
    dispose: () => subscriptions.forEach((subscription) => void subscription.dispose()),
  };
}

const logWords = (): LogSources['words'] => ({
  state: vscode.l10n.t('State'),
  added: vscode.l10n.t('Added'),
  started: vscode.l10n.t('Started'),
  ended: vscode.l10n.t('Ended'),
  took: vscode.l10n.t('Took'),
  device: vscode.l10n.t('Device'),
  memory: vscode.l10n.t('Peak memory'),
  error: vscode.l10n.t('Error'),
  settings: vscode.l10n.t('Settings'),
  losses: vscode.l10n.t('Latest figures, block by block'),
  decisions: vscode.l10n.t('What became of each bit-width'),
  bits: vscode.l10n.t('{0} bits'),
  log: vscode.l10n.t('Log'),
});
