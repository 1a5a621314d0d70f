import { expect, it } from 'vitest';
import { Graph } from '../graph/ir.js';
import { meanSquares, secondMoments, weightedError, type Moments } from './moments.js';
import { observe } from './observe.js';
import { normals, rowsOf, tinyBlock, usePrograms } from './testing.js';

const [BATCH, BATCHES, PANEL] = [2, 3, 12];
const programs = usePrograms();
const { part, listing, parameters } = tinyBlock();
const batches = Array.from({ length: BATCHES }, (_, i) => ({
  x: normals(part.inputShape(BATCH), 'x', i).data,
}));

it('are the means of products within blocks of columns, for every layer, over all batches', async () => {
  const found = await secondMoments(programs, { part, listing, parameters }, batches, BATCH, PANEL);
  const inputs = [...new Set(listing.linears.map((l) => l.input))];
  const observed = await observe(programs, part, inputs, parameters, batches, BATCH);
  expect([...found.keys()]).toEqual(listing.linears.map((l) => l.name));
  for (const layer of listing.linears) {
    const { data, features } = observed.get(layer.input)!;
    const rows = rowsOf({ data, shape: [data.length / features, features] });
    const moments = found.get(layer.name)!;
    const panels = Math.ceil(layer.in / PANEL);
    expect([moments.panel, moments.columns, moments.data.length]).toEqual([
      PANEL,
      layer.in,
      panels * PANEL * PANEL,
    ]);
    for (let p = 0; p < panels; p++)
      for (let i = 0; i < PANEL; i++)
        for (let j = 0; j < PANEL; j++) {
          const [left, right] = [p * PANEL + i, p * PANEL + j];
          const mean = rows.reduce((sum, x) => sum + (x[left] ?? 0) * (x[right] ?? 0), 0) / rows.length;
          expect(moments.data[(p * PANEL + i) * PANEL + j]).toBeCloseTo(mean, 4);
        }
    expect(meanSquares(moments)).toHaveLength(layer.in);
    expect(meanSquares(moments)[layer.in - 1]).toBeCloseTo(
      rows.reduce((sum, x) => sum + x[layer.in - 1]! ** 2, 0) / rows.length,
      4,
    );
  }
});

it('weigh a change of weights by the output error it makes', async () => {
  const [out, columns, panel] = [3, 7, 4];
  const difference = normals([out, columns], 'difference');
  const samples = rowsOf(normals([50, columns], 'samples'));
  const moments: Moments = { data: new Float32Array(2 * panel * panel), panel, columns };
  for (const x of samples)
    for (let i = 0; i < columns; i++)
      for (let j = 0; j < columns; j++)
        if (Math.floor(i / panel) === Math.floor(j / panel))
          moments.data[i * panel + (j % panel)]! += (x[i]! * x[j]!) / samples.length;
  const graph = new Graph();
  const delta = graph.constant(difference.data, difference.shape);
  graph.output('error', weightedError(delta, graph.constant(moments.data, [2, panel, panel])));
  const program = await programs.runtime.compile(graph, 'weighted error');
  const errors = await programs.runtime.read((await program.run({})).error!);
  await program.dispose();
  rowsOf(difference).forEach((row, r) =>
    [0, 1].forEach((index) => {
      const inPanel = (x: readonly number[]) =>
        row.reduce((sum, d, c) => sum + (Math.floor(c / panel) === index ? d * x[c]! : 0), 0);
      const mean = samples.reduce((sum, x) => sum + inPanel(x) ** 2, 0) / samples.length;
      expect(errors[r * 2 + index]).toBeCloseTo(mean, 4);
    }),
  );
});
