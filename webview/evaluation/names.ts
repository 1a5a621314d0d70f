/** What rows and their methods are called. No DOM. */
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import type { State } from './state.js';

type Named = Pick<EvaluationRow, 'kind' | 'label' | 'method'>;
interface Words {
  readonly view: Pick<State['view'], 'methods'>;
  readonly strings: Pick<State['strings'], 'fullPrecision'>;
}

/** A method's title; its name where the model has no such method. */
const titleOf = (method: string, { view }: Words): string => view.methods?.[method] ?? method;

/** The name of a row's model: of a baseline its method, and what else its label tells; a set keeps its own. */
export function nameOf({ kind, label }: Named, words: Words): string {
  if (kind === 'full') return words.strings.fullPrecision;
  return kind === 'baseline' ? label.replace(/^\w+/, (method) => titleOf(method, words)) : label;
}

/** The method of a row that has one. */
export const methodOf = ({ method }: Named, words: Words): string =>
  method === undefined ? '–' : titleOf(method, words);

/** A set's name with its method. */
export function fullNameOf(row: Named, words: Words): string {
  const name = nameOf(row, words);
  return row.kind === 'adapters' && row.method !== undefined ? `${name} · ${methodOf(row, words)}` : name;
}
