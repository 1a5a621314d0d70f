/** What the text of a plan can go on with, and what its keys mean, as the editor shows it. */
import { vscode } from '../common/vscode.js';
import { completionsAt, layersAt, type Completion } from '../../engine/plans/completion.js';
import { formatWidth } from '../../engine/plans/numbers.js';
import type { PrecisionTable } from '../../engine/protocol/protocol.js';
import { formatBytes, formatLoss, formatPercent } from '../common/format.js';
import { isPlan, type Plans } from './plans.js';

const locale = () => vscode.env.language;

export function registerSuggestions(plans: Plans): vscode.Disposable[] {
  // With the language it stands beside what JSON's own support offers, not in its place.
  const selector: vscode.DocumentSelector = ['json', 'jsonc'].map((language) => ({
    language,
    pattern: '**/*.precision.json',
  }));
  return [
    vscode.languages.registerCompletionItemProvider(
      selector,
      {
        provideCompletionItems: async (document, position) => {
          if (!isPlan(document)) return [];
          const { table, state } = await plans.read(document);
          if (!table) return [];
          const offset = document.offsetAt(position);
          const found = completionsAt(document.getText(), offset, table.layers, table.bits, state.plan);
          return found.map((completion, i) => itemOf(document, table, completion, i));
        },
      },
      ...['"', '.', ':', ' '],
    ),
    vscode.languages.registerHoverProvider(selector, {
      provideHover: async (document, position) => {
        if (!isPlan(document)) return undefined;
        const { table } = await plans.read(document);
        const found = table && layersAt(document.getText(), document.offsetAt(position), table.layers);
        if (!table || !found || found.layers.length === 0) return undefined;
        return new vscode.Hover(hoverOf(table, found.layers), rangeOf(document, found.range));
      },
    }),
  ];
}

const rangeOf = (document: vscode.TextDocument, { offset, length }: Completion['range']): vscode.Range =>
  new vscode.Range(document.positionAt(offset), document.positionAt(offset + length));

function itemOf(
  document: vscode.TextDocument,
  table: PrecisionTable,
  { kind, value, text, lacksValue, behind, range, layers }: Completion,
  place: number,
): vscode.CompletionItem {
  const { Value, Field, Constant } = vscode.CompletionItemKind;
  const item = new vscode.CompletionItem(
    kind === 'bits' ? formatWidth(Number(value), 'en') : String(value),
    { bits: Value, layer: Field, pattern: Constant }[kind],
  );
  item.detail = kind === 'bits' ? pricesOf(table, layers, Number(value)) : factsOf(table, layers);
  item.range = rangeOf(document, range);
  item.filterText = text;
  // In the order of the model, which is not that of the alphabet.
  item.sortText = String(place).padStart(6, '0');
  const snippet = new vscode.SnippetString().appendText(text);
  if (lacksValue) snippet.appendText(': ').appendPlaceholder(String(usualBits(table)));
  item.insertText = snippet.appendText(behind);
  return item;
}

const usualBits = ({ bits }: PrecisionTable): number => (bits.includes(4) ? 4 : bits[0]!);

/** Such as `768 × 768 · 1.4% of the weights`; of several layers, how many. */
function factsOf({ layers }: PrecisionTable, own: readonly number[]): string {
  const weights = (some: readonly { readonly weights: number }[]) =>
    some.reduce((sum, layer) => sum + layer.weights, 0);
  const found = own.map((i) => layers[i]!);
  const share = formatPercent(weights(found) / (weights(layers) || 1), locale(), 1);
  const what =
    found.length === 1
      ? found[0]!.shape.join(' × ')
      : vscode.l10n.t('{0} layers', new Intl.NumberFormat(locale()).format(found.length));
  return vscode.l10n.t('{0} · {1} of the weights', what, share);
}

/** What layers take at these bits, and cost where that was measured. */
function pricesOf(
  { bits, layers, sensitivity }: PrecisionTable,
  own: readonly number[],
  width: number,
): string {
  const at = bits.indexOf(width);
  const sum = (value: (i: number) => number) => own.reduce((all, i) => all + value(i), 0);
  const size = formatBytes(
    sum((i) => layers[i]!.bytes[at]!),
    locale(),
  );
  if (!sensitivity) return size;
  const cost = formatLoss(
    sum((i) => sensitivity.costs[i]![at]!),
    locale(),
  );
  return `${size} · ${vscode.l10n.t('cost {0}', cost)}`;
}

/** Of numbers alone, as they are: nothing in it is read as a link. */
function hoverOf(table: PrecisionTable, own: readonly number[]): { language: string; value: string } {
  const prices = [...table.bits]
    .reverse()
    .map(
      (width) => `${vscode.l10n.t('{0} bits', formatWidth(width, locale()))}: ${pricesOf(table, own, width)}`,
    );
  return { language: 'text', value: [factsOf(table, own), ...prices].join('\n') };
}
