import { expect, it } from 'vitest';
import { visible, visibleLines } from './visible.js';

it.each([
  ['\u001b]0;pwned\u0007.png', '\\u001b]0;pwned\\u0007.png'],
  ['\u009b31mred', '\\u009b31mred'],
  ['a\r\nb\u2028c', 'a\\u000d\\u000ab\\u2028c'],
  ['gnp.\u202eexe', 'gnp.\\u202eexe'],
  ['ViT ünïcode 模型 👩‍🔬', 'ViT ünïcode 模型 👩‍🔬'],
])('%j is shown as %s', (text, shown) => expect(visible(text)).toBe(shown));

it('lines stay apart where a text has several', () => {
  expect(visibleLines('one\n\ttwo\u001b[2K\nthree')).toBe('one\n\\u0009two\\u001b[2K\nthree');
});
