/** Data-efficient image Transformer (Touvron et al. 2021): a ViT with a distillation token, Hugging Face layout `deit`. */
import * as op from '../../graph/ops.js';
import type { Family } from '../family.js';
import { finalTokens, IGNORED, otherVitNames, readVitConfig, vitModel } from '../vit/vit.js';

export const deit: Family = {
  modelType: 'deit',
  architectures: ['DeiTForImageClassification', 'DeiTForImageClassificationWithTeacher'],
  otherNames: otherVitNames('deit'),
  ignores: IGNORED,
  build: (modelConfig, architecture, { stores }) => {
    const config = readVitConfig(modelConfig);
    const withTeacher =
      architecture === undefined
        ? (stores?.('distillation_classifier.weight') ?? false)
        : architecture === 'DeiTForImageClassificationWithTeacher';
    return vitModel(config, 'deit', ['cls_token', 'distillation_token'], (tokens) => ({
      prefix: '',
      kind: 'head',
      inputShape: (batch) => [batch * tokens, config.features],
      outputShape: (batch) => [batch, config.classes],
      forward: (b, x, batch) => {
        const [cls, distilled] = finalTokens(b, 'deit.layernorm', x, config, batch, 2);
        if (!withTeacher) return b.linear('classifier', cls!, config.classes);
        const sum = op.add(
          b.linear('cls_classifier', cls!, config.classes),
          b.linear('distillation_classifier', distilled!, config.classes),
        );
        return op.mul(sum, sum.graph.scalar(0.5));
      },
    }));
  },
};
