/**
 * Prints every import circle of engine/, src/ and webview/: its files, each with what it imports of the circle. Imports of
 * types count. Exits with 1 where there is one.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const FOLDERS = ['engine', 'src', 'webview'];

/**
 * Files of this repository that a file imports, of values or types, statically or not.
 * @param {string} path from the root, with slashes
 * @param {string} text
 * @param {(path: string) => boolean} exists
 * @returns {string[]}
 */
export function importsOf(path, text, exists) {
  const named = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
  const paths = named
    .filter((name) => name.startsWith('.'))
    .map((name) => posix.join(posix.dirname(path), name).replace(/\.js$/, '.ts'));
  return [...new Set(paths)].filter(exists);
}

/**
 * The strongly connected parts of a graph that hold a circle, each sorted, in the order of their first nodes.
 * @param {ReadonlyMap<string, readonly string[]>} graph what each node leads to; every node is a key
 * @returns {string[][]}
 */
export function circlesOf(graph) {
  /** Tarjan's algorithm: `low` is the earliest open node that a node leads back to. */
  const order = new Map();
  const low = new Map();
  const open = [];
  const circles = [];
  const visit = (node) => {
    order.set(node, order.size);
    low.set(node, order.get(node));
    open.push(node);
    for (const next of graph.get(node)) {
      if (!order.has(next)) visit(next);
      if (open.includes(next)) low.set(node, Math.min(low.get(node), low.get(next)));
    }
    if (low.get(node) !== order.get(node)) return;
    const part = open.splice(open.indexOf(node));
    if (part.length > 1 || graph.get(node).includes(node)) circles.push(part.sort());
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return circles.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** A circle for people: a line for each file. */
export const describe = (circle, graph) =>
  circle.map((path) => {
    const within = graph.get(path).filter((next) => circle.includes(next));
    return `  ${path} imports ${within.join(', ')}`;
  });

async function readGraph(root) {
  const texts = new Map();
  for (const folder of FOLDERS)
    for (const name of await readdir(join(root, folder), { recursive: true }))
      if (name.endsWith('.ts')) {
        const path = posix.join(folder, name.replaceAll('\\', '/'));
        texts.set(path, await readFile(join(root, path), 'utf8'));
      }
  return new Map(
    [...texts].map(([path, text]) => [path, importsOf(path, text, (other) => texts.has(other))]),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const graph = await readGraph(fileURLToPath(new URL('..', import.meta.url)));
  const circles = circlesOf(graph);
  for (const circle of circles)
    console.error(['Files that import each other:', ...describe(circle, graph)].join('\n'));
  if (circles.length > 0) process.exitCode = 1;
}
