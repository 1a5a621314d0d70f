/** The entry of a process that tries one device, named by its argument, with as many threads as the next says, and prints the outcome as JSON (see `devices.ts`). */
import { tryDevice } from './measure.js';
import type { DeviceKind } from '../protocol/protocol.js';

const trial = await tryDevice(process.argv[2] as DeviceKind, Number(process.argv[3] ?? 0));
process.stdout.write(`${JSON.stringify(trial)}\n`);
