/** The scores of an evaluation in a few words. */
import { vscode } from '../common/vscode.js';
import { formatBits, formatPercent } from '../common/format.js';
import type { Evaluation } from '../../engine/protocol/protocol.js';

export type EvaluationRow = Evaluation['result']['rows'][number];

/** The score that a task is known by, such as `87.30% top-1`; empty where nothing was labelled. */
export function scoreOf(row: EvaluationRow): string {
  const share = (value: number) => formatPercent(value, vscode.env.language, 2);
  if (row.top1 !== undefined) return vscode.l10n.t('{0} top-1', share(row.top1));
  if (row.perplexity !== undefined) return vscode.l10n.t('perplexity {0}', number(row.perplexity, 2));
  if (row.accuracy !== undefined) return vscode.l10n.t('{0} correct', share(row.accuracy));
  if (row.kl !== undefined) return vscode.l10n.t('divergence {0}', number(row.kl, 4));
  return '';
}

const number = (value: number, digits: number) =>
  new Intl.NumberFormat(vscode.env.language, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);

/** The lowest bit-width of the adapter sets in an evaluation, or else of anything in it, with its score. */
export function headline(rows: readonly EvaluationRow[]): string {
  const narrow = rows
    .filter((row) => row.bits !== 'fp')
    .sort(
      (a, b) =>
        Number(b.kind === 'adapters') - Number(a.kind === 'adapters') || Number(a.bits) - Number(b.bits),
    )[0];
  const row = narrow ?? rows[0];
  if (!row) return '';
  const score = scoreOf(row);
  return row.bits === 'fp' || score === ''
    ? score
    : vscode.l10n.t('{0} at {1} bits', score, formatBits([row.bits], vscode.env.language));
}
