/** A page of the extension in a webview: its document under a strict policy, and its requests answered. */
import { randomBytes } from 'node:crypto';
import { env, Uri, type Disposable, type Webview } from 'vscode';
import type { Answer } from '../../webview/common/protocol.js';
import { messageOf } from './errors.js';

/** The folder that a page's files lie in, and the only one that it may load from. */
export const pageRoot = (extension: Uri): Uri => Uri.joinPath(extension, 'dist', 'webview');

/**
 * The document of a page, which is `<name>.js` and `<name>-style.css`: nothing inline, nothing from elsewhere. The
 * toolkit tries out one rule in a `<style>` of its own; a nonce in the page, which allows no script, lets it.
 */
export function pageDocument(webview: Webview, extension: Uri, name: string, title: string): string {
  const [nonce, styleNonce] = [18, 18].map((bytes) => randomBytes(bytes).toString('base64'));
  const file = (path: string) => webview.asWebviewUri(Uri.joinPath(pageRoot(extension), path)).toString();
  const styles = `style-src ${webview.cspSource} 'nonce-${styleNonce}'`;
  const policy = `default-src 'none'; ${styles}; script-src 'nonce-${nonce}';`;
  return `<!DOCTYPE html>
<html lang="${escape(env.language)}">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta property="csp-nonce" content="${styleNonce}">
<title>${escape(title)}</title>
<link rel="stylesheet" href="${file(`${name}-style.css`)}">
</head>
<body>
<script nonce="${nonce}" src="${file(`${name}.js`)}"></script>
</body>
</html>`;
}

const escape = (text: string) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

interface Numbered {
  readonly type: string;
  readonly id: number;
}

/** What answers each request of a page, by its type; the rest of its messages have handlers without an answer. */
export type Handlers<FromPage extends { readonly type: string }, Results> = {
  readonly [T in FromPage['type']]: (
    message: Extract<FromPage, { readonly type: T }>,
  ) => T extends keyof Results ? Results[T] | Promise<Results[T]> : void;
};

/** Hands every message of a page to its handler, and the result or the error's line back to the page. */
export function serve<FromPage extends { readonly type: string }, Results>(
  webview: Webview,
  handlers: Handlers<FromPage, Results>,
): Disposable {
  return webview.onDidReceiveMessage(async (message: FromPage | (FromPage & Numbered)) => {
    const handle = handlers[message.type as FromPage['type']] as (message: FromPage) => unknown;
    if (!('id' in message)) return handle(message);
    const answer = (content: Pick<Answer, 'result' | 'error'>) =>
      webview.postMessage({ type: 'answer', id: message.id, ...content } satisfies Answer);
    try {
      await answer({ result: await handle(message) });
    } catch (error) {
      await answer({ error: messageOf(error) });
    }
  });
}
