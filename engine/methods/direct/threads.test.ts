import { expect, it } from 'vitest';
import { normals } from '../../execution/testing.js';
import { openPrograms } from '../../runtime/programs.js';
import { openRuntime } from '../../runtime/session.js';
import { factorMoment } from '../../backends/moment-factor.js';
import { roundWidths, siteOf } from './site.js';
import { correctedWeight, product } from '../../backends/corrected-weight.js';

it('makes the same weights with any number of threads', async () => {
  const [out, n, tokens] = [200, 300, 400];
  const weight = normals([out, n], 'weight').data;
  const { data: x } = normals([tokens, n], 'inputs');
  const columns = Float32Array.from(x, (_, i) => x[(i % tokens) * n + Math.floor(i / tokens)]!);
  const layout = { offered: [8, 4, 2], groupSize: 64, halfZeros: 4 };
  const hooks = { signal: new AbortController().signal, note: (line: string) => expect.fail(line) };
  const made = async (threads: number) => {
    const runtime = openRuntime('cpu', threads);
    const programs = openPrograms(runtime);
    const hessian = await product(programs, columns, x, tokens);
    const factored = await factorMoment(programs, hessian, n, 0.1, 'layer', hooks);
    const target = await correctedWeight(programs, weight, weight, factored, hooks.signal);
    const site = siteOf(hessian, factored);
    const widths = await roundWidths(programs, site, target, layout, layout.offered, hooks.signal);
    await programs.release();
    await runtime.dispose();
    return [...widths.values()].map(({ weight: own }) => own);
  };
  expect(await made(2)).toEqual(await made(1));
});
