/** Loaded into every process of the command line: what it took, as a line of the file that USAGE names. */
import { appendFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

if (isMainThread)
  process.on('exit', () => {
    const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
    const usage = { seconds: (userCPUTime + systemCPUTime) / 1e6, bytes: 1024 * maxRSS };
    appendFileSync(process.env.USAGE, `${JSON.stringify(usage)}\n`);
  });
