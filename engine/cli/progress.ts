/**
 * Progress on stderr: on a terminal a bar with the time left, which goes on while nothing is heard; elsewhere a line every few
 * percent, and at least one a minute.
 */
import { visible } from '../plans/visible.js';
import { duration, timeLeft } from '../time-left.js';

export interface ProgressBar {
  /** @param done 0 to 1 */
  update(done: number, detail: string): void;
  stop(): void;
}

const CELLS = 24;
/** A shorter bar says less than the text that it stands beside. */
const LEAST_CELLS = 6;
const REDRAW_MILLISECONDS = 100;
const LOG_STEP = 0.05;
/** Without a terminal, a line at least so often; with one, the time left is drawn anew. */
const SILENCE_MILLISECONDS = 60_000;
const TICK_MILLISECONDS = 1000;

export function progressBar(title: string, stream: NodeJS.WriteStream = process.stderr): ProgressBar {
  const left = timeLeft();
  let latest = { done: 0, detail: '', seconds: undefined as number | undefined, heard: 0 };
  let drawn = -Infinity;
  let logged = -Infinity;
  let written = 0;
  let timer: NodeJS.Timeout | undefined;

  const text = (now: number) => {
    const { done, detail, seconds, heard } = latest;
    const still = seconds === undefined ? undefined : Math.max(0, seconds - (now - heard) / 1000);
    return `${percent(done)}${still === undefined ? '' : `, ${duration(still)} left`}${detail ? ` · ${visible(detail)}` : ''}`;
  };
  const draw = (now: number) => {
    drawn = now;
    const words = text(now);
    const columns = Math.max(20, (stream.columns || 80) - 1);
    const line = `${title} ${bar(latest.done, columns - title.length - words.length - 2)}${words}`;
    stream.write(`\r\u001b[K${line.slice(0, columns)}`);
  };
  const log = (now: number) => {
    logged = latest.done;
    written = now;
    stream.write(`${title} ${text(now)}\n`);
  };
  const tick = () => {
    const now = performance.now();
    if (stream.isTTY) draw(now);
    else if (now - written >= SILENCE_MILLISECONDS) log(now);
  };
  return {
    update: (done, detail) => {
      const now = performance.now();
      latest = { done, detail, seconds: left(done), heard: now };
      timer ??= setInterval(tick, TICK_MILLISECONDS).unref();
      if (stream.isTTY) {
        if (now - drawn >= REDRAW_MILLISECONDS || done >= 1) draw(now);
      } else if (done - logged >= LOG_STEP || (done === 1 && logged < 1)) log(now);
    },
    stop: () => {
      clearInterval(timer);
      if (stream.isTTY && drawn > -Infinity) stream.write('\r\u001b[K');
    },
  };
}

/** As long as there is room for, with a space behind it; nothing where that is too little. */
function bar(done: number, room: number): string {
  const cells = Math.min(CELLS, room);
  if (cells < LEAST_CELLS) return '';
  const filled = Math.round(done * cells);
  return `${'█'.repeat(filled)}${'░'.repeat(cells - filled)} `;
}

const percent = (done: number) => `${String(Math.floor(done * 100)).padStart(3)} %`;
