/** Cases of other kinds of models than there are families of, and a part of the line by which each is refused. */

const family = (type: string) => `"model_type" is "${type}"; supported are `;

/** Checkpoints of timm and of diffusers have no type. */
const NO_TYPE = '"model_type" is missing';

export const REFUSED: Readonly<Record<string, string>> = {
  'bert-embed': family('bert'),
  'bert-mlm': family('bert'),
  'bert-sequence': family('bert'),
  'bert-token': family('bert'),
  clip: family('clip'),
  'clip-gelu': family('clip'),
  dinov2: family('dinov2'),
  'dinov2-swiglu': family('dinov2'),
  dinov2_with_registers: family('dinov2_with_registers'),
  'distilbert-mlm': family('distilbert'),
  'distilbert-sequence': family('distilbert'),
  dit: NO_TYPE,
  internvl: family('internvl'),
  llava: family('llava'),
  llava_onevision: family('llava_onevision'),
  'modernbert-mlm': family('modernbert'),
  'modernbert-sequence': family('modernbert'),
  'mpnet-embed': family('mpnet'),
  'mpnet-mlm': family('mpnet'),
  qwen2_vl: family('qwen2_vl'),
  'roberta-mlm': family('roberta'),
  'roberta-sequence': family('roberta'),
  siglip: family('siglip'),
  smolvlm: family('smolvlm'),
  swinv2: family('swinv2'),
  'timm-deit_distilled': NO_TYPE,
  'timm-swin': NO_TYPE,
  'timm-swin_clipped': NO_TYPE,
  'timm-vit': NO_TYPE,
  'timm-vit_dinov2': NO_TYPE,
  'timm-vit_reg4_dinov2': NO_TYPE,
  'timm-vit_reg4_gap': NO_TYPE,
  'timm-vit_siglip': NO_TYPE,
  'vit-pooler': '"architectures" is "ViTModel"; supported for "vit" are ViTForImageClassification',
  whisper: family('whisper'),
};
