"""What reference libraries make of exported files."""

import json
import os

from reference import floats, serve


def gguf_tensors(case):
    """The values of every tensor of a GGUF file."""
    import gguf

    tensors = gguf.GGUFReader(case["path"]).tensors
    return {t.name: floats(gguf.quants.dequantize(t.data, t.tensor_type)) for t in tensors}


def onnx_logits(case):
    """Logits of an ONNX model for texts, all tokens at once, or for pictures."""
    import numpy
    import onnxruntime

    session = onnxruntime.InferenceSession(case["path"], providers=["CPUExecutionProvider"])
    shape, values = case["shape"], case["values"]
    if session.get_inputs()[0].name == "pixel_values":
        feeds = {"pixel_values": numpy.array(values, "float32").reshape(shape)}
    else:
        ids = numpy.array(values, "int64").reshape(shape)
        feeds = {"input_ids": ids, "attention_mask": numpy.ones_like(ids)}
        feeds["position_ids"] = numpy.arange(shape[1])[None].repeat(shape[0], 0)
        for port in session.get_inputs()[3:]:
            feeds[port.name] = numpy.zeros((shape[0], port.shape[1], 0, port.shape[3]), "float32")
    return {"logits": floats(session.run(["logits"], feeds)[0])}


def transformers_logits(case):
    """Logits of a checkpoint folder for texts, as AutoModelForCausalLM loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(case["path"], dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.tensor(case["values"]).reshape(case["shape"])
    return {"logits": floats(model(input_ids=ids, use_cache=False).logits)}


def compressed_tensors_values(case):
    """The values of packed layers, as the library decompresses them by the config's groups."""
    import torch
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationScheme
    from safetensors.torch import load_file

    tensors = load_file(os.path.join(case["path"], "model.safetensors"))
    with open(os.path.join(case["path"], "config.json")) as file:
        groups = json.load(file)["quantization_config"]["config_groups"].values()
    schemes = [QuantizationScheme(**group) for group in groups]
    values = {}
    for layer in [name.removesuffix(".weight_packed") for name in tensors if name.endswith(".weight_packed")]:
        state = {name.removeprefix(layer + "."): t for name, t in tensors.items() if name.startswith(layer + ".")}
        (scheme,) = [scheme for scheme in schemes if layer in scheme.targets or "Linear" in scheme.targets]
        state["weight_shape"] = torch.Size(state["weight_shape"].tolist())
        values[layer] = floats(PackedQuantizationCompressor.decompress(state, scheme)["weight"])
    return values


def tokens(case):
    """The ids of texts, without what is put around them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(case["model"], "tokenizer.json"))
    return {"ids": json.dumps([tokenizer.encode(text, add_special_tokens=False).ids for text in case["texts"]])}


READERS = {"gguf": gguf_tensors, "onnx": onnx_logits, "transformers": transformers_logits, "compressed-tensors": compressed_tensors_values, "tokens": tokens}

serve(lambda case: READERS[case["reader"]](case))
