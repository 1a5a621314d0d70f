/** A method calibrated in a process of its own by the script that runs, so that its peak memory is of nothing else. */
import { spawn } from 'node:child_process';

/** @param out the folder of all sets, where the process leaves its own */
export async function inOwnProcess(label: string, set: number, out: string): Promise<void> {
  const own = ['--out', out, '--only', `${label}@${set}`];
  const child = spawn(process.execPath, [...process.argv.slice(1), ...own], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  if (code !== 0) throw new Error(`${label}: its process ended with ${code}.`);
}
