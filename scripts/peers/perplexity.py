#!/usr/bin/env python3
"""Perplexity of a text in windows, by transformers on torch: the whole command is what is timed.

usage: perplexity.py MODEL-DIR TEXT [--seq-len 512] [--windows N] [--batch B] [--dtype float32|bfloat16] [--threads T] [--attention NAME]

The whole text is tokenized with its BOS and cut into windows that are whole; of N windows, 0 for all, the mean of the losses is taken as GPTQ
does. Prints JSON: perplexity, windows, tokens (of the windows), seconds (of the forward passes alone).
"""
import argparse
import json
import os
import time


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("text")
    p.add_argument("--seq-len", type=int, default=512)
    p.add_argument("--windows", type=int, default=0)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--dtype", default="float32")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--attention", default="sdpa")
    return p.parse_args()


def main():
    a = arguments()
    import torch
    import torch.nn.functional as F
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(a.threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.model)
    with open(a.text, encoding="utf-8") as f:
        ids = torch.tensor(tokenizer(f.read())["input_ids"])
    windows = ids[: len(ids) // a.seq_len * a.seq_len].view(-1, a.seq_len)
    if a.windows:
        windows = windows[: a.windows]
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=getattr(torch, a.dtype), attn_implementation=a.attention).eval()
    begun, losses = time.time(), []
    with torch.inference_mode():
        for i in range(0, len(windows), a.batch):
            part = windows[i : i + a.batch]
            logits = model(part, use_cache=False).logits[:, :-1].float()
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), part[:, 1:].reshape(-1), reduction="none")
            losses += loss.view(len(part), -1).double().mean(1).tolist()
    print(json.dumps({"perplexity": float(torch.tensor(losses).double().mean().exp()), "windows": len(windows),
                      "tokens": windows.numel(), "seconds": time.time() - begun}))


if __name__ == "__main__":
    main()
