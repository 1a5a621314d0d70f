/** Plans as text: problems that JSON's own checks cannot see, and a line above the text that opens the visual editor. */
import { vscode } from '../common/vscode.js';
import { formatBytes } from '../common/format.js';
import { plain } from '../common/plain.js';
import { totalsOfPlan } from './document.js';
import { isPlan, type Plans } from './plans.js';

const SELECTOR: vscode.DocumentSelector = { pattern: '**/*.precision.json' };

export function registerLanguage(plans: Plans): vscode.Disposable[] {
  const diagnostics = vscode.languages.createDiagnosticCollection('elastic-precision');
  const lensesChanged = new vscode.EventEmitter<void>();
  // The first reading of a text is enough for both: it is asked of the engine once.
  async function check(document: vscode.TextDocument): Promise<void> {
    if (!isPlan(document)) return;
    const { state } = await plans.read(document);
    if (document.isClosed) return;
    lensesChanged.fire();
    const found = state.broken === undefined ? state.problems : [];
    diagnostics.set(
      document.uri,
      found.map(({ message, offset, length }) => {
        const range = new vscode.Range(document.positionAt(offset), document.positionAt(offset + length));
        const diagnostic = new vscode.Diagnostic(range, plain(message), vscode.DiagnosticSeverity.Error);
        diagnostic.source = 'Elastic Precision';
        return diagnostic;
      }),
    );
  }

  for (const document of vscode.workspace.textDocuments) void check(document);
  return [
    diagnostics,
    lensesChanged,
    vscode.workspace.onDidOpenTextDocument((document) => void check(document)),
    vscode.workspace.onDidCloseTextDocument(({ uri }) => diagnostics.delete(uri)),
    plans.onDidChange((document) => void check(document)),
    vscode.languages.registerCodeLensProvider(SELECTOR, {
      onDidChangeCodeLenses: lensesChanged.event,
      provideCodeLenses: (document) => {
        const known = plans.known(document);
        const totals = known?.table && totalsOfPlan(known.state, known.table);
        const command = 'elasticPrecision.openPlan';
        const top = new vscode.Range(0, 0, 0, 0);
        const lens = (title: string) =>
          new vscode.CodeLens(top, { title, command, arguments: [document.uri] });
        if (!totals) return [lens(vscode.l10n.t('Open Precision Editor'))];
        const { language } = vscode.env;
        const average = new Intl.NumberFormat(language, {
          minimumFractionDigits: 2,
          maximumFractionDigits: 2,
        }).format(totals.averageBits);
        return [
          lens(vscode.l10n.t('{0} bits on average · {1}', average, formatBytes(totals.bytes, language))),
          lens(vscode.l10n.t('Open Precision Editor')),
        ];
      },
    }),
  ];
}
