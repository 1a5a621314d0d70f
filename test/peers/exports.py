"""What reference libraries make of exported files."""

import json
import os

from reference import floats, serve


def gguf_tensors(case):
    """The values of every tensor of a GGUF file."""
    import gguf

    tensors = gguf.GGUFReader(case["path"]).tensors
    return {t.name: floats(gguf.quants.dequantize(t.data, t.tensor_type)) for t in tensors}


def tokens(case):
    """The ids of texts, without what is put around them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(case["model"], "tokenizer.json"))
    return {"ids": json.dumps([tokenizer.encode(text, add_special_tokens=False).ids for text in case["texts"]])}


READERS = {"gguf": gguf_tensors, "tokens": tokens}

serve(lambda case: READERS[case["reader"]](case))
