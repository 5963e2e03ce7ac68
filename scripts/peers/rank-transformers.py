#!/usr/bin/env python3
"""Ranking of choices by transformers on torch, as evaluators on top of it do: each choice is a whole prompt of its own, in padded batches,
logits are made of every position, and the loss of every token is summed over the prompt.

usage: rank-transformers.py MODEL-DIR [--rows 2] [--batch 8] [--dtype float32|bfloat16] [--threads T] [--attention NAME]
                            [--shots 600] [--question 100] [--choices 4]

Prompts are random token ids of the lengths given. The model is loaded, and one short batch run, before the clock starts. Prints JSON: rows,
seconds, rate.
"""
import argparse
import json
import os
import time


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--rows", type=int, default=2)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--dtype", default="float32")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--attention", default="sdpa")
    p.add_argument("--shots", type=int, default=600)
    p.add_argument("--question", type=int, default=100)
    p.add_argument("--choices", type=int, default=4)
    return p.parse_args()


def main():
    a = arguments()
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=getattr(torch, a.dtype), attn_implementation=a.attention).eval()
    vocab = model.config.vocab_size
    shots = torch.randint(vocab, (a.shots,))
    prompts = []
    for _ in range(a.rows):
        question = torch.randint(vocab, (a.question,))
        prompts += [torch.cat([shots, question, torch.tensor([c])]) for c in range(a.choices)]
    loss = torch.nn.CrossEntropyLoss(reduction="none")

    def score(batch):
        ids = torch.stack(batch)  # of one length: there is nothing to pad
        logits = model(ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].float()
        losses = loss(logits.reshape(-1, vocab), ids[:, 1:].reshape(-1)).view(len(batch), -1)
        return (losses.sum(1) / ids.shape[1]).tolist()

    with torch.inference_mode():
        score([p[:32] for p in prompts[: a.batch]])
        begun, scores = time.time(), []
        for i in range(0, len(prompts), a.batch):
            scores += score(prompts[i : i + a.batch])
    seconds = time.time() - begun
    best = [min(range(a.choices), key=scores[i : i + a.choices].__getitem__) for i in range(0, len(scores), a.choices)]
    print(json.dumps({"rows": a.rows, "seconds": seconds, "rate": a.rows / seconds, "best": best}))


if __name__ == "__main__":
    main()
