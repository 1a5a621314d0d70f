/**
 * The controls of all pages. This is the only module that knows `@vscode/webview-ui-toolkit`: whoever replaces the
 * toolkit replaces this file.
 */
import {
  provideVSCodeDesignSystem,
  vsCodeButton,
  vsCodeCheckbox,
  vsCodeDataGrid,
  vsCodeDataGridCell,
  vsCodeDataGridRow,
  vsCodeDropdown,
  vsCodeOption,
  vsCodeProgressRing,
  vsCodeTextField,
} from '@vscode/webview-ui-toolkit';
import { element, setAttributes } from './dom.js';

provideVSCodeDesignSystem().register(
  vsCodeButton(),
  vsCodeCheckbox(),
  vsCodeDataGrid(),
  vsCodeDataGridCell(),
  vsCodeDataGridRow(),
  vsCodeDropdown(),
  vsCodeOption(),
  vsCodeProgressRing(),
  vsCodeTextField(),
);

export interface ButtonOptions {
  readonly label: string;
  readonly primary?: boolean;
  readonly disabled?: boolean;
  /** Id of an element that says more, for screen readers. */
  readonly describedBy?: string;
  readonly onPress: () => void;
}

export function button({ label, primary, disabled, describedBy, onPress }: ButtonOptions): HTMLElement {
  const control = element(
    'vscode-button',
    { appearance: primary ? 'primary' : 'secondary', disabled, 'aria-describedby': describedBy },
    label,
  );
  control.addEventListener('click', onPress);
  return control;
}

export interface CheckboxOptions {
  readonly label: string;
  /** Read after the label, shown as a tooltip. */
  readonly hint?: string;
  readonly checked: boolean;
  readonly disabled?: boolean;
  readonly onChange: (checked: boolean) => void;
}

export function checkbox({ label, hint, checked, disabled, onChange }: CheckboxOptions): HTMLElement {
  const control = element(
    'vscode-checkbox',
    { disabled, title: hint, 'aria-description': hint },
    label,
  ) as HTMLInputElement;
  control.checked = checked;
  // The toolkit also fires `change` when the property is set.
  let known = checked;
  control.addEventListener('change', () => {
    if (control.checked === known) return;
    known = control.checked;
    onChange(known);
  });
  return control;
}

export interface NumberFieldOptions {
  readonly label: string;
  readonly placeholder: string;
  readonly value: number | undefined;
  readonly disabled?: boolean;
  /** `undefined` where the field is empty, NaN where it holds anything but a whole number above zero. */
  readonly onChange: (value: number | undefined) => void;
}

export function numberField({
  label,
  placeholder,
  value,
  disabled,
  onChange,
}: NumberFieldOptions): HTMLElement {
  // The toolkit takes its name from its content, which the page hides: the label stands beside it.
  const control = element(
    'vscode-text-field',
    { placeholder, value: value === undefined ? '' : String(value), disabled, size: 12 },
    label,
  ) as HTMLInputElement;
  control.addEventListener('input', () => {
    const text = control.value.trim();
    const number = /^[1-9]\d{0,8}$/.test(text) ? Number(text) : NaN;
    const valid = text === '' || !Number.isNaN(number);
    setAttributes(control, { 'aria-invalid': !valid && 'true' });
    onChange(text === '' ? undefined : number);
  });
  return control;
}

export interface Choice {
  readonly value: string;
  readonly label: string;
}

export interface DropdownOptions {
  readonly label: string;
  readonly choices: readonly Choice[];
  readonly value: string;
  readonly onChange: (value: string) => void;
}

export function dropdown({ label, choices, value, onChange }: DropdownOptions): HTMLElement {
  const options = choices.map((choice) =>
    element('vscode-option', { value: choice.value, selected: choice.value === value }, choice.label),
  );
  const control = element('vscode-dropdown', { 'aria-label': label }, ...options) as HTMLSelectElement;
  let known = value;
  control.addEventListener('change', () => {
    if (control.value === known) return;
    known = control.value;
    onChange(known);
  });
  return control;
}

export interface ProgressBar {
  readonly root: HTMLElement;
  /** @param share 0 to 1; undefined where the work has not begun */
  show(share: number | undefined, text: string): void;
}

/** The toolkit has none. */
export function progressBar(label: string): ProgressBar {
  const bar = element('progress', { class: 'bar', max: 1, 'aria-label': label });
  const caption = element('span', { class: 'caption' });
  return {
    root: element('div', { class: 'progress' }, bar, caption),
    show(share, text) {
      if (share === undefined) bar.removeAttribute('value');
      else bar.value = share;
      bar.setAttribute('aria-valuetext', text);
      caption.textContent = text;
    },
  };
}

export interface Column {
  readonly key: string;
  readonly title: string;
  readonly numeric: boolean;
  readonly width: string;
}

export interface GridRow {
  readonly key: string;
  /** One a column. */
  readonly cells: readonly string[];
}

export interface Sorting {
  readonly column: string;
  readonly descending: boolean;
}

export interface Grid {
  readonly root: HTMLElement;
  show(columns: readonly Column[], rows: readonly GridRow[], sorting: Sorting): void;
}

export interface GridOptions {
  readonly label: string;
  readonly onSort: (column: string) => void;
  /** The row that the pointer or the focus is on. */
  readonly onVisit: (key: string | undefined) => void;
}

/** A table in which arrow keys move; Enter, Space or a click on a column's head sorts by it. */
export function grid({ label, onSort, onVisit }: GridOptions): Grid {
  const root = element('vscode-data-grid', { 'aria-label': label, 'generate-header': 'none' });
  let shape = '';
  let heads: readonly Head[] = [];
  const lines = new Map<string, HTMLElement>();

  const headerOf = (columns: readonly Column[]) => {
    heads = columns.map((column, i) => headOf(column, i, onSort));
    return element('vscode-data-grid-row', { 'row-type': 'header' }, ...heads.map(({ cell }) => cell));
  };
  const lineOf = (columns: readonly Column[], key: string) => {
    const cells = columns.map(({ numeric }, i) =>
      element('vscode-data-grid-cell', {
        'grid-column': i + 1,
        'cell-type': i === 0 && 'rowheader',
        class: numeric && 'numeric',
      }),
    );
    const line = element('vscode-data-grid-row', { 'data-key': key }, ...cells);
    for (const type of ['pointerenter', 'focusin']) line.addEventListener(type, () => onVisit(key));
    for (const type of ['pointerleave', 'focusout']) line.addEventListener(type, () => onVisit(undefined));
    return line;
  };

  return {
    root,
    // Lines stay the elements they are, so that one keeps the focus while others come or change.
    show(columns, rows, sorting) {
      const next = JSON.stringify(columns);
      if (next !== shape) {
        shape = next;
        for (const line of root.querySelectorAll('vscode-data-grid-row')) line.remove();
        lines.clear();
        root.append(headerOf(columns));
        setAttributes(root, { 'grid-template-columns': columns.map(({ width }) => width).join(' ') });
      }
      for (const { column, cell, arrow } of heads) {
        const sorted = column === sorting.column;
        const direction = sorting.descending ? 'descending' : 'ascending';
        setAttributes(cell, { 'aria-sort': sorted ? direction : 'none' });
        arrow.textContent = sorted ? (sorting.descending ? '▾' : '▴') : '';
      }
      const wanted = new Set(rows.map(({ key }) => key));
      for (const [key, line] of lines) {
        if (wanted.has(key)) continue;
        line.remove();
        lines.delete(key);
      }
      for (const [i, { key, cells }] of rows.entries()) {
        const line = lines.get(key) ?? lineOf(columns, key);
        lines.set(key, line);
        for (const [j, text] of cells.entries())
          if (line.children[j]!.textContent !== text) line.children[j]!.textContent = text;
        if (root.children[i + 1] !== line) root.insertBefore(line, root.children[i + 1] ?? null);
      }
    },
  };
}

interface Head {
  readonly column: string;
  readonly cell: HTMLElement;
  readonly arrow: HTMLElement;
}

function headOf({ key, title, numeric }: Column, index: number, onSort: (column: string) => void): Head {
  const arrow = element('span', { class: 'arrow', 'aria-hidden': 'true' });
  // On the side where it does not push the title out of its column.
  const content = numeric ? [arrow, title] : [title, arrow];
  const cell = element(
    'vscode-data-grid-cell',
    { 'cell-type': 'columnheader', 'grid-column': index + 1, class: numeric && 'numeric' },
    ...content,
  );
  cell.addEventListener('click', () => onSort(key));
  cell.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    onSort(key);
  });
  return { column: key, cell, arrow };
}
