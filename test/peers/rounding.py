"""Rounding to a grid, in float64. Values that lie where a last bit decides between two codes are marked as close."""

import torch

from reference import floats, serve

CLOSE = 1e-3


def near_half(x):
    return ((x - torch.floor(x)) - 0.5).abs() < CLOSE


def rows_to_grid(x, bits, upper=1.0, lower=1.0):
    """Each row over shares of its own range, asymmetric with a whole zero point."""
    levels = 2**bits - 1
    hi, lo = upper * x.amax(-1, keepdim=True), lower * x.amin(-1, keepdim=True)
    step = (hi - lo) / levels
    zero = torch.round(-lo / step)
    codes = torch.clamp(torch.round(x / step) + zero, 0, levels)
    return (codes - zero) * step, near_half(x / step) | near_half(-lo / step)


def answer(case):
    rows, columns = case["shape"]
    x = torch.randn(rows, columns, dtype=torch.float64) + case["offset"]
    x = x * torch.exp(case["spread"] * torch.randn(rows, 1, dtype=torch.float64)) * case["size"]
    if case["outliers"]:
        x[torch.rand_like(x) < 0.02] *= 20
    x = x.float().double()
    kind, bits = case["kind"], case["bits"]
    if kind == "tokens":
        most = 2 ** (bits - 1) - 1
        step = x.abs().amax(-1, keepdim=True) / most
        y, close = torch.clamp(torch.round(x / step), -most, most) * step, near_half(x / step)
    else:
        width = columns if case["group"] == -1 else case["group"]
        padded = torch.nn.functional.pad(x, (0, -columns % width))
        grouped = padded.reshape(-1, width)
        share = 0.95 if kind == "cache" else 1.0
        y, close = rows_to_grid(grouped, bits, share, share)
        y = y.reshape(padded.shape)[:, :columns]
        close = close.reshape(padded.shape)[:, :columns]
    return {"x": floats(x), "y": floats(y), "close": floats(close)}


serve(answer)
