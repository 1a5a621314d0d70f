"""What reference libraries make of exported files."""

import json
import os
import sys
import tempfile

from reference import floats, serve


def gguf_tensors(case):
    """The values of every tensor of a GGUF file."""
    import gguf

    tensors = gguf.GGUFReader(case["path"]).tensors
    return {t.name: floats(gguf.quants.dequantize(t.data, t.tensor_type)) for t in tensors}


# How many texts or pictures go through a model at once.
AT_ONCE = 8


def scored(case, forward):
    """Logits of the first inputs, and the mean loss of the next token over all of them where they are texts.

    `forward` makes logits [inputs, …, classes] of a few inputs.
    """
    import numpy
    import torch

    is_text = len(case["shape"]) == 1
    inputs = numpy.fromfile(case["inputs"], "<i8" if is_text else "<f4").reshape(-1, *case["shape"])
    kept, losses = [], []
    for start in range(0, len(inputs) if is_text else case["compared"], AT_ONCE):
        batch = inputs[start : start + AT_ONCE]
        logits = torch.as_tensor(forward(batch)).float()
        if start < case["compared"]:
            kept.append(logits)
        if is_text:
            shares = logits.log_softmax(-1)[:, :-1]
            losses.append(-shares.gather(-1, torch.as_tensor(batch)[:, 1:, None]).mean((1, 2)))
    answer = {"logits": floats(torch.cat(kept))}
    return {**answer, "loss": torch.cat(losses).mean().item()} if is_text else answer


def onnx_run(case):
    """An ONNX model, all tokens of a text at once."""
    import numpy
    import onnxruntime

    session = onnxruntime.InferenceSession(case["path"], providers=["CPUExecutionProvider"])

    def forward(batch):
        if session.get_inputs()[0].name == "pixel_values":
            return session.run(["logits"], {"pixel_values": batch})[0]
        count, length = batch.shape
        feeds = {"input_ids": batch, "attention_mask": numpy.ones_like(batch)}
        feeds["position_ids"] = numpy.arange(length)[None].repeat(count, 0)
        for port in session.get_inputs()[3:]:
            feeds[port.name] = numpy.zeros((count, port.shape[1], 0, port.shape[3]), "float32")
        return session.run(["logits"], feeds)[0]

    return scored(case, forward)


def genai_tokens(case):
    """The tokens that onnxruntime-genai continues a text with, the likeliest each time."""
    import onnxruntime_genai

    model = onnxruntime_genai.Model(case["path"])
    options = onnxruntime_genai.GeneratorParams(model)
    options.set_search_options(max_length=len(case["ids"]) + case["count"], do_sample=False)
    generator = onnxruntime_genai.Generator(model, options)
    generator.append_tokens(case["ids"])
    while not generator.is_done():
        generator.generate_next_token()
    return {"ids": [int(token) for token in generator.get_sequence(0)][len(case["ids"]) :]}


def model_run(model, case):
    import torch

    if len(case["shape"]) == 1:
        return scored(case, lambda batch: model(input_ids=torch.as_tensor(batch), use_cache=False).logits)
    return scored(case, lambda batch: model(pixel_values=torch.as_tensor(batch)).logits)


def auto_class(case):
    from transformers import AutoModelForCausalLM, AutoModelForImageClassification

    return AutoModelForCausalLM if len(case["shape"]) == 1 else AutoModelForImageClassification


def transformers_run(case):
    """A checkpoint folder as transformers' Auto classes load it."""
    import torch

    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    return model_run(auto_class(case).from_pretrained(case["path"], **options).eval(), case)


def decompressed_run(case):
    """A checkpoint whose packed layers compressed-tensors' library decompresses, in transformers' model of it."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(os.path.join(case["path"], "model.safetensors"))
    weights = {f"{layer}.weight": weight for layer, weight in decompressed(case["path"]).items()}
    plain = {name: t for name, t in tensors.items() if ".weight_" not in name}
    with open(os.path.join(case["path"], "config.json")) as file:
        config = json.load(file)
    del config["quantization_config"]
    with tempfile.TemporaryDirectory() as folder:
        save_file({**plain, **weights}, os.path.join(folder, "model.safetensors"), {"format": "pt"})
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(config, file)
        return transformers_run({**case, "path": folder})


def gptqmodel_run(case):
    """A GPTQ or AWQ checkpoint in GPTQModel, in float16, which its kernels for CPUs take."""
    import torch

    stand_in("datasets")
    from gptqmodel import BACKEND, GPTQModel

    backend = BACKEND.TORCH_AWQ if case["format"] == "awq" else BACKEND.TORCH
    model = GPTQModel.load(case["path"], device="cpu", backend=backend, dtype=torch.float16)
    return model_run(model.model.eval(), case)


def stand_in(name):
    """A module whose names are empty classes: what is imported and not used."""
    import importlib.machinery
    import types

    class Empty(types.ModuleType):
        __path__ = []

        def __getattr__(self, attribute):
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            return type(attribute, (), {})

    module = Empty(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules.setdefault(name, module)


def compressed_tensors_values(case):
    """The values of packed layers, as the library decompresses them."""
    return {layer: floats(weight) for layer, weight in decompressed(case["path"]).items()}


def decompressed(path):
    """Weights of packed layers, as compressed-tensors decompresses them by the config's groups."""
    import torch
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationScheme
    from safetensors.torch import load_file

    tensors = load_file(os.path.join(path, "model.safetensors"))
    with open(os.path.join(path, "config.json")) as file:
        groups = json.load(file)["quantization_config"]["config_groups"].values()
    schemes = [QuantizationScheme(**group) for group in groups]
    values = {}
    for layer in [name.removesuffix(".weight_packed") for name in tensors if name.endswith(".weight_packed")]:
        state = {name.removeprefix(layer + "."): t for name, t in tensors.items() if name.startswith(layer + ".")}
        (scheme,) = [scheme for scheme in schemes if layer in scheme.targets or "Linear" in scheme.targets]
        state["weight_shape"] = torch.Size(state["weight_shape"].tolist())
        values[layer] = PackedQuantizationCompressor.decompress(state, scheme)["weight"]
    return values


def tokens(case):
    """The ids of texts, without what is put around them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(case["model"], "tokenizer.json"))
    return {"ids": json.dumps([tokenizer.encode(text, add_special_tokens=False).ids for text in case["texts"]])}


READERS = {
    "gguf": gguf_tensors,
    "onnx": onnx_run,
    "genai": genai_tokens,
    "transformers": transformers_run,
    "decompressed": decompressed_run,
    "gptqmodel": gptqmodel_run,
    "compressed-tensors": compressed_tensors_values,
    "tokens": tokens,
}

serve(lambda case: READERS[case["reader"]](case))
