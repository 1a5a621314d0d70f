"""A random checkpoint for a configuration, written as others write them, and what transformers makes of it."""

import copy
import json
import os
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageClassification, DeiTForImageClassification

from reference import floats, seed_everything, serve

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
PREFIX = {family: f"{family}." for family in ("vit", "deit", "beit", "swin")}
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def random_parameters(model):
    """Norms, biases and positions far from what they start as."""
    for name, p in model.named_parameters():
        noise = torch.randn_like(p)
        if p.ndim == 1 and "norm" in name and name.endswith("weight"):
            p.copy_(1 + 0.5 * noise)
        elif p.ndim == 1:
            p.copy_(0.5 * noise)
        elif "embed_tokens" in name or "position" in name or "token" in name:
            p.copy_(noise)
        else:
            p.copy_(1.2 * noise / p[0].numel() ** 0.5)


def tensors_of(model, case, folder):
    stored = case["stored"]
    if stored["names"] == "newer":
        tensors = {name: t.clone() for name, t in model.state_dict().items()}
    else:
        scratch = os.path.join(folder, "scratch")
        model.save_pretrained(scratch)
        tensors = load_file(os.path.join(scratch, "model.safetensors"))
        shutil.rmtree(scratch)
    if stored.get("head") == "table":
        tensors.pop(HEAD, None)
    if stored.get("head") == "head":
        tensors[HEAD] = tensors.pop(TABLE)
    if stored.get("head") in ("equal", "other"):
        tensors[HEAD] = tensors[TABLE].clone() + (stored.get("head") == "other") * torch.randn_like(tensors[TABLE])
    tensors = {name: t.to(DTYPES[stored["dtype"]]).contiguous() for name, t in tensors.items()}
    if stored["names"] == "bare":
        prefix = PREFIX.get(case["config"]["model_type"], "model.")
        tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
    if stored.get("spare"):
        tensors["spare.weight"] = torch.zeros(3, dtype=getattr(torch, stored["spare"]))
    return tensors


def write(tensors, folder, shards, indexed):
    if shards == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        return
    names = list(tensors)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        own = names[i::shards]
        save_file({name: tensors[name] for name in own}, os.path.join(folder, file), metadata={"format": "pt"})
        weight_map |= {name: file for name in own}
    if indexed:
        weight_map["nowhere.weight"] = file
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as index:
        json.dump({"metadata": {"total_size": 0}, "weight_map": weight_map}, index)


def rounding(model, inputs, logits):
    """How far logits move when every parameter does by one rounding of float32: what no implementation can be closer than."""
    furthest = 0
    for _ in range(2):
        moved = copy.deepcopy(model)
        for p in moved.parameters():
            p.mul_(1 + torch.finfo(torch.float32).eps * torch.randint_like(p, -1, 2))
        furthest = max(furthest, (moved(**inputs).logits - logits).abs().max().item())
    return furthest


def answer(case):
    folder = case["folder"]
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(case["config"], file)
    isText = "tokens" in case
    auto = AutoModelForCausalLM if isText else AutoModelForImageClassification
    config = AutoConfig.from_pretrained(folder)
    if config.model_type == "deit" and not config.architectures:
        # The automatic class cannot choose between the two.
        auto, config._attn_implementation = DeiTForImageClassification, "eager"
        model = auto(config)
    else:
        model = auto.from_config(config, attn_implementation="eager").float()
    seed_everything(case["seed"])
    random_parameters(model)
    write(tensors_of(model, case, folder), folder, case["stored"]["shards"], case["stored"].get("indexed"))

    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    if isText:
        ids = torch.randint(config.vocab_size, (case["batch"], case["tokens"]))
        inputs = {"input_ids": ids, "use_cache": False}
        logits = model(**inputs).logits
        return {"ids": ids.flatten().tolist(), "logits": floats(logits), "rounding": rounding(model, inputs, logits)}
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.randn(case["batch"], config.num_channels, height, width)
    inputs = {"pixel_values": pixels}
    logits = model(**inputs).logits
    return {"pixels": floats(pixels), "logits": floats(logits), "rounding": rounding(model, inputs, logits)}


serve(answer)
