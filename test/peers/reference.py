"""The Python side of a suite: reads one case per line as JSON, answers each with one line."""

import base64
import json
import os
import random
import sys
import traceback
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def serve(answer):
    """Calls `answer(case)` for each line of standard input and prints what it returns, or {"error": …} if it raises.

    One thread, since suites run beside each other. What libraries print goes to standard error.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    # Asks the device, of which there is none (scripts/torch-without-cuda.mjs).
    torch.cuda.is_current_stream_capturing = lambda: False
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        case = json.loads(line)
        seed_everything(case.get("seed", 0))
        try:
            result = answer(case)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if os.environ.get("PEERS_DEBUG"):
                traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(result) + "\n")
        out.flush()


def seed_everything(seed):
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def floats(values):
    """A tensor or array as what `floats` of suite.ts reads: float32, little-endian, base64."""
    import numpy
    import torch

    if isinstance(values, torch.Tensor):
        values = values.detach().to(torch.float32).cpu().numpy()
    return base64.b64encode(numpy.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")
