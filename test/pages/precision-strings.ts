import { readFile } from 'node:fs/promises';
import type { Strings } from '../../webview/precision/protocol.js';

/** The page's own texts, in English. */
export async function englishStrings(): Promise<Strings> {
  const source = await readFile(new URL('../../src/plans/strings.ts', import.meta.url), 'utf8');
  const found = [...source.matchAll(/(\w+): l10n\.t\(\s*'([^']*)',?\s*\)/g)].map(([, key, text]) => [
    key!,
    text!,
  ]);
  return Object.fromEntries(found) as Strings;
}
