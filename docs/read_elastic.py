"""Reads elastic files (docs/FORMATS.md, "Elastic file"): the weights of a model at any bit-width that its file has.

    python read_elastic.py FOLDER                      what the file holds
    python read_elastic.py FOLDER BITS OUT.npz         all weights at so many bits, as float32

Needs the standard library and NumPy, and writes nothing but OUT.npz.
"""
import json
import os
import struct
import sys

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I8": "i1", "U8": "u1", "BF16": "<u2"}
STORED = {"up": 1, "near": 2}


class Elastic:
    def __init__(self, folder):
        with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as file:
            self.config = json.load(file)
        self.method = self.config["method"]
        if self.method["name"] != "elastic":
            raise ValueError(f"{folder} holds a set of the method {self.method['name']!r}, not an elastic file.")
        self.path = os.path.join(folder, "adapter_model.safetensors")
        with open(self.path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            self.header = json.loads(file.read(length))
        self.start = 8 + length
        version = self.header.pop("__metadata__", {}).get("elastic_precision")
        if version != "1":
            raise ValueError(f"{self.path}: version {version!r} of the layout; this reads 1.")

    @property
    def offered(self):
        return self.config["offered"]

    def tensor(self, name):
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        with open(self.path, "rb") as file:
            file.seek(self.start + begin)
            data = np.frombuffer(file.read(end - begin), DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            return (data.astype(np.uint32) << 16).view(np.float32)
        return data

    def base(self, owner):
        """scale * (code - zero) in float32; of a layer [out, in]."""
        codes = self.tensor(f"{owner}.base.codes").astype(np.float32)
        rows = (-1,) + (1,) * (codes.ndim - 1)
        zero = self.tensor(f"{owner}.base.zero").astype(np.float32).reshape(rows)
        return self.tensor(f"{owner}.base.scale").astype(np.float32).reshape(rows) * (codes - zero)

    def added(self, layer, bits):
        """What is added to the base before it is rounded, in float32; 0 where that is nothing."""

        def product(at):
            rank, gain = at["rank"], at["gain"]
            if rank == 0 or gain == 0:
                return np.float32(0)
            a = self.tensor(f"{layer}.lora_A_scale")[:rank, None] * self.tensor(f"{layer}.lora_A")[:rank].astype(np.float32)
            b = self.tensor(f"{layer}.lora_B")[:, :rank].astype(np.float32) * self.tensor(f"{layer}.lora_B_scale")[:rank]
            return np.float32(gain) * (b @ a)

        directions = self.method["directions"]
        return product(directions[str(bits)]) - product(directions["8"])

    def grid(self, layer, bits):
        """Scale and zero point of every element of a layer, [out, in]."""
        columns = self.config["layers"][layer]["in"]
        size = self.config["layers"][layer]["group_size"][str(bits)]
        size = columns if size == -1 else size
        scale = self.tensor(f"{layer}.scale.{bits}").astype(np.float32)
        halves = bits in self.method["half_zeros"]
        zero = unpack(self.tensor(f"{layer}.zero.{bits}"), scale.shape[1], bits + halves)
        spread = np.minimum(np.arange(columns) // size, scale.shape[1] - 1)
        return scale[:, spread], (zero / (2 if halves else 1)).astype(np.float32)[:, spread]

    def codes(self, layer, bits):
        """Codes, scales and zero points of a layer, each [out, in]."""
        scheme = self.method["codes"][str(bits)]
        if scheme == "base":
            base = self.tensor(f"{layer}.base.codes")
            rows = (self.tensor(f"{layer}.base.scale")[:, None], self.tensor(f"{layer}.base.zero")[:, None])
            return (base,) + tuple(np.broadcast_to(one, base.shape).astype(np.float32) for one in rows)
        scale, zero = self.grid(layer, bits)
        most, columns = 2**bits - 1, scale.shape[1]
        if scheme == "codes":
            return unpack(self.tensor(f"{layer}.codes.{bits}"), columns, bits), scale, zero
        base = self.base(layer)
        if scheme == "rounded":
            base = (base + self.added(layer, bits)).astype(np.float32)
        at = base.astype(np.float64) / scale + zero
        if scheme == "rounded":
            return np.clip(np.floor(at + 0.5), 0, most), scale, zero
        first = np.clip(np.floor(at) - (scheme == "near"), 0, most + 1 - 2 ** STORED[scheme])
        return first + unpack(self.tensor(f"{layer}.{scheme}.{bits}"), columns, STORED[scheme]), scale, zero

    def weight(self, layer, bits):
        """A layer of a block at a bit-width, float32 [out, in]."""
        codes, scale, zero = self.codes(layer, bits)
        return scale * (codes.astype(np.float32) - zero)

    def weights(self, bits):
        """All parameters of the model at a bit-width, by the names of its checkpoint."""
        for name in self.method["parameters"]:
            yield name, self.tensor(name).astype(np.float32)
        for name in self.method["tables"]:
            yield name, self.base(name.removesuffix(".weight"))
        for layer in self.config["layers"]:
            yield f"{layer}.weight", self.weight(layer, bits)


def unpack(packed, columns, bits):
    """Numbers of so many bits, lowest bits first, every row beginning with a byte of its own."""
    single = np.unpackbits(packed, axis=1, bitorder="little")[:, : columns * bits]
    return (single.reshape(-1, columns, bits) << np.arange(bits, dtype=np.uint16)).sum(axis=2)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    elastic = Elastic(sys.argv[1])
    if len(sys.argv) == 2:
        print(f"{len(elastic.config['layers'])} layers at {', '.join(map(str, elastic.offered))} bits")
        for bits in elastic.offered:
            print(f"{bits} bits: {elastic.method['codes'][str(bits)]}")
    else:
        if int(sys.argv[2]) not in elastic.offered:
            sys.exit(f"There are {', '.join(map(str, elastic.offered))} bits.")
        np.savez(sys.argv[3], **dict(elastic.weights(int(sys.argv[2]))))
