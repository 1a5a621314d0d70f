"""A preprocessor file and a picture, as AutoImageProcessor and Pillow read them, without torchvision."""

import json
import os

import numpy as np
import PIL.Image
import PIL.ImageFile
from transformers import AutoImageProcessor

from reference import floats, serve

# Else some JPEG files of noise cannot be written.
PIL.ImageFile.MAXBLOCK = 1 << 24

MODES = {"grey": "L", "grey-alpha": "LA", "rgb": "RGB", "rgba": "RGBA", "palette": "P", "bilevel": "1", "cmyk": "CMYK"}


def picture(case, path):
    """Smooth colours and noise, so that filters and rounding both matter."""
    kind, (height, width) = case["picture"], case["size"]
    random = np.random.default_rng(case["seed"])
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * random.uniform(0.02, 0.6) + y * random.uniform(0.02, 0.6) + c) for c in range(4)]
    data = np.stack(waves, -1) * 100 + 128 + random.normal(0, case["noise"], (height, width, 4))
    data = np.clip(data, 0, 255).astype(np.uint8)
    if kind in ("grey-16", "rgb-16"):
        return write_png_16(data, 1 if kind == "grey-16" else 3, path, random)
    alpha = random.choice([0, 1, 90, 254, 255], (height, width)) if case["seed"] % 2 else data[..., 3]
    data[..., 3] = alpha
    image = PIL.Image.fromarray(data if kind == "rgba" else data[..., :3])
    if kind == "cmyk":
        image = PIL.Image.fromarray(data, mode="CMYK")
    elif kind == "palette":
        image = image.quantize(random.integers(2, 257))
    elif kind == "grey-alpha":
        image = PIL.Image.merge("LA", [PIL.Image.fromarray(data[..., 0]), PIL.Image.fromarray(data[..., 3])])
    elif kind != "rgba":
        image = image.convert(MODES[kind])
    options = dict(case["encoding"])
    if kind == "palette" and options.pop("transparent", False):
        options["transparency"] = bytes(random.integers(0, 256, 256).astype(np.uint8))
    if kind in ("rgb", "grey") and options.pop("transparent", False):
        pixel = image.getpixel((width // 2, height // 2))
        options["transparency"] = pixel
    options.pop("transparent", None)
    if "orientation" in options:
        exif = PIL.Image.Exif()
        exif[0x0112] = options.pop("orientation")
        options["exif"] = exif
    image.save(path, **options)


def write_png_16(data, channels, path, random):
    """Pillow writes no RGB of 16 bits."""
    import struct
    import zlib

    wide = data[..., :channels].astype(np.uint16) * 256 + random.integers(0, 256, data[..., :channels].shape)
    height, width = wide.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 0 if channels == 1 else 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def answer(case):
    folder = case["folder"]
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(case["config"], file)
    with open(os.path.join(folder, case["file"]), "w") as file:
        json.dump(case["preprocessor"], file)
    path = os.path.join(folder, "picture")
    path += {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp"}[case["encoding"]["format"]]
    picture(case, path)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    image = PIL.Image.open(path)
    # Without do_convert_rgb a processor takes what it gets, and people give it what the model takes.
    if case["config"]["num_channels"] == 1:
        image = image.convert("L")
    elif not processor.do_convert_rgb:
        image = image.convert("RGB")
    pixels = processor(image, return_tensors="np")["pixel_values"]
    if not np.isfinite(pixels).all():
        raise ValueError("pixels that are not finite")
    return {"shape": pixels.shape[1:], "pixels": floats(pixels)}


serve(answer)
