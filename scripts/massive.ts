/**
 * Whether calibrations depend on massive activations: the sample language model, and the same function with one channel of
 * every text's first token hundreds of times larger than all others, calibrated and measured alike.
 * Usage: npm run bench:massive [-- --methods rounding,gptq,quept,direct:quick,direct] [--times 500] [--block 1]
 *        [--bits 8,7,6,5,4,3,2] [--sets 0,256,512] [--once quept] [--windows 128] [--limit 200] [--options '{}'] [--threads N]
 * Exits with 1 where a divergence is more than 5 % above the plain model's.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parseWidths, table } from '../engine/cli/format.js';
import { writeMassive } from '../test/massive.js';
import { measureMethods, pairedDifference, type Measured } from './measured-methods.js';

const samples = fileURLToPath(new URL('../samples', import.meta.url));
const speeches = join(samples, 'data', 'speeches');
const { values: flags } = parseArgs({
  options: {
    methods: { type: 'string', default: 'rounding,gptq,quept,direct:quick,direct' },
    times: { type: 'string', default: '500' },
    block: { type: 'string', default: '1' },
    bits: { type: 'string', default: '8,7,6,5,4,3,2' },
    sets: { type: 'string', default: '0,256,512' },
    once: { type: 'string', default: 'quept' },
    windows: { type: 'string', default: '128' },
    limit: { type: 'string', default: '200' },
    options: { type: 'string', default: '{}' },
    threads: { type: 'string' },
  },
});
const bits = parseWidths(flags.bits).sort((a, b) => b - a);
const methods = flags.methods.split(',');
/** What a divergence may be above the plain model's. */
const MOST = 0.05;

const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-'));
const measured = async (name: string, times: number): Promise<Measured> => {
  const model = join(folder, name);
  await writeMassive(join(samples, 'llama-speeches'), model, { token: 0, block: Number(flags.block), times });
  return measureMethods({
    ...{ methods, bits, model, isBegun: true },
    sets: flags.sets.split(',').map(Number),
    once: flags.once.split(','),
    windows: Number(flags.windows),
    limit: Number(flags.limit),
    options: JSON.parse(flags.options) as object,
    calibration: join(speeches, 'calibration.txt'),
    evaluation: join(speeches, 'evaluation.txt'),
    ...(flags.threads !== undefined && { threads: Number(flags.threads) }),
  });
};

try {
  const plain = await measured('plain', 0);
  const massive = await measured('massive', Number(flags.times));
  print(
    `${plain.count} windows of ${plain.length} tokens, perplexity ${plain.perplexity.toFixed(3)} and, with a massive activation, ${massive.perplexity.toFixed(3)}.`,
  );
  print('KL in nats without it, with it, and the change ± its standard error over windows:');
  const changes = methods.map((label) => bits.map((width) => changeOf(plain, massive, label, width)));
  print(
    table(
      ['method', ...bits.map(String)],
      methods.map((label, i) => [label, ...changes[i]!.map(({ words }) => words)]),
    ),
  );
  process.exitCode = changes.flat().some(({ share }) => share > MOST) ? 1 : 0;
} finally {
  await rm(folder, { recursive: true, force: true });
}

function changeOf(plain: Measured, massive: Measured, label: string, width: number) {
  const klOf = ({ runs }: Measured) =>
    runs.filter((run) => run.label === label).map(({ kl }) => kl.get(width)!);
  const others = klOf(plain);
  const { change, error, other } = pairedDifference(
    klOf(massive).map((own, i) => ({ own, other: others[i]! })),
  );
  const percent = (x: number) => `${(100 * x).toFixed(1)} %`;
  const digits = width > 4 ? 5 : 4;
  const values = `${other.toFixed(digits)} ${(other + change).toFixed(digits)}`;
  return {
    share: change / other,
    words: `${values} ${change < 0 ? '' : '+'}${percent(change / other)} ±${percent(error / other)}`,
  };
}

function print(text: string): void {
  process.stdout.write(`${text}\n\n`);
}
