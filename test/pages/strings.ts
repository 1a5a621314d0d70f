import { readFile } from 'node:fs/promises';
import type { Strings as EvaluationStrings } from '../../webview/evaluation/protocol.js';
import type { Strings as PrecisionStrings } from '../../webview/precision/protocol.js';

/** A page's own texts, in English. */
async function textsOf(file: string): Promise<Readonly<Record<string, string>>> {
  const source = await readFile(new URL(`../../src/${file}/strings.ts`, import.meta.url), 'utf8');
  const found = [...source.matchAll(/(\w+): l10n\.t\(\s*'([^']*)',?\s*\)/g)].map(([, key, text]) => [
    key!,
    text!,
  ]);
  return Object.fromEntries(found) as Record<string, string>;
}

export const precisionStrings = () => textsOf('plans') as Promise<PrecisionStrings>;
export const evaluationStrings = () => textsOf('evaluation') as Promise<EvaluationStrings>;
