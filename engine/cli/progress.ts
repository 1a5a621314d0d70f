/** A progress line on stderr: a bar with the time left on a terminal, a line every few percent elsewhere. */
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

export function progressBar(title: string, stream: NodeJS.WriteStream = process.stderr): ProgressBar {
  const left = timeLeft();
  let drawn = -Infinity;
  let logged = -Infinity;
  return {
    update: (done, detail) => {
      const now = performance.now();
      const seconds = left(done);
      const text = `${percent(done)}${seconds === undefined ? '' : `, ${duration(seconds)} left`}${detail ? ` · ${visible(detail)}` : ''}`;
      if (stream.isTTY) {
        if (now - drawn < REDRAW_MILLISECONDS && done < 1) return;
        drawn = now;
        const columns = Math.max(20, (stream.columns || 80) - 1);
        const line = `${title} ${bar(done, columns - title.length - text.length - 2)}${text}`;
        stream.write(`\r\u001b[K${line.slice(0, columns)}`);
      } else if (done - logged >= LOG_STEP || (done === 1 && logged < 1)) {
        logged = done;
        stream.write(`${title} ${text}\n`);
      }
    },
    stop: () => {
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
