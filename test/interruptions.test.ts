/**
 * Every command that works for long is interrupted in each of its phases, and in the middle of runs on the device. Nothing here
 * waits or measures time: what ran on the device before the signal is counted, and nothing may run there behind it.
 */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CancelledError } from '../engine/errors.js';
import { runCalibrate } from '../engine/jobs/runs/calibrate.js';
import { runComparePlans } from '../engine/jobs/runs/compare-plans.js';
import { runEvaluate } from '../engine/jobs/runs/evaluate.js';
import { runExport } from '../engine/jobs/runs/export.js';
import { listExports } from '../engine/jobs/runs/list-exports.js';
import { runSensitivity } from '../engine/jobs/runs/sensitivity.js';
import type { JobHooks, WorkKind } from '../engine/jobs/requests.js';
import { methods } from '../engine/methods/registry.js';
import type * as Session from '../engine/runtime/session.js';
import type { Program, Runtime } from '../engine/runtime/session.js';
import { temporaryFolder, TINY_LLAMA, writeRandomModel, writeRandomPictures } from './fixtures.js';

/** Compilations and runs, in the order they begin, with the phase that was reported last. */
let watch: { unit(phase: string): void; ended(at: number): void; count: number; phase: string };

vi.mock('../engine/runtime/session.js', async (original) => {
  const actual = await original<typeof Session>();
  const counted = async <T>(work: () => Promise<T>): Promise<T> => {
    const at = watch.count++;
    const working = work();
    watch.unit(watch.phase);
    const result = await working;
    watch.ended(at);
    return result;
  };
  const counting = (program: Program): Program => ({
    ...program,
    run: (feeds) => counted(() => program.run(feeds)),
  });
  return {
    ...actual,
    openRuntime: (...args: Parameters<typeof actual.openRuntime>): Runtime => {
      const runtime = actual.openRuntime(...args);
      return {
        ...runtime,
        compile: async (...own) => counting(await counted(() => runtime.compile(...own))),
      };
    },
  };
});

let folder: string;
let cleanUp: () => Promise<void>;
const at = (...names: string[]) => join(folder, ...names);
const SAMPLES = join(import.meta.dirname, '../samples');
const TEXT = join(SAMPLES, 'data/speeches/calibration.txt');
const DEVICE = { device: 'cpu', threads: 1 } as const;
const text = () => ({ ...DEVICE, model: at('llama'), data: TEXT });

beforeAll(async () => {
  ({ folder, cleanUp } = await temporaryFolder());
  const sizes = { hidden_size: 32, intermediate_size: 32, num_key_value_heads: 4, vocab_size: 2048 };
  await writeRandomModel(at('llama'), { ...TINY_LLAMA, ...sizes });
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(SAMPLES, 'llama-speeches', name), at('llama', name));
  await writeRandomModel(at('vit'));
  await writeRandomPictures(at('pictures'), 16);
  const made = {
    ...DEVICE,
    model: at('llama'),
    out: at('set'),
    method: 'rounding',
    bits: [8, 4],
    options: {},
  };
  await observe((hooks) => runCalibrate(made, hooks));
});
afterAll(() => cleanUp());

interface Interruption {
  /** Aborts while this unit runs, or when this phase is first reported. */
  readonly unit?: number;
  readonly phase?: string;
}

/** Phases without their counts. */
const kindOf = (phase: string) => phase.replace(/\d+/g, 'N');

interface Observed {
  readonly phases: readonly string[];
  readonly units: number;
  /** Units that ended, and reports that came, behind the signal; the unit that was running then does not count. */
  readonly unitsAfter: number;
  readonly reportsAfter: number;
  /** Undefined where the work was complete. */
  readonly error: unknown;
}

/** Does work to its end, or until it is interrupted. */
async function observe(
  work: (hooks: JobHooks<WorkKind>) => Promise<unknown>,
  stopAt: Interruption = {},
): Promise<Observed> {
  const stop = new AbortController();
  const phases: string[] = [];
  let [stoppedAt, unitsAfter, reportsAfter] = [Infinity, 0, 0];
  const abort = () => {
    stoppedAt = watch.count;
    stop.abort();
  };
  watch = {
    count: 0,
    phase: '',
    unit: () => {
      if (watch.count - 1 === stopAt.unit) abort();
    },
    ended: (unit) => {
      if (unit >= stoppedAt) unitsAfter++;
    },
  };
  const hooks = {
    signal: stop.signal,
    note: () => undefined,
    status: ({ phase }: { readonly phase: string }) => {
      if (stop.signal.aborted) reportsAfter++;
      watch.phase = kindOf(phase);
      if (!phases.includes(watch.phase)) phases.push(watch.phase);
      if (!stop.signal.aborted && watch.phase === stopAt.phase) abort();
    },
  } as JobHooks<WorkKind>;
  const error: unknown = await work(hooks).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { phases, units: watch.count, unitsAfter, reportsAfter, error };
}

/** Places in the run that are interrupted beside all phases. */
const PLACES = 4;
let written = 0;
const fresh = (name: string) => at(`${name}-${written++}`);

/** As short as methods can be made. */
const OPTIONS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  quept: { epochs: 1, rank: 1 },
  direct: { effort: 'high' },
  sliderquant: { epochs: 2, fill: 2 },
};

/** Methods that read no data. */
const WITHOUT_DATA = ['rounding', 'adpq'];

type Work = (hooks: JobHooks<WorkKind>) => Promise<unknown>;
const calibration =
  (method: string): Work =>
  (hooks) => {
    const options = OPTIONS[method] ?? {};
    const asked = { model: at('llama'), out: fresh('set'), method, options, bits: [4, 3] };
    const drawn = { data: TEXT, samples: 12, length: 8 };
    return runCalibrate({ ...DEVICE, ...asked, ...(!WITHOUT_DATA.includes(method) && drawn) }, hooks);
  };

const commands: Readonly<Record<string, Work>> = {
  ...Object.fromEntries(methods.map(({ name }) => [`calibrate --method ${name}`, calibration(name)])),
  'calibrate, pictures': (hooks) =>
    runCalibrate(
      {
        ...{ ...DEVICE, model: at('vit'), data: at('pictures'), out: fresh('set'), method: 'quept' },
        options: { epochs: 1, rank: 1, batch: 8 },
        ...{ bits: [8, 4], samples: 16 },
      },
      hooks,
    ),
  evaluate: (hooks) =>
    runEvaluate(
      {
        ...text(),
        adapters: [at('set')],
        length: 8,
        limit: 32,
        baseline: ['gptq'],
        baselineData: TEXT,
      },
      hooks,
    ),
  sensitivity: (hooks) =>
    runSensitivity({ ...text(), adapters: at('set'), out: fresh('costs'), length: 8, samples: 8 }, hooks),
  'sensitivity --exact': (hooks) =>
    runSensitivity(
      { ...text(), adapters: at('set'), out: fresh('costs'), length: 8, samples: 8, exact: true },
      hooks,
    ),
  'allocate --data': (hooks) =>
    runComparePlans(
      { ...text(), adapters: at('set'), length: 8, samples: 8, plans: [Array<number>(14).fill(8)] },
      hooks,
    ),
  ...Object.fromEntries(
    ['safetensors', 'onnx', 'gptq', 'elastic'].map((format) => [
      `export --format ${format}`,
      (hooks: JobHooks<WorkKind>) =>
        runExport(
          { ...DEVICE, model: at('llama'), adapters: at('set'), bits: 4, format, out: fresh('export') },
          hooks,
        ),
    ]),
  ),
  'export --list': ({ signal }) =>
    listExports({ model: at('llama'), adapters: at('set'), bits: 4 }, undefined, signal),
};

describe.each(Object.entries(commands))('%s', (_, work) => {
  it(
    'does nothing more on the device once it is interrupted, in whatever phase',
    { timeout: 240_000 },
    async () => {
      const whole = await observe(work);
      expect(whole.error).toBeUndefined();
      const places = Array.from({ length: PLACES }, (_, i) => Math.floor((i * whole.units) / PLACES));
      const interruptions: Interruption[] = [
        ...whole.phases.map((phase) => ({ phase })),
        ...(whole.units > 0 ? [...new Set(places)].map((unit) => ({ unit })) : []),
      ];
      let cancelled = 0;
      for (const one of interruptions) {
        const found = await observe(work, one);
        const where = JSON.stringify(one);
        // What had nothing left to do but to write may have ended well.
        if (found.error !== undefined) expect(found.error, where).toBeInstanceOf(CancelledError);
        if (found.error instanceof CancelledError) cancelled++;
        expect(found.unitsAfter, `units behind ${where}`).toBe(0);
        expect(found.reportsAfter, `reports behind ${where}`).toBeLessThanOrEqual(1);
      }
      if (whole.units > 0) expect(cancelled).toBeGreaterThan(0);
    },
  );
});
