/**
 * Collects what the extension says (`l10n.t` in src/) into l10n/bundle.l10n.json, which translations start from:
 * `npm run l10n`. With `--check` it only says whether that file is as it would be written.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));
const bundle = join(root, 'l10n/bundle.l10n.json');

const texts = new Set();
for (const file of await readdir(join(root, 'src'), { recursive: true }))
  if (file.endsWith('.ts') && !file.endsWith('.test.ts')) await collect(join(root, 'src', file));

const sorted = [...texts].sort();
const wanted = `${JSON.stringify(Object.fromEntries(sorted.map((text) => [text, text])), null, 2)}\n`;
if (!process.argv.includes('--check')) await writeFile(bundle, wanted);
else if ((await readFile(bundle, 'utf8').catch(() => '')) !== wanted) {
  console.error('l10n/bundle.l10n.json is not what src/ says; run `npm run l10n`.');
  process.exitCode = 1;
}

async function collect(path) {
  const source = ts.createSourceFile(path, await readFile(path, 'utf8'), ts.ScriptTarget.Latest, true);
  const visit = (node) => {
    if (ts.isCallExpression(node) && /(^|\.)l10n\.t$/.test(node.expression.getText(source))) {
      const [text] = node.arguments;
      // A text put together in the code cannot be translated.
      if (!ts.isStringLiteral(text)) throw new Error(`${path}: l10n.t takes a text in quotes.`);
      texts.add(text.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
}
