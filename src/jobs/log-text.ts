/** The log of a job as a document: what it was asked, how it went, and what it wrote on the way. Knows no editor. */
import type { JobRecord, SetPart } from '../../engine/protocol/protocol.js';
import { formatBits, formatBytes, formatDuration, formatLoss } from '../common/format.js';

export interface LogSources {
  readonly job: JobRecord;
  /** How it stands, in a few words. */
  readonly summary: string;
  /** What the set says that it made, of bit-widths that belong together. */
  readonly parts: readonly SetPart[];
  readonly log: string;
  readonly locale: string;
  /** In the language of the editor. */
  readonly words: Readonly<Record<LogWord, string>>;
}

export type LogWord =
  | 'state'
  | 'added'
  | 'started'
  | 'ended'
  | 'took'
  | 'device'
  | 'memory'
  | 'error'
  | 'settings'
  | 'losses'
  | 'decisions'
  | 'bits'
  | 'log';

export function logText({ job, summary, parts, log, locale, words }: LogSources): string {
  const date = (time: number | undefined) =>
    time === undefined ? undefined : new Date(time).toLocaleString(locale);
  const { result } = job;
  const device = [result, job.request].flatMap((of) => (of && 'device' in of ? (of.device ?? []) : []))[0];
  const memory = result && 'peakMemory' in result ? formatBytes(result.peakMemory, locale) : undefined;
  const head = lines([
    [words.state, summary],
    [words.error, job.error],
    [words.added, date(job.created)],
    [words.started, date(job.started)],
    [words.ended, date(job.ended)],
    [words.took, result && formatDuration(result.seconds)],
    [words.device, device],
    [words.memory, memory],
  ]);
  const decided = parts.map(({ bits, facts }): Pair => {
    const said = facts.map(({ label, value, help }) =>
      value === '' ? (help ?? label) : `${label} ${value}`,
    );
    return [words.bits.replace('{0}', formatBits(bits, locale)), said.join(' · ')];
  });
  return [
    job.title,
    head,
    section(words.settings, lines(settingsOf(job))),
    section(words.losses, lossesOf(job, locale)),
    section(words.decisions, lines(decided)),
    section(words.log, log.trimEnd()),
  ]
    .filter(Boolean)
    .join('\n\n')
    .concat('\n');
}

type Pair = readonly [label: string, value: string | undefined];

const lines = (pairs: readonly Pair[]): string => {
  const known = pairs.filter(([, value]) => value !== undefined && value !== '');
  const width = Math.max(0, ...known.map(([label]) => label.length));
  return known.map(([label, value]) => `${`${label}:`.padEnd(width + 1)} ${value!}`).join('\n');
};

const section = (title: string, text: string): string => (text === '' ? '' : `## ${title}\n${text}`);

/** All that was asked for, options of a method as they are. */
const settingsOf = ({ request }: JobRecord): Pair[] =>
  Object.entries(request)
    .filter(([key]) => key !== 'resume')
    .map(([key, value]: [string, unknown]) => [
      key,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]);

/** The last figures of each place, such as a block. */
const lossesOf = ({ series }: JobRecord, locale: string): string =>
  lines(
    series.map(({ place, points }): Pair => [
      `${place + 1}`,
      points.map(({ label, value }) => `${label} ${formatLoss(value, locale)}`).join(' · '),
    ]),
  );
