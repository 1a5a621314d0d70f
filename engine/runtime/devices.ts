/** What can run here, and how fast. Found by trying: drivers may be missing, too old or broken. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { listSupportedBackends } from 'onnxruntime-node';
import { findEntry, nodeEnvironment } from '../entry.js';
import { CancelledError, UserError } from '../errors.js';
import { tryDevice, type Trial } from './measure.js';
import type { DeviceKind, DeviceReport } from '../protocol/protocol.js';

const KINDS: readonly DeviceKind[] = ['cpu', 'webgpu', 'cuda'];

/**
 * Tries every device, one after another so that they do not disturb each other; a few seconds in all. Aborting `signal` ends
 * that at once, with CancelledError.
 */
export async function listDevices(threads?: number, signal?: AbortSignal): Promise<DeviceReport[]> {
  const reports: DeviceReport[] = [];
  for (const kind of KINDS) reports.push(await reportDevice(kind, threads, signal));
  return reports;
}

/** The device to use: the fastest by measurement for `auto`, else the one named. Throws where that one is not available. */
export async function chooseDevice(wanted: 'auto' | DeviceKind, signal?: AbortSignal): Promise<DeviceKind> {
  if (wanted === 'cpu') return 'cpu';
  if (wanted !== 'auto') {
    const report = await reportDevice(wanted, 0, signal);
    if (!report.available) throw new UserError(`The device "${wanted}" is not available: ${report.reason}`);
    return wanted;
  }
  const available = (await listDevices(undefined, signal)).filter((report) => report.available);
  return available.sort((a, b) => b.gflops - a.gflops)[0]?.kind ?? 'cpu';
}

export async function reportDevice(
  kind: DeviceKind,
  threads = 0,
  signal?: AbortSignal,
): Promise<DeviceReport> {
  const missing = missingProvider(kind);
  const trial = missing === undefined ? await runTrial(kind, threads, signal) : { reason: missing };
  if (signal?.aborted) throw new CancelledError();
  return 'reason' in trial
    ? { kind, available: false, ...trial }
    : { kind, available: true, name: nameOf(kind), ...trial };
}

/** Why this installation cannot have the device at all, if so. */
function missingProvider(kind: DeviceKind): string | undefined {
  const backend = listSupportedBackends().find(({ name }) => name === kind);
  if (!backend) return `ONNX Runtime for ${process.platform} on ${process.arch} has no ${kind} provider.`;
  if (kind !== 'cuda' || backend.bundled) return undefined;
  const root = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  const library =
    process.platform === 'win32' ? 'onnxruntime_providers_cuda.dll' : 'libonnxruntime_providers_cuda.so';
  if (existsSync(join(root, 'bin', 'napi-v6', process.platform, process.arch, library))) return undefined;
  return `The CUDA provider of ONNX Runtime (${library}) is not installed.`;
}

/** In a process of its own where the engine is bundled, else in this one. */
function runTrial(kind: DeviceKind, threads: number, signal: AbortSignal | undefined): Promise<Trial> {
  const entry = findEntry('probe.js');
  return entry === undefined ? tryDevice(kind, threads) : tryInProcess(entry, kind, 60, threads, signal);
}

/**
 * Runs `entry` with `kind` as its argument in a process of its own: a driver that aborts ends that one only.
 * @param seconds how long it may take
 * @param signal ends it once aborted
 */
export function tryInProcess(
  entry: string,
  kind: DeviceKind,
  seconds = 60,
  threads = 0,
  signal?: AbortSignal,
): Promise<Trial> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [entry, kind, `${threads}`],
      { env: nodeEnvironment(), timeout: seconds * 1000, killSignal: 'SIGKILL', ...(signal && { signal }) },
      (error, stdout, stderr) => {
        const trial = parseTrial(stdout);
        if (trial) resolve('reason' in trial ? { reason: explain(kind, trial.reason, stderr) } : trial);
        else if (error?.killed) resolve({ reason: `Trying it took longer than ${seconds} s.` });
        else
          resolve({
            reason: `Its driver ended the process that tried it (${error?.signal ?? `exit code ${error?.code ?? 0}`}).`,
          });
      },
    );
  });
}

function parseTrial(output: string): Trial | undefined {
  try {
    return JSON.parse(output) as Trial;
  } catch {
    return undefined;
  }
}

/** The cause of a failure in a sentence, from the provider's message and what its libraries printed. */
function explain(kind: DeviceKind, message: string, printed: string): string {
  const library = /(?:^|[\s/])([\w.-]+\.so[\w.]*): cannot open shared object file/m.exec(printed)?.[1];
  if (kind === 'webgpu' && library?.startsWith('libvulkan'))
    return `The Vulkan loader (${library}) is not installed.`;
  if (kind === 'webgpu' && message.includes('adapter'))
    return `No graphics adapter with a driver for ${graphics()} was found.`;
  if (kind === 'cuda' && library)
    return `The library ${library}, which the CUDA provider needs, is not installed.`;
  return message;
}

const graphics = () => ({ darwin: 'Metal', win32: 'Direct3D 12' })[process.platform as string] ?? 'Vulkan';

function nameOf(kind: DeviceKind): string {
  switch (kind) {
    case 'cpu':
      return cpus()[0]?.model.trim() ?? 'processor';
    case 'webgpu':
      return `graphics adapter through ${graphics()}`;
    case 'cuda':
      return nvidiaName() ?? 'NVIDIA graphics adapter';
  }
}

/** The first adapter that NVIDIA's Linux driver lists. */
function nvidiaName(): string | undefined {
  const folder = '/proc/driver/nvidia/gpus';
  const adapter = existsSync(folder) && readdirSync(folder)[0];
  if (!adapter) return undefined;
  return /^Model:\s*(.+)$/m.exec(readFileSync(join(folder, adapter, 'information'), 'utf8'))?.[1];
}
