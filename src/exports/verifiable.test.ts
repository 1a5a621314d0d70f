import { expect, it } from 'vitest';
import type { ExportJob, ExportRequest } from '../../engine/protocol/protocol.js';
import { verifiable } from './verifiable.js';

const job = (id: string, request: Partial<ExportRequest>, state = 'finished') =>
  ({ id, kind: 'export', state, request: { model: 'm', adapters: 's', out: id, ...request } }) as ExportJob;
const plan = { plan: 'p.json' };
const outs = (jobs: readonly ExportJob[]) => jobs.map(({ request }) => request.out);
const all = () => true;

it('exports of one set at the same bits are verified together, the one that is asked for in any case', () => {
  const own = job('a.gguf', plan);
  const others = [
    job('onnx', plan),
    job('other plan', { plan: 'q.json' }),
    job('bits', { bits: 4 }),
    job('tied', { ...plan, tie: true }),
    job('failed', plan, 'failed'),
    job('other set', { ...plan, adapters: 't' }),
  ];
  expect(outs(verifiable(own, [...others, own], all))).toEqual(['onnx', 'a.gguf']);
  expect(outs(verifiable(own, [...others, own], (path) => path !== 'onnx'))).toEqual(['a.gguf']);
});

it('what is gone, has not ended well, or holds all bit-widths, is not', () => {
  expect(verifiable(job('gone', plan), [job('onnx', plan)], (path) => path !== 'gone')).toEqual([]);
  expect(verifiable(job('running', plan, 'running'), [], all)).toEqual([]);
  expect(verifiable(job('elastic', {}), [], all)).toEqual([]);
  expect(verifiable(job('types', { ...plan, format: 'gguf-types' }), [], all)).toEqual([]);
});
