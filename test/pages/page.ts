/** A built page of the extension in a headless browser, with an editor that the test speaks for. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium, type Browser, type Page } from 'playwright-core';
import { editor } from '../../scripts/install-editor.mjs';
import { themes, type Theme } from './themes.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

export const launch = (): Promise<Browser> =>
  chromium.launch({
    executablePath: editor.chromium,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu'],
  });

export interface TestPage {
  readonly page: Page;
  /** What the page has posted, oldest first. */
  sent(): Promise<readonly Record<string, unknown>[]>;
  post(...messages: readonly unknown[]): Promise<void>;
  /** What the page complained of; violations of its policy are among it. */
  readonly errors: readonly string[];
}

/** Opens the page `name` with the policy it has in the editor: nothing inline, nothing from elsewhere. */
export async function openPage(
  browser: Browser,
  name: string,
  options: { readonly theme?: Theme; readonly width?: number; readonly height?: number } = {},
): Promise<TestPage> {
  const { theme = 'dark', width = 1200, height = 800 } = options;
  const page = await browser.newPage({ viewport: { width, height } });
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  const files = await builtPage(name);
  const policy = "default-src 'none'; style-src 'self' 'nonce-page'; script-src 'self'";
  await page.route('http://page.test/**', (route) => {
    const path = new URL(route.request().url()).pathname;
    if (path === '/') {
      const body = `<!DOCTYPE html><html lang="en"><head><meta http-equiv="Content-Security-Policy" content="${policy}">
<meta property="csp-nonce" content="page">
<link rel="stylesheet" href="/theme.css"><link rel="stylesheet" href="/style.css"></head>
<body class="${themes[theme].className}"><script src="/editor.js"></script><script src="/page.js"></script></body></html>`;
      return route.fulfill({ contentType: 'text/html', body });
    }
    const known: Record<string, [string, string]> = {
      '/theme.css': ['text/css', themes[theme].css],
      '/style.css': ['text/css', files.style],
      '/editor.js': ['text/javascript', EDITOR],
      '/page.js': ['text/javascript', files.script],
    };
    const [contentType, body] = known[path] ?? ['text/plain', ''];
    return route.fulfill({ contentType, body, status: known[path] ? 200 : 204 });
  });
  await page.goto('http://page.test/');
  return {
    page,
    errors,
    sent: () => page.evaluate('window.sent'),
    post: (...messages) =>
      page.evaluate(`for (const message of ${JSON.stringify(messages)}) window.postMessage(message, '*')`),
  };
}

/** The editor's end: it keeps what is posted. */
const EDITOR = `
window.sent = [];
window.acquireVsCodeApi = () => ({
  postMessage: (message) => window.sent.push(message),
  setState: () => undefined,
});`;

async function builtPage(name: string): Promise<{ readonly script: string; readonly style: string }> {
  const outdir = join(root, '.vscode-test/pages');
  await build({
    absWorkingDir: root,
    entryPoints: { [name]: `webview/${name}/main.ts`, [`${name}-style`]: `webview/${name}/${name}.css` },
    ...{ outdir, bundle: true, platform: 'browser', target: 'es2022', format: 'iife', logLevel: 'warning' },
    alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
  });
  const read = (file: string) => readFile(join(outdir, file), 'utf8');
  return { script: await read(`${name}.js`), style: await read(`${name}-style.css`) };
}
