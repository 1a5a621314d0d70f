"""What AutoRound makes of a language model, for `npm run bench:methods -- --methods …,autoround`: a run for each bit-width.

    python autoround.py MODEL IDS WINDOWS BITS OUT THREADS

IDS is a file of int32 token ids, WINDOWS windows of equal length. Writes OUT/<bits>.safetensors with codes, scale and zero of
each layer, in groups of 128 columns, and prints the processor seconds that all took as the last line. Needs auto-round 0.16.1
beside what requirements.txt lists, and of what it needs datasets, pyarrow, pandas, dill, multiprocess, xxhash, python-dateutil,
six and py-cpuinfo.
"""

import os
import sys
import time

model_path, ids_path, windows, bits, out, threads = sys.argv[1:]
os.environ["OMP_NUM_THREADS"] = threads
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from auto_round import AutoRound
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

# There is no CUDA to ask.
torch.cuda.is_current_stream_capturing = lambda: False

GROUP_SIZE = 128

torch.set_num_threads(int(threads))
ids = torch.frombuffer(bytearray(open(ids_path, "rb").read()), dtype=torch.int32)
samples = list(ids.long().reshape(int(windows), 1, -1))
tokenizer = AutoTokenizer.from_pretrained(model_path)


def layers_of(model):
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            yield name, module


def quantized(width):
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    rounding = AutoRound(
        model,
        tokenizer,
        bits=width,
        group_size=GROUP_SIZE,
        sym=False,
        dataset=samples,
        seqlen=samples[0].shape[-1],
        nsamples=len(samples),
        amp=False,
        device_map="cpu",
        enable_torch_compile=False,
    )
    model, _ = rounding.quantize()
    found = {}
    for name, module in layers_of(model):
        rows, columns = module.weight.shape
        scale = module.scale.float().reshape(rows, -1)
        zero = module.zp.float().reshape(rows, -1)
        wide = lambda each: each.repeat_interleave(GROUP_SIZE, 1)[:, :columns]
        codes = (module.weight.float() / wide(scale) + wide(zero)).round()
        made = wide(scale) * (codes - wide(zero))
        largest = (made - module.weight.float()).abs().max().item()
        assert largest < 1e-3 * module.weight.abs().max().item(), f"{name}: not on its grid, by {largest}"
        assert 0 <= codes.min() and codes.max() < 2**width, f"{name}: codes beyond {width} bits"
        found[f"{name}.codes"] = codes.to(torch.uint8).contiguous()
        found[f"{name}.scale"] = scale.contiguous()
        found[f"{name}.zero"] = zero.contiguous()
    return found


start = time.process_time()
for width in map(int, bits.split(",")):
    save_file(quantized(width), os.path.join(out, f"{width}.safetensors"))
print(time.process_time() - start)
