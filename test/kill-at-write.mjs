/**
 * Preloaded into a process whose writes are to be told apart: each that changes something below the folder WRITES_BELOW adds a line
 * to the file WRITES_LOG, and the process is killed in place of the one of number WRITES_KILL_AT, from 1 on.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { sep } from 'node:path';

const { WRITES_BELOW, WRITES_LOG, WRITES_KILL_AT } = process.env;
const { promises } = fs;
const log = fs.appendFileSync;
let count = 0;

function step(operation, path) {
  if (typeof path !== 'string' || !path.startsWith(WRITES_BELOW + sep)) return;
  count++;
  if (count === Number(WRITES_KILL_AT)) process.kill(process.pid, 'SIGKILL');
  log(WRITES_LOG, `${operation}\n`);
}

/** The paths of open files. */
const paths = new WeakMap();

const { open, writeFile } = promises;
promises.open = async (path, flags, ...more) => {
  const isWriting = typeof flags === 'string' && /[wa+]/.test(flags);
  if (isWriting) step('open', path);
  const handle = await open(path, flags, ...more);
  if (!isWriting) return handle;
  paths.set(handle, path);
  for (const method of ['write', 'writev', 'writeFile', 'truncate', 'sync']) {
    const own = handle[method].bind(handle);
    handle[method] = (...args) => {
      step(method, path);
      return own(...args);
    };
  }
  return handle;
};

promises.writeFile = (target, data, ...more) => {
  const path = paths.get(target) ?? target;
  if (typeof data === 'string' || ArrayBuffer.isView(data)) step('writeFile', path);
  else data = pieces(data, path);
  return writeFile(target, data, ...more);
};

async function* pieces(data, path) {
  for await (const piece of data) {
    step('piece', path);
    yield piece;
  }
}

/** Those that take the path that they change last. */
for (const operation of ['mkdir', 'rm', 'rmdir', 'unlink', 'rename', 'link', 'copyFile']) {
  const own = promises[operation];
  promises[operation] = (...args) => {
    step(operation, args[0]);
    return own(...args);
  };
}

syncBuiltinESMExports();
