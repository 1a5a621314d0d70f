import { expect, it, vi } from 'vitest';

vi.mock('../common/vscode.js', () => ({
  vscode: {
    QuickPickItemKind: { Separator: -1 },
    ThemeIcon: class {},
    l10n: { t: (text: string, ...args: unknown[]) => text.replace('{0}', String(args[0])) },
  },
}));
vi.mock('./sources.js', () => ({}));
const { choicesOf } = await import('./command.js');

const format = (name: string) => ({ name, title: name.toUpperCase(), description: `what ${name} is` });

it('formats that can hold a set come with their size, the others behind them with the reason, not to be chosen', () => {
  const formats = [
    { ...format('no'), refusal: 'It has no place for this.' },
    {
      ...format('exact'),
      size: { bytes: 1_000_000, isExact: true },
      held: [{ container: 'Q4_1', bits: 4, layers: 9 }],
    },
    {
      ...format('bound'),
      size: { bytes: 2_000_000, isExact: false },
      held: [{ container: 'Q4_K', bits: 4, layers: 9, distance: 0.0007 }],
    },
  ];
  expect(choicesOf(formats, 'en')).toEqual([
    { value: 'exact', label: 'EXACT', description: '1 MB · layers exact', detail: 'what exact is' },
    {
      value: 'bound',
      label: 'BOUND',
      description: 'at most 2 MB · fitted, off by 0.07% of its error',
      detail: 'what bound is',
    },
    { label: 'Not possible', kind: -1 },
    {
      label: '$(circle-slash) NO',
      detail: 'It has no place for this.',
      buttons: [{ iconPath: {}, tooltip: 'It has no place for this.' }],
    },
  ]);
  expect(choicesOf(formats.slice(1), 'en')).toHaveLength(2);
});
