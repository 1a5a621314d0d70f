/** `get`: what a model of the hub would come to, as text, and the question before it is downloaded. */
import { UserError } from '../errors.js';
import { visible } from '../plans/visible.js';
import type { GetResult, HubModel } from '../protocol/protocol.js';
import { confirmed, type Terminal } from './before-work.js';
import { bytes, commandLine, formatEstimates, table } from './format.js';

const sum = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0);
const missingOf = ({ files }: HubModel): number => sum(files.map((file) => file.bytes - file.here));

/** Files with their sizes, the licence, whether there is room, what it is, and what calibrating it would take. */
export function formatHubModel(model: HubModel): string {
  const { files, commit, revision, licence, gated, cache, free, memory, description } = model;
  const whole = sum(files.map((file) => file.bytes));
  const missing = missingOf(model);
  const terms = `${licence === undefined ? 'without a stated licence' : `licence ${licence}`}${gated ? ', gated' : ''}`;
  const lines = [
    visible(`${model.model}, ${revision} at ${commit.slice(0, 12)}, ${terms}`),
    table(
      ['file', 'size', 'here'],
      files.map((file) => [file.name, bytes(file.bytes), file.here > 0 ? bytes(file.here) : '–']),
    ),
    visible(
      `${bytes(whole)} in all, ${missing === 0 ? 'all of it here' : `${bytes(missing)} to download`}; ${free === undefined ? '' : `${bytes(free)} are free in `}${cache}`,
    ),
  ];
  if (!description) return [...lines, visible(`Not supported: ${model.unsupported!}`)].join('\n');
  const { family, task, blocks, parameters, warnings, estimates } = description;
  const least = Math.min(...estimates.map(({ forecast }) => forecast.bytes));
  return [
    ...lines,
    `${family} for ${task}: ${blocks} blocks, ${(parameters / 1e6).toFixed(1)} M parameters`,
    ...warnings.map(visible),
    '',
    `Calibrating it here, on ${estimates[0]!.forecast.device}, with ${bytes(memory)} of memory in this machine:`,
    formatEstimates(estimates),
    ...(least > memory ? ['This machine has too little memory to calibrate it.'] : []),
  ].join('\n');
}

/** Throws UserError for a model that is not supported or finds no room. */
export function requireGettable(model: HubModel): void {
  if (!model.description)
    throw new UserError(`${model.model} is not downloaded, as it is not supported: ${model.unsupported!}`);
  const missing = missingOf(model);
  if (model.free !== undefined && missing > model.free)
    throw new UserError(
      `${model.model} needs ${bytes(missing)} more in ${model.cache}, where ${bytes(model.free)} are free; make room, or name another place in HF_HUB_CACHE.`,
    );
}

/** Throws UserError where nobody agrees to download what is missing. */
export async function beforeDownload(
  model: HubModel,
  yes: boolean,
  stop: AbortController,
  terminal: Terminal = { input: process.stdin, output: process.stderr },
): Promise<void> {
  const missing = missingOf(model);
  if (yes || missing === 0) return;
  if (!terminal.input.isTTY || !terminal.output.isTTY)
    throw new UserError('Not begun, as there is no terminal to ask at: add --yes to download it.');
  if (!(await confirmed(`Download ${bytes(missing)}? [y/N] `, stop, terminal)))
    throw new UserError('Not begun.');
}

/** Where it is, and what comes next. */
export const formatGot = (model: string, { out, bytes: all, downloaded, seconds }: GetResult): string =>
  [
    visible(
      downloaded === 0
        ? `${model} is here: ${out}`
        : `Got ${model}: ${bytes(downloaded)} of ${bytes(all)} in ${seconds.toFixed(0)} s, checked by hash. It is in ${out}`,
    ),
    `Calibrate it: ${commandLine('calibrate', model, '--data')} DATA --out SET`,
  ].join('\n');
