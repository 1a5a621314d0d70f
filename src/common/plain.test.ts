import { expect, it } from 'vitest';
import { plain, plainLabel, plainLines } from './plain.js';

/** As the editor finds links in messages (`parseLinkedText`). */
const LINK = /\[([^\]]+)\]\(((?:https?:\/\/|command:|file:)[^)\s]+)(?: (["'])(.+?)(\3))?\)/i;

it.each([
  '[Open_the_log](command:workbench.action.toggleZenMode)',
  'Calibrate [a](b) "[c](https://example.org)": failed.',
  'x [[y](command:a?%5B1%5D) z',
  // Parts that are harmless alone.
  `${'[Show more'}${'](command:a)'}`,
])('no link is left in %j, and nothing is lost', (text) => {
  for (const shown of [plain(text), plainLines(text), plainLabel(text)]) {
    expect(shown).not.toMatch(LINK);
    expect(shown.replaceAll('\u2060', '')).toBe(text);
  }
});

it('control characters are written out, lines apart where there are several', () => {
  expect(plain('a\u001b[31m\nb')).toBe('a\\u001b[31m\\u000ab');
  expect(plainLines('a\u0007\nb')).toBe('a\\u0007\nb');
});

it('a label keeps the icon that it begins with, and no other', () => {
  expect(plainLabel('$(history) data $(trash) x')).toBe('$(history) data $\u2060(trash) x');
});
