/** Writes docs/PROTOCOL.md from the types of engine/protocol/protocol.ts; with `--check` it only compares, and names what differs. */
import { readFile, writeFile } from 'node:fs/promises';
import { format } from 'prettier';
import ts from 'typescript';

const SOURCE = new URL('../engine/protocol/protocol.ts', import.meta.url);
const DOCUMENT = new URL('../docs/PROTOCOL.md', import.meta.url);

const text = await readFile(SOURCE, 'utf8');
const file = ts.createSourceFile('protocol.ts', text, ts.ScriptTarget.Latest, true);
const source = (node) => text.slice(node.getStart(file), node.end);

/** The comment before a declaration, as one paragraph. */
const comment = (node) =>
  ts
    .getJSDocCommentsAndTags(node)
    .map((doc) => ts.getTextOfJSDocComment(doc.comment) ?? '')
    .join(' ')
    .replace(/\s*\n\s*/g, ' ');

const declarations = file.statements.filter(
  (s) => ts.isInterfaceDeclaration(s) || ts.isTypeAliasDeclaration(s),
);
const members = (name) => declarations.find((d) => d.name.text === name).members;
const typeOf = (member, key) => {
  const part = member.type.members.find((m) => m.name.getText(file) === key);
  return source(part.type).replace(/\s+/g, ' ');
};
const code = (type) => `\`${type.replaceAll('|', '\\|')}\``;
const name = (member) => code(member.name.getText(file).replaceAll("'", ''));

const requests = members('Requests').map(
  (m) => `| ${name(m)} | ${code(typeOf(m, 'params'))} | ${code(typeOf(m, 'result'))} | ${comment(m)} |`,
);
const notifications = members('Notifications').map(
  (m) => `| ${name(m)} | ${code(source(m.type).replace(/\s+/g, ' '))} | ${comment(m)} |`,
);
const errors = file.statements.find(
  (s) => ts.isVariableStatement(s) && s.declarationList.declarations[0].name.getText(file) === 'ErrorCode',
);
const version = /PROTOCOL_VERSION = (\d+)/.exec(text)[1];
const own = new Set([
  'Requests',
  'Notifications',
  'RequestMethod',
  'ParamsOf',
  'ResultOf',
  'NotificationMethod',
]);
const types = declarations
  .filter((d) => !own.has(d.name.text))
  .map((d) => text.slice(ts.getLeadingCommentRanges(text, d.pos)?.at(-1)?.pos ?? d.getStart(file), d.end));

const document = await format(
  `# Protocol

How an editor speaks with the engine, version ${version}: JSON-RPC 2.0 on the standard streams of \`elastic-precision serve\`, each
message behind a \`Content-Length\` header. Standard output is the protocol's alone; the log goes to standard error and into
\`engine/log\`. Paths are absolute, times milliseconds since 1970 (UTC), durations seconds, sizes bytes, shares 0 to 1. Optional
keys are left out, never null. The engine ends when its input closes or the process named in \`initialize\` is gone.

This page is written from \`engine/protocol/protocol.ts\` by \`npm run protocol\`; \`npm run check\` fails when the two differ.

\`\`\`
→ {"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":${version},"storage":"/home/me/.storage","hostProcess":4711}}
← {"jsonrpc":"2.0","id":1,"result":{"protocolVersion":${version},"engineVersion":"0.1.0","capabilities":{"jobs":["calibrate","evaluate"],"families":["vit","llama"]}}}
→ {"jsonrpc":"2.0","id":2,"method":"models/list","params":{"folders":["/home/me/models"],"search":"first"}}
← {"jsonrpc":"2.0","method":"models/found","params":{"search":"first","model":{"path":"/home/me/models/vit","name":"vit","supported":false,"reason":"…"}}}
← {"jsonrpc":"2.0","id":2,"result":{"models":[…]}}
\`\`\`

## Requests

| method | parameters | result | what |
| --- | --- | --- | --- |
${requests.join('\n')}

A request is cancelled by \`$/cancelRequest\` with its id.

## Notifications from the engine

| method | parameters | when |
| --- | --- | --- |
${notifications.join('\n')}

## Errors

\`\`\`ts
${source(errors)}
\`\`\`

## Types

Requests and results of jobs, and what an adapter set's config holds, are those of the command line and of [FORMATS.md](FORMATS.md).

\`\`\`ts
${types.join('\n\n')}
\`\`\`
`,
  { parser: 'markdown', printWidth: 110, singleQuote: true },
);

if (process.argv.includes('--check')) {
  const written = await readFile(DOCUMENT, 'utf8').catch(() => '');
  if (written !== document) {
    const [are, should] = [written.split('\n'), document.split('\n')];
    const line = should.findIndex((l, i) => l !== are[i]);
    process.stderr.write(
      `docs/PROTOCOL.md does not say what engine/protocol/protocol.ts does, from line ${line + 1}: "${should[line]}". Run npm run protocol.\n`,
    );
    process.exitCode = 1;
  }
} else await writeFile(DOCUMENT, document);
