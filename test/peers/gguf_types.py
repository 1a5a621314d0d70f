"""Random blocks of ggml's types, and what the `gguf` library makes of them."""

import base64

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from reference import floats, serve


def answer(case):
    kind = GGMLQuantizationType[case["type"]]
    elements, size = GGML_QUANT_SIZES[kind]
    rows, blocks = case["shape"]
    random = np.random.default_rng(case["seed"])
    if kind == GGMLQuantizationType.F32:
        data = random.standard_normal((rows, blocks), dtype=np.float32).view(np.uint8)
    else:
        data = random.integers(0, 256, (rows, blocks * size), dtype=np.uint8)
    # Bytes of a float16 or bfloat16 may be no number, which no writer writes.
    values = dequantize(data, kind).reshape(rows, blocks * elements)
    return {"bytes": base64.b64encode(data.tobytes()).decode("ascii"), "values": floats(values), "id": int(kind)}


serve(answer)
