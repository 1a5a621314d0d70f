"""Weights of an elastic file by the reader that is published for others: their values at a bit-width, in a file for the engine."""
import os
import sys

import numpy as np
from reference import serve

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "docs"))
from read_elastic import Elastic  # noqa: E402


def answer(case):
    elastic = Elastic(case["folder"])
    values = np.concatenate([elastic.weight(layer, case["bits"]).ravel() for layer in case["layers"]])
    values.astype("<f4").tofile(case["out"])
    return {"names": [name for name, _ in elastic.weights(case["bits"])]}


serve(answer)
