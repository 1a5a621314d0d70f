/** VS Code as a server: the real workbench, extension host and child processes, in a folder of its own. */
import { execFile, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { editor } from '../../scripts/install-editor.mjs';

const exec = promisify(execFile);

/** Quiet, still and without anything that asks the network. */
const SETTINGS = {
  'telemetry.telemetryLevel': 'off',
  'workbench.startupEditor': 'none',
  'security.workspace.trust.enabled': false,
  'update.mode': 'none',
  'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  'workbench.tips.enabled': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.reduceMotion': 'on',
  'workbench.enableExperiments': false,
  'workbench.colorTheme': 'Dark Modern',
  'window.commandCenter': false,
  'window.confirmBeforeClose': 'never',
  'chat.disableAIFeatures': true,
  'chat.commandCenter.enabled': false,
  'git.enabled': false,
  'files.autoSave': 'off',
};

export interface ServerOptions {
  /** Packages to install. */
  readonly vsix?: readonly string[];
  /** User settings beside the quiet ones. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Ask whether a folder is trusted, as a desktop editor does. */
  readonly trust?: boolean;
  /** Lets a page name extension tests to run; hides notifications and dialogs. */
  readonly testDriver?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Server {
  readonly url: string;
  /** The folder that the one installed extension was unpacked into. */
  extension(): Promise<string>;
  /** Changes user settings, as editing the file would. */
  configure(settings: Readonly<Record<string, unknown>>): Promise<void>;
  /** What the server wrote. */
  log(): Promise<string>;
  stop(): Promise<void>;
}

/** Starts a server on a free port. Rejects with its log where it does not come up. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-editor-'));
  const path = (name: string) => join(folder, name);
  const settings = path('user/User/settings.json');
  const configure = (own: Readonly<Record<string, unknown>>) =>
    writeFile(settings, JSON.stringify({ ...SETTINGS, ...options.settings, ...own }, undefined, 2));
  for (const name of ['user/User', 'extensions', 'home']) await mkdir(path(name), { recursive: true });
  await configure(options.trust ? { 'security.workspace.trust.enabled': true } : {});
  await writeFile(path('config.yaml'), 'auth: none\ncert: false\n');

  const env = { ...cleanEnvironment(), HOME: path('home'), ...options.env };
  const common = [
    ...[editor.server, '--config', path('config.yaml')],
    ...['--user-data-dir', path('user'), '--extensions-dir', path('extensions')],
  ];
  for (const vsix of options.vsix ?? [])
    await exec(editor.node, [...common, '--install-extension', vsix], { env });

  const log = path('server.log');
  const output = openSync(log, 'w');
  const child = spawn(
    editor.node,
    [
      ...[...common, '--auth', 'none', '--bind-addr', '127.0.0.1:0', '--disable-telemetry'],
      ...['--disable-update-check', '--disable-getting-started-override', '--disable-proxy'],
      ...(options.trust ? [] : ['--disable-workspace-trust']),
      ...(options.testDriver ? ['--vscode-option', 'enable-smoke-test-driver'] : []),
    ],
    { env, stdio: ['ignore', output, output], detached: true },
  );
  closeSync(output);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  // The group holds extension hosts and engines too; none may outlive a test run that dies.
  const kill = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // All of it is gone already.
    }
  };
  process.once('exit', kill);

  return {
    url: await address(log, exited),
    extension: async () => {
      const [name] = (await readdir(path('extensions'))).filter((entry) =>
        entry.startsWith('elastic-precision.'),
      );
      if (name === undefined) throw new Error('The extension is not installed.');
      return join(path('extensions'), name);
    },
    configure,
    log: () => readFile(log, 'utf8'),
    stop: async () => {
      child.kill('SIGTERM');
      await Promise.race([exited, wait(5000, undefined, { ref: false })]);
      kill();
      process.off('exit', kill);
      await exited;
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The address that the server writes into its log. */
async function address(log: string, exited: Promise<void>): Promise<string> {
  let gone = false;
  void exited.then(() => (gone = true));
  for (let tries = 0; tries < 600 && !gone; tries++) {
    const url = /HTTP server listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(await readFile(log, 'utf8'))?.[1];
    if (url) return url;
    await wait(50);
  }
  throw new Error(`The editor did not start:\n${(await readFile(log, 'utf8')).slice(-3000)}`);
}

/** Nothing of the shell that a window of VS Code, npm or the test runner left behind. */
function cleanEnvironment(): Record<string, string | undefined> {
  const own = Object.entries(process.env).filter(
    ([name]) =>
      !/^(VSCODE_|ELECTRON_|npm_|VITEST)/i.test(name) && name !== 'NODE_OPTIONS' && name !== 'NODE_ENV',
  );
  return { ...Object.fromEntries(own), PATH: `${dirname(editor.node)}:${process.env.PATH}` };
}
