/** A model of many layers for the page: the numbers are made up by a rule, so that figures are the same every time. */
import { solve } from '../../engine/plans/allocate.js';
import { encodeBits } from '../../engine/plans/bits.js';
import { totalsOf } from '../../engine/plans/totals.js';
import type { FrontierPoint, ShowTable, Strings, Table } from '../../webview/precision/protocol.js';

const BITS = [2, 3, 4, 5, 6, 7, 8];
const PARTS = [
  ...['attention.query', 'attention.key', 'attention.value', 'attention.output'],
  ...['intermediate.dense', 'output.dense'],
];
const SHAPES = [[128, 128], [128, 128], [128, 128], [128, 128], [512, 128], [128, 512]] as const; // prettier-ignore

/** @param offered bit-widths, ascending */
export function tableOf(layers: number, offered: readonly number[] = BITS): Table {
  const rows = Array.from({ length: layers }, (_, i) => {
    const block = `encoder.layer.${Math.floor(i / PARTS.length)}`;
    const shape = SHAPES[i % PARTS.length]!;
    const weights = shape[0] * shape[1];
    const bytes = offered.map((bits) => Math.ceil((weights * bits) / 8) + shape[0] * 8);
    return { name: `${block}.${PARTS[i % PARTS.length]!}`, block, shape, weights, bytes };
  });
  const costs = rows.map((_, i) => {
    const scale = 0.4 * Math.exp(-((i * 37) % 19) / 4) * (1 + (i % 6) / 3);
    return offered.map((bits) => scale * 4 ** (2 - bits));
  });
  return {
    ...{
      task: 'image-classification',
      bits: offered,
      layers: rows,
      otherBytes: 90_000,
      fullBytes: 4_800_000,
    },
    sensitivity: { costs, samples: 256, data: 'pictures' },
  };
}

export const showOf = (table: Table, strings: Strings): ShowTable => ({
  ...{ type: 'table', locale: 'en', strings, table, lacks: [], live: true, pinned: [] },
  ...{ title: 'vit-fashion', subtitle: 'elastic · 2–8 bits · sensitivity of 256 samples' },
});

/** All that a frontier request is answered by. */
export function frontierOf(table: Table): FrontierPoint[] {
  const layers = table.layers.map(({ bytes, weights }, i) => ({
    ...{ cost: [...table.sensitivity!.costs[i]!], size: [...bytes], weights },
  }));
  return solve(table.bits, layers, 'average-bits').points.map(({ bits }) => {
    const widths = bits();
    const { bytes, averageBits, cost } = totalsOf(table, widths);
    return { bytes, averageBits, cost: cost!, bits: encodeBits(widths, table.bits) };
  });
}
