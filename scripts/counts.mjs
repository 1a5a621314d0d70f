/**
 * What several runs of tests closed with, added up. A run appends its counts to the file that `TEST_COUNTS` names, if there is one;
 * run alone with that file's path, this prints one line for all: `total: N passed, N failed, N skipped`.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const KEYS = ['passed', 'failed', 'skipped'];

/** @param {{ passed: number, failed: number, skipped: number }[]} results */
export const sumOf = (results) =>
  Object.fromEntries(KEYS.map((key) => [key, results.reduce((total, result) => total + result[key], 0)]));

/** Prints the closing line of a run, and keeps its counts for the total. */
export function closeWith(counts) {
  process.stdout.write(`${lineOf(counts)}\n`);
  process.exitCode = counts.failed === 0 ? 0 : 1;
  if (process.env.TEST_COUNTS) appendFileSync(process.env.TEST_COUNTS, `${JSON.stringify(counts)}\n`);
}

/** @param {string} file */
export function readCounts(file) {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter(Boolean).map((line) => JSON.parse(line));
}

const lineOf = (counts) => KEYS.map((key) => `${counts[key]} ${key}`).join(', ');

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.stdout.write(`total: ${lineOf(sumOf(readCounts(process.argv[2])))}\n`);
