/** A toy export format: one line of text for each layer. Long names of layers are more than it holds. */
import { writeFile } from 'node:fs/promises';
import { layerNames } from '../engine/execution/model.js';
import type { Exporter } from '../engine/exporters/exporter.js';

/** Bytes of a line: the layer, its bits, and what is between and behind them. */
const LINE = 100;

export const lines: Exporter = {
  name: 'lines',
  words: { title: 'Lines', description: 'a line of text for each layer' },
  ending: '.txt',
  refuse: ({ source }) =>
    source.offered.includes(7) ? 'Seven is no number for lines; calibrate at other bits.' : undefined,
  size: ({ original }) => Promise.resolve({ bytes: LINE * layerNames(original).length, isExact: false }),
  write: async ({ original, source, bitsOf, hooks }, out) => {
    const written: string[] = [];
    for (const name of layerNames(original)) {
      const { kind } = await source.weight(name, bitsOf(name));
      hooks.status(written.length / 12, `layer ${name}`);
      written.push(`${name} ${bitsOf(name)} ${kind}\n`);
    }
    await writeFile(out, written.join(''));
  },
};

/** Says that it would take more than any drive has. */
export const boundless: Exporter = {
  ...lines,
  name: 'boundless',
  size: () => Promise.resolve({ bytes: 2 ** 80, isExact: false }),
};
