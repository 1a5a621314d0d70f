"""What transformers makes of a language model and a text, as JSON: how many tokens, which, and the perplexity of its first windows.

    python test/real/reference.py MODEL TEXT WINDOWS LENGTH
"""

import hashlib
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def main(folder, path, count, length):
    # As tokenizer.json has it: version 5 makes a GPT2Tokenizer of its own, which does not part digits.
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
    with open(path, encoding="utf-8") as file:
        ids = torch.tensor(tokenizer(file.read(), verbose=False).input_ids)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    losses = []
    with torch.no_grad():
        for window in ids[: count * length].view(count, 1, length):
            logits = model(window).logits[0, :-1].double()
            losses.append(torch.nn.functional.cross_entropy(logits, window[0, 1:]).item())
    print(
        json.dumps(
            {
                "tokens": len(ids),
                "sha256": hashlib.sha256(ids.numpy().astype("<i4").tobytes()).hexdigest(),
                "perplexity": torch.tensor(losses, dtype=torch.float64).mean().exp().item(),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:5]))
