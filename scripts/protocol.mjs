/** Writes docs/PROTOCOL.md from the types of engine/protocol; with `--check` it only compares, and names what differs. */
import { readFile, writeFile } from 'node:fs/promises';
import { format } from 'prettier';
import ts from 'typescript';

const FOLDER = new URL('../engine/protocol/', import.meta.url);
const DOCUMENT = new URL('../docs/PROTOCOL.md', import.meta.url);

async function read(name) {
  const text = await readFile(new URL(name, FOLDER), 'utf8');
  return { text, file: ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true) };
}

const source = (node) => node.getText(node.getSourceFile());
const inline = (node) => source(node).replace(/\s+/g, ' ');
const code = (type) => `\`${type.replaceAll('|', '\\|')}\``;

/** The comment before a declaration, as one paragraph. */
const comment = (node) =>
  ts
    .getJSDocCommentsAndTags(node)
    .map((doc) => ts.getTextOfJSDocComment(doc.comment) ?? '')
    .join(' ')
    .replace(/\s*\n\s*/g, ' ');

const name = (member) => code(source(member.name).replaceAll("'", ''));
const typeOf = (member, key) => code(inline(member.type.members.find((m) => source(m.name) === key).type));

/** The subjects, in the order in which protocol.ts names them. */
const { file: index } = await read('protocol.ts');
const subjects = index.statements
  .filter(ts.isExportDeclaration)
  .map((s) => s.moduleSpecifier.text.replace(/^\.\/(.*)\.js$/, '$1.ts'));

const { file: surface } = await read('requests.ts');
const members = (of) =>
  surface.statements.find((s) => ts.isInterfaceDeclaration(s) && s.name.text === of).members;
const requests = members('Requests').map(
  (m) => `| ${name(m)} | ${typeOf(m, 'params')} | ${typeOf(m, 'result')} | ${comment(m)} |`,
);
const notifications = members('Notifications').map(
  (m) => `| ${name(m)} | ${code(inline(m.type))} | ${comment(m)} |`,
);

const { file: engineProcess, text: processText } = await read('process.ts');
const isConstant = (s, name) =>
  ts.isVariableStatement(s) && source(s.declarationList.declarations[0].name) === name;
const errors = engineProcess.statements.find((s) => isConstant(s, 'ErrorCode'));
const version = /PROTOCOL_VERSION = (\d+)/.exec(processText)[1];

/** Every declaration of a subject with its comment, below the first line of its file. */
async function section(subject) {
  const { text, file } = await read(subject);
  const title = /^\/\*\* (.*?) \*\/\n/.exec(text)[1];
  const [heading, ...rest] = title.split(': ');
  const what = rest.join(': ').replace(/^./, (letter) => letter.toUpperCase());
  const types = file.statements
    .filter(
      (s) => !ts.isImportDeclaration(s) && !isConstant(s, 'ErrorCode') && !isConstant(s, 'PROTOCOL_VERSION'),
    )
    .map((s) => {
      const own = ts.getLeadingCommentRanges(text, s.pos)?.at(-1);
      const isOwn = own && own.pos > 0 && text.slice(own.end, s.getStart(file)).trim() === '';
      return text.slice(isOwn ? own.pos : s.getStart(file), s.end).replaceAll(/^export /gm, '');
    });
  return `### ${heading.replace(/\.$/, '')}\n\n${what}\n\n\`\`\`ts\n${types.join('\n\n')}\n\`\`\``;
}
const sections = await Promise.all(subjects.filter((subject) => subject !== 'requests.ts').map(section));

const document = await format(
  `# Protocol

How an editor speaks with the engine, version ${version}: JSON-RPC 2.0 on the standard streams of \`elastic-precision serve\`, each
message behind a \`Content-Length\` header. Standard output is the protocol's alone; the log goes to standard error and into
\`engine/log\`. Paths are absolute, times milliseconds since 1970 (UTC), durations seconds, sizes bytes, shares 0 to 1. Optional
keys are left out, never null. The engine ends when its input closes or the process named in \`initialize\` is gone, and for
nothing that is sent to it: what is not a request is answered with an error, whose \`id\` is null where the message has none.

This page is written from the types of \`engine/protocol/\` by \`npm run protocol\`; \`npm run check\` fails when the two differ.

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
${source(errors).replace(/^export /, '')}
\`\`\`

## Types

${sections.join('\n\n')}
`,
  { parser: 'markdown', printWidth: 110, singleQuote: true },
);

if (process.argv.includes('--check')) {
  const written = await readFile(DOCUMENT, 'utf8').catch(() => '');
  if (written !== document) {
    const [are, should] = [written.split('\n'), document.split('\n')];
    const line = should.findIndex((l, i) => l !== are[i]);
    process.stderr.write(
      `docs/PROTOCOL.md does not say what engine/protocol does, from line ${line + 1}: "${should[line]}". Run npm run protocol.\n`,
    );
    process.exitCode = 1;
  }
} else await writeFile(DOCUMENT, document);
