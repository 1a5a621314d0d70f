#!/usr/bin/env node
/** The command line (docs/COMMANDS.md): parses arguments, runs a job, prints its result. */
import { Command, CommanderError, Option } from 'commander';
import { allocate, type AllocateOptions, type SizeExports } from './cli/allocate.js';
import { formatAllocated } from './cli/allocated.js';
import { beforeWork, shorterCalibration, type Asked } from './cli/before-work.js';
import { addExportOptions, misused, verification, type ExportOptions } from './cli/export.js';
import {
  bytes,
  commandLine,
  formatDevices,
  formatEstimate,
  formatEstimates,
  formatEvaluation,
  formatExported,
  formatExports,
  formatImported,
  formatModels,
  formatStatus,
  parseBytes,
} from './cli/format.js';
import { addMethodOptions, methodOfArguments, methodOption, splitOptions } from './cli/method-options.js';
import {
  COMPARED,
  baselines,
  batchMeasured,
  bitsOption,
  cacheMemory,
  device,
  evaluatedBits,
  fix,
  fraction,
  json,
  length,
  model,
  modelArgument,
  modeOption,
  parsed,
  samplesMeasured,
  samplesOption,
  task,
  threads,
  whole,
  width,
  yes,
} from './cli/options.js';
import { progressBar } from './cli/progress.js';
import { beforeDownload, formatGot, formatHubModel, requireGettable } from './cli/get.js';
import { exporters } from './exporters/registry.js';
import { CancelledError, messageOf, UserError } from './errors.js';
import { parseHubId } from './hub/id.js';
import { DTYPES as IMPORT_DTYPES } from './imports/gguf/import.js';
import type { EstimateAllRequest, Forecast, ImportRequest, WorkKind, Jobs } from './jobs/requests.js';
import { isKind, kindOf } from './jobs/kinds/registry.js';
import type { Compare } from './jobs/measured-plan.js';
import { runJob } from './jobs/run.js';
import type { AnyMethod } from './methods/method.js';
import { visible, visibleLines } from './plans/visible.js';
import { serveStdio } from './server.js';
import { version } from './version.js';
import type {
  CalibrateRequest,
  EvaluateRequest,
  EvaluateResult,
  SensitivityRequest,
  SkippedSamples,
  VerifiedExport,
} from './protocol/protocol.js';

type SensitivityOptions = Starting & Omit<SensitivityRequest, 'model'>;
type EvaluateOptions = Starting & Omit<EvaluateRequest, 'model' | 'plans'> & { readonly plan?: string[] };

interface VerifyOptions
  extends
    Starting,
    Omit<EvaluateRequest, 'adapters' | 'bits' | 'plans' | 'exports'>,
    Omit<VerifiedExport, 'path'> {
  readonly adapters: string;
}

const DONE = 0;
const FAILED = 1;
const BAD_USAGE = 2;

interface Common {
  readonly json?: boolean;
}

/** Of commands that say what they will take. */
interface Starting extends Common {
  readonly yes?: boolean;
}

const program = new Command('elastic-precision')
  .description('Calibrate a Transformer once, run the same weights at 2 to 8 bits.')
  .version(version, '-v, --version')
  .showHelpAfterError('(--help lists what there is)')
  .configureOutput({ writeErr: (text) => void process.stderr.write(visibleLines(text)) })
  .addHelpText(
    'after',
    `
A MODEL is a folder, or org/name of the Hugging Face hub once it was downloaded:
  elastic-precision get         org/name

In this order, of which the first two are enough to begin with:
  elastic-precision calibrate   MODEL --data DATA --out SET
  elastic-precision evaluate    MODEL --data OTHER_DATA --adapters SET --bits fp,8,4
  elastic-precision sensitivity MODEL --data DATA --adapters SET
  elastic-precision allocate    SET --average-bits 3.5 --out small.precision.json
  elastic-precision evaluate    MODEL --data OTHER_DATA --adapters SET --plan small.precision.json
  elastic-precision export      MODEL --adapters SET --plan small.precision.json --format FORMAT --out EXPORTED
  elastic-precision verify      EXPORTED --model MODEL --adapters SET --plan small.precision.json --data OTHER_DATA`,
  )
  .exitOverride();

program
  .command('models')
  .description('list checkpoints: family, blocks, layers, parameters, size, and why one is not supported')
  .argument('[folders...]', 'folders to search', ['.'])
  .addOption(json())
  .action(async (folders: string[], options: Common) => {
    print(options, await run('models', { folders }), (result) => formatModels(result));
  });

program
  .command('get')
  .description('download a model of the Hugging Face hub into its cache, after saying what it will take')
  .argument('<model>', 'org/name, or org/name@revision')
  .option('--revision <name>', 'a branch, a tag or a commit (default: main)')
  .option('--list', 'only say what would be downloaded, and what calibrating it would take')
  .addOption(new Option('-y, --yes', 'download without asking'))
  .addOption(json())
  .action(async (text: string, { json: asJson = false, yes: sure = false, revision, list }: GetOptions) => {
    const asked = parseHubId(text, revision);
    const model = await run('look', asked);
    if (list) return print({ json: asJson }, model, formatHubModel);
    process.stderr.write(`${formatHubModel(model)}\n`);
    requireGettable(model);
    await untilStopped((stop) => beforeDownload(model, sure, stop));
    const bar = progressBar('Downloading');
    const result = await run('get', { ...asked, commit: model.commit }, (status) =>
      bar.update(status.done, formatStatus(status)),
    ).finally(() => bar.stop());
    print({ json: asJson }, result, (got) => formatGot(text, got));
  });

const calibrate = program
  .command('calibrate')
  .description('calibrate a model once and write its adapter set')
  .addArgument(modelArgument())
  .option(
    '--data <path>',
    'what to calibrate on: pictures (folder, IDX, Parquet) or text (text, JSONL, Parquet); needed unless the method takes no samples',
  )
  .requiredOption('--out <folder>', 'folder of the adapter set (required)')
  .addOption(methodOption())
  .addOption(modeOption())
  .addOption(bitsOption())
  .addOption(samplesOption())
  .addOption(length())
  .addOption(new Option('--seed <n>', 'seed of all random draws (default: 0)').argParser(whole(0)))
  .addOption(cacheMemory())
  .addOption(new Option('--resume', 'continue an unfinished calibration'))
  .addOption(new Option('--force', 'replace the adapter set that is there'))
  .addOption(
    new Option('--estimate', 'only say how long it will take, and how much memory').conflicts([
      'resume',
      'force',
    ]),
  )
  .addOption(yes())
  .addOption(device())
  .addOption(threads())
  .addOption(json());

type CalibrateOptions = Starting & { readonly estimate?: boolean } & Omit<CalibrateRequest, 'model'>;

/** Once the line says which method it is of, or cannot. */
function readCalibrations(method: AnyMethod | undefined): void {
  addMethodOptions(calibrate, method).action(
    async (model: string, { json: asJson, yes = false, estimate, ...typed }: CalibrateOptions) => {
      const { common, own } = splitOptions(typed, method!);
      const request = { ...common, model, method: method!.name, options: own };
      if (estimate) {
        const devices = await run('devices', {});
        print({ json: asJson ?? false }, await run('estimate', { request, devices }), formatEstimate);
        return;
      }
      const bar = progressBar('Calibrating');
      const shorter = shorterCalibration(method!.options);
      const result = await run(
        'calibrate',
        request,
        (status) => bar.update(status.done, formatStatus(status)),
        { yes, shorter },
      ).finally(() => bar.stop());
      reportSkipped(result);
      print({ json: asJson ?? false }, result, (r) =>
        r.device === undefined
          ? `${r.out} is finished: the adapter set is complete, and there is nothing left to resume.`
          : `Wrote ${r.out} by the method "${method!.name}": ${r.bits.join(', ')} bits,${r.samples > 0 ? ` from ${r.samples} samples,` : ''} on ${r.device}, in ${r.seconds.toFixed(0)} s; at most ${bytes(r.peakMemory)} of memory.\nEvaluate it: ${commandLine('evaluate', model, '--adapters', r.out, '--data')} DATA`,
      );
    },
  );
}

program
  .command('estimate')
  .description(
    'how long each method would calibrate a model here, at each effort, with how much memory and disk',
  )
  .addArgument(modelArgument())
  .addOption(modeOption())
  .addOption(bitsOption())
  .addOption(samplesOption())
  .addOption(length())
  .addOption(cacheMemory())
  .addOption(device())
  .addOption(threads())
  .addOption(json())
  .action(async (model: string, { json: asJson, ...options }: Common & Omit<EstimateAllRequest, 'model'>) =>
    print({ json: asJson ?? false }, await run('estimate-all', { ...options, model }), formatEstimates),
  );

program
  .command('evaluate')
  .description(
    'accuracy and divergence from full precision, perplexity or multiple choice, at any bit-widths',
  )
  .addArgument(modelArgument())
  .requiredOption(
    '--data <path>',
    'labelled pictures (folder, IDX, Parquet), text (text, JSONL, Parquet) or questions (JSONL, Parquet) (required)',
  )
  .addOption(
    new Option(
      '--task <name>',
      'what to measure on text: perplexity or choice (default: what its columns say)',
    ).argParser(task),
  )
  .option('--adapters <folders...>', 'adapter sets to evaluate, behind the model')
  .addOption(
    new Option(
      '--bits <list>',
      'bit-widths, such as fp,8,2.3 or 2-8 (default: all of the adapter sets)',
    ).argParser(parsed(evaluatedBits)),
  )
  .addOption(
    new Option(
      '--plan <files...>',
      'precision plans to evaluate with the adapter sets (then default of --bits: none)',
    ),
  )
  .addOption(
    new Option('--limit <n>', 'only the first pictures, windows of text or questions').argParser(whole(1)),
  )
  .addOption(length())
  .addOption(
    new Option(
      '--baseline <list>',
      `methods to compare with at the same bit-widths: ${COMPARED.join(', ')}`,
    ).argParser(baselines),
  )
  .option(
    '--baseline-data <path>',
    'what they are calibrated on (default: the first pictures of --data; of text there is none)',
  )
  .addOption(
    new Option('--baseline-samples <n>', "how many samples of it (default: the method's)").argParser(
      whole(1),
    ),
  )
  .addOption(
    new Option(
      '--save <name>',
      'keep the result where the editor lists it: in the first adapter set, or the model',
    ),
  )
  .addOption(cacheMemory())
  .addOption(yes())
  .addOption(device())
  .addOption(threads())
  .addOption(json())
  .action(async (model: string, { json: asJson, yes = false, plan, ...options }: EvaluateOptions) => {
    const request = { ...options, model, ...(plan && { plans: plan }) };
    await evaluated(request, 'Evaluating', { json: asJson ?? false, yes });
  });

/** Evaluates, and prints the table. */
async function evaluated(
  request: EvaluateRequest,
  title: string,
  { json: asJson, yes: sure }: { readonly json: boolean; readonly yes: boolean },
): Promise<void> {
  reportEvaluated(await scored(request, title, sure), asJson);
}

async function scored(request: EvaluateRequest, title: string, sure: boolean): Promise<EvaluateResult> {
  const bar = progressBar(title);
  const result = await run('evaluate', request, (status) => bar.update(status.done, formatStatus(status)), {
    yes: sure,
    shorter: ['--limit', ...(request.exports ? [] : ['fewer --bits'])],
  }).finally(() => bar.stop());
  reportSkipped(result);
  return result;
}

function reportEvaluated(result: EvaluateResult, asJson: boolean): void {
  print({ json: asJson }, result, formatEvaluation);
  if (result.saved !== undefined) log(`Kept in ${result.saved}.`);
  log(`Took ${result.seconds.toFixed(0)} s and at most ${bytes(result.peakMemory)} of memory.`);
}

program
  .command('sensitivity')
  .description(
    'measure what each bit-width of each layer costs by itself: sensitivity.json of an adapter set',
  )
  .addArgument(modelArgument())
  .requiredOption('--adapters <folder>', 'adapter set (required)')
  .requiredOption('--data <path>', 'what to measure on: pictures or text, as for calibrate (required)')
  .option('--out <file>', 'file to write (default: sensitivity.json in the adapter set)')
  .addOption(samplesMeasured())
  .addOption(length())
  .addOption(batchMeasured())
  .addOption(
    new Option(
      '--exact',
      'run the model for every bit-width of every layer instead of estimating by gradients',
    ),
  )
  .addOption(cacheMemory())
  .addOption(new Option('--resume', 'continue an unfinished measurement'))
  .addOption(new Option('--force', 'replace the measurement that is there'))
  .addOption(yes())
  .addOption(device())
  .addOption(threads())
  .addOption(json())
  .action(async (model: string, { json: asJson, yes = false, ...options }: SensitivityOptions) => {
    const bar = progressBar('Measuring');
    const shorter = ['fewer --samples', ...(options.exact ? ['no --exact'] : [])];
    const result = await run(
      'sensitivity',
      { ...options, model },
      (status) => bar.update(status.done, formatStatus(status)),
      { yes, shorter },
    ).finally(() => bar.stop());
    print({ json: asJson ?? false }, result, (r) =>
      r.device === undefined
        ? `${r.out} is finished: the measurement is complete, and there is nothing left to resume.`
        : `Wrote ${r.out}: ${r.layers} layers at ${r.bits.join(', ')} bits, from ${r.samples} samples, on ${r.device}, in ${r.seconds.toFixed(0)} s. ${r.kind === 'measured' ? 'Running only what follows the changed layer' : 'Estimating them by gradients'} saved ${(100 * r.saved).toFixed(0)} % of the work.`,
    );
  });

program
  .command('allocate')
  .description('the best precision plan within a budget, by measured sensitivity')
  .argument('<file>', 'sensitivity.json, or the adapter set that has one')
  .addOption(
    new Option('--average-bits <x>', 'bits on average, over the weights of all layers').argParser(fraction),
  )
  .addOption(
    new Option('--max-size <size>', 'size of the whole model, such as 1.2GB (needs --model)').argParser(
      parsed(parseBytes),
    ),
  )
  .addOption(
    new Option(
      '--format <name>',
      'the size is that of an export in this format, and the bits are among those that it holds (needs --model)',
    ).choices(exporters.filter(({ holdsAllBits }) => !holdsAllBits).map(({ name }) => name)),
  )
  .addOption(new Option('--fix <glob=bits...>', 'layers with bits of their own').argParser(fix))
  .option('--adapters <folder>', 'adapter set (default: the folder of the file)')
  .addOption(new Option('--model <folder>', 'checkpoint folder').argParser(model))
  .option(
    '--data <path>',
    'pictures or text that plans are measured on, beside uniform bit-widths (needs --model; default: none, only predicted)',
  )
  .addOption(samplesMeasured())
  .addOption(length())
  .addOption(batchMeasured())
  .requiredOption('--out <plan>', 'file of the plan, such as small.precision.json (required)')
  .addOption(new Option('--force', 'replace the plan that is there'))
  .addOption(device())
  .addOption(threads())
  .addOption(json())
  .action(async (file: string, { json: asJson, ...options }: Common & AllocateOptions) => {
    const bar = progressBar('Measuring plans');
    const compare: Compare = (request) =>
      run('compare-plans', request, (status) => bar.update(status.done, formatStatus(status))).finally(() =>
        bar.stop(),
      );
    const size: SizeExports = (request) => run('size-exports', request);
    print({ json: asJson ?? false }, await allocate(file, options, compare, size), formatAllocated);
  });

addExportOptions(
  program.command('export').description('write a model with an adapter set, at chosen bits, for other tools'),
).action(async (model: string, options: ExportOptions, command: Command) => {
  const wrong = misused(options);
  if (wrong !== undefined) command.error(`error: ${wrong}`);
  const { json: asJson = false, yes = false, list, verify, limit: _limit, format, out, ...asked } = options;
  if (list) {
    const { device: _device, threads: _threads, ...set } = asked;
    print({ json: asJson }, await run('list-exports', { ...set, model }), formatExports);
    return;
  }
  const bar = progressBar('Exporting');
  const result = await run(
    'export',
    { ...asked, model, format: format!, out: out! },
    (status) => bar.update(status.done, formatStatus(status)),
    { yes, shorter: [] },
  ).finally(() => bar.stop());
  if (!asJson || verify === undefined) print({ json: asJson }, result, formatExported);
  if (verify === undefined) return;
  const verified = await scored(verification(model, result.out, options), 'Verifying', yes);
  if (asJson) print({ json: true }, { ...result, verified }, () => '');
  else reportEvaluated(verified, false);
});

program
  .command('verify')
  .description('run exported files in what they are for, and score them beside the set that they came of')
  .argument('<exports...>', 'GGUF files, and folders that exports wrote, all at the same bits')
  .addOption(
    new Option('--model <folder>', 'checkpoint folder that was exported (required)')
      .argParser(model)
      .makeOptionMandatory(),
  )
  .requiredOption('--adapters <folder>', 'adapter set that was exported (required)')
  .addOption(new Option('--bits <n>', 'bits of every layer, as they were exported').argParser(width))
  .addOption(new Option('--plan <file>', 'precision plan, instead of --bits').conflicts('bits'))
  .addOption(new Option('--tie', 'the plan was exported with --tie'))
  .requiredOption('--data <path>', 'what to score on, as for evaluate (required)')
  .addOption(
    new Option('--limit <n>', 'only the first pictures, windows of text or questions').argParser(whole(1)),
  )
  .addOption(length())
  .addOption(new Option('--save <name>', 'keep the result where the editor lists it: in the adapter set'))
  .addOption(cacheMemory())
  .addOption(yes())
  .addOption(device())
  .addOption(threads())
  .addOption(json())
  .action(async (paths: string[], options: VerifyOptions, command: Command) => {
    const { json: asJson = false, yes: sure = false, bits, plan, tie, adapters, ...rest } = options;
    if (bits === undefined && plan === undefined)
      command.error('error: name the bits that were exported, with either --bits or --plan');
    const at = { ...(plan === undefined ? { bits: bits! } : { plan }), ...(tie && { tie }) };
    const exports = paths.map((path) => ({ path, ...at }));
    await evaluated({ ...rest, adapters: [adapters], exports }, 'Verifying', { json: asJson, yes: sure });
  });

program
  .command('import')
  .description('make a model folder of a GGUF file: weights in floating point, configuration and tokenizer')
  .argument('<file>', 'GGUF file of a LLaMA, Mistral, Qwen 2 or Qwen 3 model')
  .requiredOption('--out <folder>', 'folder to make; it must not be there yet (required)')
  .addOption(
    new Option('--dtype <name>', 'what weights are written in; F32 has the very values of the file')
      .choices(IMPORT_DTYPES)
      .default('F32'),
  )
  .addOption(json())
  .action(
    async (file: string, { json: asJson = false, ...options }: Common & Omit<ImportRequest, 'file'>) => {
      const bar = progressBar('Importing');
      const result = await run('import-gguf', { ...options, file }, (status) =>
        bar.update(status.done, formatStatus(status)),
      ).finally(() => bar.stop());
      print({ json: asJson }, result, formatImported);
    },
  );

program
  .command('devices')
  .description('what can run here, and how fast a matrix product is on each')
  .addOption(json())
  .action(async (options: Common) =>
    print(options, await run('devices', {}), (result) => formatDevices(result)),
  );

program
  .command('serve')
  .description('JSON-RPC on stdin and stdout, for editors (docs/PROTOCOL.md)')
  .action(async () => {
    await serveStdio();
    // What a client left behind must not keep the process.
    process.exit();
  });

let running: WorkKind | undefined;

interface GetOptions extends Starting {
  readonly revision?: string;
  readonly list?: boolean;
}

function run<K extends WorkKind>(
  kind: K,
  request: Jobs[K]['request'],
  status: (status: Jobs[K]['status']) => void = () => undefined,
  asked?: Asked,
): Promise<Jobs[K]['result']> {
  running = kind;
  return untilStopped((stop) =>
    runJob(kind, request, {
      signal: stop.signal,
      status,
      note: (line) => log(line),
      ...(asked && { announce: (forecast: Forecast) => beforeWork(forecast, asked, stop) }),
    }),
  );
}

/** Does what the signals of a terminal stop. */
function untilStopped<T>(work: (stop: AbortController) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const cancel = () => stop.abort();
  process.once('SIGINT', cancel).once('SIGTERM', cancel);
  return work(stop).finally(() => {
    process.off('SIGINT', cancel).off('SIGTERM', cancel);
  });
}

function print<T>({ json: asJson }: Common, result: T, text: (result: T) => string): void {
  process.stdout.write(`${visibleLines(asJson ? JSON.stringify(result) : text(result))}\n`);
}

function reportSkipped({ skipped, skippedCount = skipped.length }: SkippedSamples): void {
  for (const { name, reason } of skipped.slice(0, 10)) log(`Skipped ${name}: ${reason}`);
  if (skippedCount > 10) log(`Skipped ${skippedCount} in all.`);
}

const log = (line: string): void => writeLog(visible(line));
const writeLog = (text: string): void => void process.stderr.write(`${text}\n`);

try {
  const [command, ...args] = process.argv.slice(2);
  readCalibrations(
    command === calibrate.name() ? await methodOfArguments(calibrate.options, args) : undefined,
  );
  await program.parseAsync();
  process.exitCode = DONE;
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? DONE : BAD_USAGE;
  else {
    if (error instanceof CancelledError)
      log(
        running === 'get'
          ? 'Cancelled. What has come so far is kept: the same command goes on from it.'
          : isKind(running) && kindOf(running).progress
            ? 'Cancelled. What is done so far is kept: continue with --resume.'
            : 'Cancelled. Nothing of it is kept.',
      );
    else if (error instanceof UserError) log(error.message);
    else
      writeLog(
        process.env.ELASTIC_PRECISION_DEBUG
          ? visibleLines(String((error as Error).stack))
          : visible(`Internal error: ${messageOf(error)} (set ELASTIC_PRECISION_DEBUG=1 for details)`),
      );
    process.exitCode = FAILED;
  }
}
