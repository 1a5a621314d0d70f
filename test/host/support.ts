/** For tests inside the extension host: the extension's own context, and trees as text. */
import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import * as vscode from 'vscode';
import type { JobRecord, JobState } from '../../engine/protocol/protocol.js';
import type { Event } from '../../src/common/event.js';
import type { Tree } from '../../src/common/tree.js';
import type { Context } from '../../src/context.js';

export const EXTENSION = 'elastic-precision.elastic-precision';

export async function context(): Promise<Context> {
  const extension = vscode.extensions.getExtension<Context>(EXTENSION);
  assert.ok(extension, 'The extension is not installed.');
  return extension.activate();
}

export const workspace = (...names: string[]): string =>
  join(vscode.workspace.workspaceFolders![0]!.uri.fsPath, ...names);

export const run = (name: string, ...args: unknown[]) =>
  vscode.commands.executeCommand(`elasticPrecision.${name}`, ...args);

/** A copy of a sample model under another name. */
export async function copyModel(sample: string, name: string): Promise<string> {
  await cp(workspace(sample), workspace(name), { recursive: true });
  return workspace(name);
}

/** What a person sees of a tree: one line per row, indented; `[words]` are what menus go by. */
export async function draw<N>({ provider }: Tree<N>, depth = Infinity): Promise<string> {
  const lines: string[] = [];
  const visit = async (node: N | undefined, indent: number): Promise<void> => {
    if (indent > depth) return;
    for (const child of (await provider.getChildren(node)) ?? []) {
      lines.push('  '.repeat(indent) + lineOf(await provider.getTreeItem(child)));
      await visit(child, indent + 1);
    }
  };
  await visit(undefined, 0);
  return lines.join('\n');
}

function lineOf({ label, description, contextValue }: vscode.TreeItem): string {
  assert.equal(typeof label, 'string');
  const words = typeof description === 'string' && description !== '' ? ` · ${description}` : '';
  return `${label as string}${words} [${contextValue}]`;
}

export function tooltipOf({ tooltip }: vscode.TreeItem): string {
  assert.equal(typeof tooltip, 'string');
  return tooltip as string;
}

/** The first node of a tree that the test is looking for. */
export async function find<N, T extends N>(
  { provider }: Tree<N>,
  isIt: (node: N) => node is T & N,
): Promise<T> {
  const queue = [...((await provider.getChildren()) ?? [])];
  for (let node = queue.shift(); node !== undefined; node = queue.shift()) {
    if (isIt(node)) return node;
    queue.push(...((await provider.getChildren(node)) ?? []));
  }
  throw new Error('The tree has no such node.');
}

/** Resolves once `check` gives something, asked now and after every event. The test's own limit ends the wait. */
export function eventually<T>(
  event: Event<never> | Event<void>,
  check: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const look = async () => {
      const found = await check();
      if (found === undefined) return;
      subscription.dispose();
      resolve(found);
    };
    const subscription = (event as Event<unknown>)(() => void look().catch(reject));
    look().catch(reject);
  });
}

/** The job once it has come to one of these states. */
export const jobIn = ({ jobs }: Context, id: string, ...states: JobState[]): Promise<JobRecord> =>
  eventually(jobs.onDidChange as Event<never>, () => {
    const job = jobs.get(id);
    return job && states.includes(job.state) ? job : undefined;
  });

/** A calibration of a sample that takes seconds. */
export const shortCalibration = (
  model: string,
  name: string,
  { epochs = 1, samples = 16 }: { epochs?: number; samples?: number } = {},
) => ({
  model,
  data: workspace('data', 'fashion-mnist', 'calibration-images-idx3-ubyte.gz'),
  out: join(model, 'adapters', name),
  ...({ bits: [8, 4], samples, device: 'cpu', threads: 1 } as const),
  options: { epochs, batch: 8 },
});

/** Queues it; the job's record. */
export async function startCalibration({ engine }: Context, request: ReturnType<typeof shortCalibration>) {
  return (await engine.request('jobs/start', { kind: 'calibrate', request })).job;
}
