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


def tokens(case):
    """The ids of texts, without what is put around them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(case["model"], "tokenizer.json"))
    return {"ids": json.dumps([tokenizer.encode(text, add_special_tokens=False).ids for text in case["texts"]])}


READERS = {"gguf": gguf_tensors, "onnx": onnx_logits, "tokens": tokens}

serve(lambda case: READERS[case["reader"]](case))
