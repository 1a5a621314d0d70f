/** The entry of the engine's process, as an editor starts it. With `--version` it only says what it is, as JSON. */
import { PROTOCOL_VERSION } from './protocol/protocol.js';
import { serveStdio } from './server.js';
import { version } from './version.js';

if (process.argv.includes('--version')) {
  process.stdout.write(`${JSON.stringify({ engineVersion: version, protocolVersion: PROTOCOL_VERSION })}\n`);
} else {
  await serveStdio();
  process.exit();
}
