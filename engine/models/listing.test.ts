import { describe, expect, it } from 'vitest';
import { TINY_VIT } from '../../test/fixtures.js';
import type { Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { ModelConfig } from './config.js';
import { listPart } from './listing.js';
import type { Builder, NormOptions, Part } from './model.js';
import { buildModel } from './registry.js';

const model = (change: object = {}) => buildModel(new ModelConfig({ ...TINY_VIT, ...change }, 'config.json'));

describe('a ViT block', () => {
  const listing = listPart(model().blocks[1]!);

  it('has six layers, with the input and the norm that each reads', () => {
    const query = 'attention.attention.query';
    expect(listing.linears).toEqual([
      { name: query, in: 16, out: 16, bias: true, input: query, norm: 'layernorm_before' },
      {
        name: 'attention.attention.key',
        in: 16,
        out: 16,
        bias: true,
        input: query,
        norm: 'layernorm_before',
      },
      {
        name: 'attention.attention.value',
        in: 16,
        out: 16,
        bias: true,
        input: query,
        norm: 'layernorm_before',
      },
      {
        name: 'attention.output.dense',
        in: 16,
        out: 16,
        bias: true,
        input: 'attention.output.dense',
        norm: undefined,
      },
      {
        name: 'intermediate.dense',
        in: 16,
        out: 32,
        bias: true,
        input: 'intermediate.dense',
        norm: 'layernorm_after',
      },
      { name: 'output.dense', in: 32, out: 16, bias: true, input: 'output.dense', norm: undefined },
    ]);
  });

  it('has two norms and three operands of products', () => {
    expect(listing.norms).toEqual([
      { name: 'layernorm_before', features: 16, bias: true, foldable: true },
      { name: 'layernorm_after', features: 16, bias: true, foldable: true },
    ]);
    expect([...listing.operands].sort()).toEqual(['k', 'q', 'v'].map((x) => `attention.attention.${x}`));
  });

  it('reads each parameter once, weights as [out, in]', () => {
    const names = listing.parameters.map((p) => p.name);
    expect(new Set(names).size).toBe(names.length);
    const shapes = Object.fromEntries(listing.parameters.map((p) => [p.name, p.shape]));
    expect(names).toHaveLength(2 * (6 + 2));
    expect(shapes['intermediate.dense.weight']).toEqual([32, 16]);
    expect(shapes['intermediate.dense.bias']).toEqual([32]);
    expect(shapes['output.dense.weight']).toEqual([16, 32]);
    expect(shapes['layernorm_after.weight']).toEqual([16]);
    for (const { shape, storedShape } of listing.parameters) expect(storedShape).toEqual(shape);
  });

  it('leaves out biases that the configuration does', () => {
    const bare = listPart(model({ qkv_bias: false }).blocks[0]!);
    expect(bare.linears.map((l) => l.bias)).toEqual([false, false, false, true, true, true]);
    expect(bare.parameters.map((p) => p.name)).not.toContain('attention.attention.query.bias');
    expect(bare.parameters).toHaveLength(13);
  });
});

describe('stem and head', () => {
  it('reads the patch embedding as the convolution that the checkpoint stores', () => {
    const { parameters, linears } = listPart(model({ num_channels: 3, patch_size: [4, 2] }).stem);
    expect(Object.fromEntries(parameters.map((p) => [p.name, p.storedShape]))).toEqual({
      'patch_embeddings.projection.weight': [16, 3, 4, 2],
      'patch_embeddings.projection.bias': [16],
      cls_token: [1, 1, 16],
      position_embeddings: [1, 9, 16],
    });
    expect(linears).toMatchObject([{ in: 24, out: 16, norm: undefined }]);
  });

  it('tells a reshaped norm from the norm itself', () => {
    expect(listPart(model().head).linears).toEqual([
      { name: 'classifier', in: 16, out: 6, bias: true, input: 'classifier', norm: undefined },
    ]);
  });
});

it('takes a layer behind anything but a norm for one without norm, and layers apart where inputs differ', () => {
  const part: Part = {
    prefix: '',
    kind: 'block',
    inputShape: (batch) => [batch, 4],
    outputShape: (batch) => [batch, 4],
    forward: (b, x, _batch) => {
      const normal = b.layerNorm('norm', x, 1e-6);
      const [first, second] = [b.linear('first', normal, 4), b.linear('second', op.neg(x), 4)];
      return op.add(op.add(first, second), op.add(b.linear('third', normal, 4), b.linear('fourth', x, 4)));
    },
  };
  expect(listPart(part).linears.map(({ name, input, norm }) => [name, input, norm])).toEqual([
    ['first', 'first', 'norm'],
    ['second', 'second', undefined],
    ['third', 'first', 'norm'],
    ['fourth', 'fourth', undefined],
  ]);
});

describe('a norm that can be folded', () => {
  /** A part of 4 features whose layer `reader` reads the norm `norm`; `use` says what else does, and what the part yields. */
  const listed = (use: (b: Builder, normal: Value, read: Value) => Value, options?: NormOptions) =>
    listPart({
      prefix: '',
      kind: 'block',
      inputShape: (batch) => [batch, 4],
      outputShape: (batch) => [batch, 4],
      forward: (b, x) => {
        const normal = b.layerNorm('norm', x, 1e-6, options);
        return use(b, normal, b.linear('reader', normal, 4));
      },
    });
  const foldable = (use: Parameters<typeof listed>[0]) => {
    const { norms, linears } = listed(use);
    const own = norms.find(({ name }) => name === 'norm')!;
    expect(linears.find(({ name }) => name === 'reader')!.norm).toBe(own.foldable ? 'norm' : undefined);
    return own.foldable;
  };

  it('is read by linear layers alone', () => {
    expect(foldable((_b, _normal, read) => read)).toBe(true);
    expect(foldable((b, normal, read) => op.add(read, b.linear('other', normal, 4)))).toBe(true);
  });

  it.each<[string, Parameters<typeof listed>[0]]>([
    ['the residual stream, as behind a post-norm block', (_b, normal, read) => op.add(normal, read)],
    ['what is computed in front of a layer', (b, normal) => b.linear('other', op.neg(normal), 4)],
    ['an operand of a product', (b, normal, read) => op.mul(read, op.softmax(b.operand('q', normal)))],
    ['another norm', (b, normal, read) => op.add(read, b.rmsNorm('second', normal, 1e-6))],
    ['whoever reads the part', (_b, normal) => normal],
  ])('is not read by %s', (_what, use) => {
    expect(foldable(use)).toBe(false);
  });

  it('has parameters', () => {
    const { norms, linears, parameters } = listed((_b, _normal, read) => read, { affine: false });
    expect(norms).toEqual([]);
    expect(linears[0]!.norm).toBeUndefined();
    expect(parameters.map(({ name }) => name)).toEqual(['reader.weight', 'reader.bias']);
  });
});
