/** What exports leave where they are killed, where their place is taken, and where names are hostile. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { usePrograms } from '../engine/execution/testing.js';
import { exporterNamed, exporters } from '../engine/exporters/registry.js';
import { openSafetensors, writeSafetensors } from '../engine/formats/safetensors.js';
import { runExport } from '../engine/jobs/runs/export.js';
import type { ExportRequest } from '../engine/protocol/protocol.js';
import { cliPath } from './cli-run.js';
import { makeRoundingSet, withExportContext, writeTokenizer } from './exports.js';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from './fixtures.js';

const programs = usePrograms();
const PRELOADED = pathToFileURL(join(import.meta.dirname, 'kill-at-write.mjs')).href;
const formats = exporters.map(({ name, ending = '' }) => [name, ending] as const);

/** Of a folder: what shells, terminals and readers of paths may take for something else. */
const NAME = `..\u0007\n$(touch made)'"\\..`;
const quiet = { signal: new AbortController().signal, status: () => undefined, note: () => undefined };

let folder: string;
let cleanUp: () => Promise<void>;
let request: Omit<ExportRequest, 'format' | 'out'>;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  await writeRandomModel(at('llama'), { ...TINY_LLAMA, hidden_size: 64, intermediate_size: 96 });
  await writeTokenizer(at('llama'));
  await makeRoundingSet(programs, at('llama'), at('set'));
  request = { model: at('llama'), adapters: at('set'), bits: 4, device: 'cpu', threads: 1 } as const;
  await cp(at('llama'), at('linked'), { recursive: true });
  await rename(at('linked', 'tokenizer.json'), at('secret'));
  await symlink(at('secret'), at('linked', 'tokenizer.json'));
  await cp(at('llama'), at('hostile', NAME), { recursive: true });
  await addTensor(at('hostile', NAME, 'model.safetensors'), '../../made');
  await makeRoundingSet(programs, at('hostile', NAME), at('hostile-set'));
});
afterAll(() => cleanUp());

/** Adds a tensor that no model uses. */
async function addTensor(path: string, name: string): Promise<void> {
  const source = await openSafetensors(path);
  const entries = await Promise.all(
    [...source.tensors.values()].map(async (info) => ({
      name: info.name,
      shape: info.shape,
      dtype: 'F32' as const,
      data: await source.read(info.name),
    })),
  );
  await source.close();
  await writeSafetensors(path, [...entries, { name, shape: [1], dtype: 'F32', data: Float32Array.of(1) }]);
}

/** Exports to a place in `inside`. @param killAt the number of the write in whose place it is killed */
async function run(format: string, inside: string, out: string, killAt?: number) {
  const log = at(`${inside}.log`);
  await writeFile(log, '');
  const asked = ['--adapters', at('set'), '--bits', '4', '--format', format, '--out', at(inside, out)];
  const child = spawn(
    process.execPath,
    ['--import', PRELOADED, cliPath, 'export', at('llama'), ...asked, '--device', 'cpu', '--yes'],
    {
      env: { ...process.env, WRITES_BELOW: at(inside), WRITES_LOG: log, WRITES_KILL_AT: String(killAt) },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const ended = await new Promise<string | number | null>((resolve) =>
    child.on('close', (code, signal) => resolve(signal ?? code)),
  );
  const writes = (await readFile(log, 'utf8')).split('\n').slice(0, -1);
  return { ended, stderr, writes };
}

/** SHA-256 of a file, or of each file of a folder. */
async function hashes(path: string): Promise<Record<string, string>> {
  if (!(await stat(path)).isDirectory())
    return {
      '': createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    };
  const found: Record<string, string> = {};
  for (const name of await readdir(path))
    for (const [below, hash] of Object.entries(await hashes(join(path, name))))
      found[join(name, below)] = hash;
  return found;
}

describe.each(formats)('an export as %s', (format, ending) => {
  it('that is killed leaves nothing that looks finished, and starts anew', async () => {
    const [inside, out] = [format, `model${ending}`];
    await mkdir(at(inside));
    const alone = await run(format, inside, `alone${ending}`);
    expect(alone).toMatchObject({ ended: 0 });
    const expected = await hashes(at(inside, `alone${ending}`));
    const last = 1 + alone.writes.lastIndexOf('rename');
    expect(alone.writes.filter((operation) => operation !== 'link').length).toBeGreaterThan(3);
    for (const killAt of [3, Math.floor(last / 2), last]) {
      const { ended, writes } = await run(format, inside, out, killAt);
      expect(ended).toBe('SIGKILL');
      expect(writes).toHaveLength(killAt - 1);
      const visible = (await readdir(at(inside))).filter((name) => !name.startsWith('.'));
      expect(visible).toEqual([`alone${ending}`]);
    }
    expect(await run(format, inside, out)).toMatchObject({ ended: 0 });
    expect(await hashes(at(inside, out))).toEqual(expected);
    expect((await readdir(at(inside))).sort()).toEqual([`alone${ending}`, out].sort());
  });

  it('replaces nothing, what came to be there meanwhile neither', async () => {
    const out = at(`taken${ending}`);
    const exporter = exporterNamed(format);
    await rm(out, { force: true });
    const outcome = withExportContext(programs, at('llama'), at('set'), 4, (context) => {
      const status = () => writeFileSync(out, 'mine');
      return exporter.write({ ...context, hooks: { ...context.hooks, status } }, out);
    });
    await expect(outcome).rejects.toThrow('is there already; choose another name, or remove it first.');
    expect(await readFile(out, 'utf8')).toBe('mine');
    const again = runExport({ ...request, format, out }, quiet);
    await expect(again).rejects.toThrow('is there already');
    expect((await readdir(folder)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('stays in its place, whatever models, places and tensors are called', async () => {
    const model = at('hostile', NAME);
    const out = at('hostile', `${NAME}-${format}${ending}`);
    const before = await readdir(at('hostile'));
    const { serve } = await runExport({ ...request, model, adapters: at('hostile-set'), format, out }, quiet);
    expect(await readdir(at('hostile'))).toEqual([...before, basename(out)].sort());
    for (const name of Object.keys(await hashes(out))) expect(name).toMatch(/^([a-z_]+\/)?[\w.-]*$/);
    const words = execFileSync('sh', ['-c', `set -- ${serve!}; printf '%s\\0' "$@"`])
      .toString()
      .split('\0');
    expect(words.some((word) => word === out || word === basename(out))).toBe(true);
    expect(existsSync(at('hostile', 'made'))).toBe(false);
  });

  // That of types reads no files but the configuration.
  it.skipIf(format === 'gguf-types')('takes no file from outside of the model', async () => {
    const out = at(`from-linked${ending}`);
    const linked = { ...request, model: at('linked'), format, out };
    await expect(runExport(linked, quiet)).rejects.toThrow('a link that leaves its folder');
    expect(existsSync(out)).toBe(false);
  });
});
