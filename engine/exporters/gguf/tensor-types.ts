/**
 * A file for `llama-quantize --tensor-type-file`: of each matrix of a model the type that the GGUF of a set at these bits has, for
 * whoever quantizes with llama.cpp's own tool. A line is `pattern=type`, the pattern a regular expression.
 */
import { makeFileAtomic } from '../../formats/atomic.js';
import { shellWord } from '../../formats/shell.js';
import type { ExportContext, Exporter } from '../exporter.js';
import { gguf, layoutsOf } from './gguf.js';

export const tensorTypes: Exporter = {
  name: 'gguf-types',
  ending: '.txt',
  words: {
    title: 'Tensor Types for llama-quantize',
    description: "bits alone, for llama.cpp's own tool to quantize by: a type for each tensor, no weights",
  },
  refuse: (context) => gguf.refuse(context),
  serve: (_context, out) =>
    `llama-quantize --tensor-type-file ${shellWord(out)} MODEL_F16.gguf MODEL.gguf Q4_K_M`,
  size: (context) => Promise.resolve({ bytes: Buffer.byteLength(linesOf(context)), isExact: true }),
  write: (context, out) => {
    context.hooks.status(0, 'types');
    return makeFileAtomic(out, linesOf(context));
  },
};

const linesOf = (context: ExportContext): string =>
  layoutsOf(context)
    .filter(({ shape }) => shape.length > 1)
    .map(({ name, type }) => `^${name.replaceAll('.', '\\.')}$=${type.name.toLowerCase()}\n`)
    .join('');
