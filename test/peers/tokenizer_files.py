"""Texts and ids by the `tokenizers` library; with a `tokenizer_config.json` by AutoTokenizer, which loads it."""

import json
import os

from reference import serve
from tokenizers import Tokenizer
from transformers import AutoTokenizer


def answer(case):
    folder = case["folder"]
    write(folder, "tokenizer.json", case["tokenizer"])
    if case.get("config") is None:
        tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        encode = lambda text, special: tokenizer.encode(text, add_special_tokens=special).ids
        decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=False)
    else:
        write(folder, "tokenizer_config.json", case["config"])
        tokenizer = AutoTokenizer.from_pretrained(folder)
        encode = lambda text, special: tokenizer(text, add_special_tokens=special)["input_ids"]
        decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    refuse_endless(getattr(tokenizer, "backend_tokenizer", tokenizer))
    return {
        "encoded": [[tried(encode, text, special) for special in (False, True)] for text in case["texts"]],
        "decoded": [tried(decode, ids) for ids in case["ids"]],
    }


def refuse_endless(tokenizer):
    """The library looks for ever for an added token that its normalizer leaves nothing of."""
    if tokenizer.normalizer is None:
        return
    for token in tokenizer.get_added_tokens_decoder().values():
        if token.normalized and tokenizer.normalizer.normalize_str(token.content) == "":
            raise ValueError(f"nothing is left of {token.content!r} once normalized")


def tried(call, *given):
    try:
        return call(*given)
    except KeyboardInterrupt:
        raise
    # What the library calls a panic is no Exception.
    except BaseException as error:
        return {"refused": str(error)}


def write(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)


serve(answer)
