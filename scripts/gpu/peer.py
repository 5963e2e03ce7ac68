"""PyTorch and transformers on the work that `worker bench` does: a line of JSON for each figure, as soon as it is known.

    peer.py [--tiny]      --tiny: a small model on whatever device there is, to try this out

The model is of Llama-3-8B's shape with random weights of bf16 and SDPA, as it comes and compiled. Figures of a name are several ways of doing the
same; who reads takes the best."""
import json
import sys
import time

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

TINY = "--tiny" in sys.argv
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if not TINY and DEVICE == "cpu":
    sys.exit("torch finds no GPU here")
SIZES = dict(vocab_size=512, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16) \
    if TINY else dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
                      num_key_value_heads=8, head_dim=128)
HEADS, KV_HEADS, DIM = SIZES["num_attention_heads"], SIZES["num_key_value_heads"], SIZES["head_dim"]


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(f, least=0.5):
    """Of one call: the best of three samples of `least` seconds in all."""
    f()
    f()
    best = float("inf")
    for _ in range(3):
        wait()
        begun, n = time.perf_counter(), 0
        while time.perf_counter() - begun < least / 3:
            f()
            n += 1
            wait()
        best = min(best, (time.perf_counter() - begun) / n)
    return best


def many(f, n=32):
    """Of one call of n that are given to the device at once."""
    n = 1 if TINY else n
    return seconds(lambda: [f() for _ in range(n)]) / n


def tell(what, value, unit, how=""):
    print(json.dumps({"what": what, "value": value, "unit": unit, "how": how}), flush=True)


def attempt(f, *args):
    """One way that fails does not take the others along."""
    try:
        f(*args)
    except Exception as e:  # whatever a version of torch refuses
        print(f"{f.__name__}{args}: {type(e).__name__}: {str(e)[:300]}", file=sys.stderr, flush=True)


def random(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16)


def peaks():
    n = 256 if TINY else 8192
    a, b = random(n, n), random(n, n)
    tell("matmul", 2 * n**3 / many(lambda: a @ b) / 1e12, "TFLOP/s", f"{n} x {n} x {n}")
    src = torch.empty(2**22 if TINY else 2**30, dtype=torch.uint8, device=DEVICE)
    dst = torch.empty_like(src)
    tell("copy", 2 * src.numel() / many(lambda: dst.copy_(src)) / 1e9, "GB/s", "bytes read and written")


def attention(n, expand):
    seqs = max(1, (256 if TINY else 16384) // n)
    q, k, v = random(seqs, HEADS, n, DIM), random(seqs, KV_HEADS, n, DIM), random(seqs, KV_HEADS, n, DIM)
    if expand:
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
    t = many(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=not expand))
    tell(f"attention-{n}", 4 * seqs * HEADS * DIM * n * (n + 1) / 2 / t / 1e12, "TFLOP/s",
         f"SDPA, {seqs} prompts, heads {'repeated' if expand else 'grouped'}")


def model():
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    cfg = LlamaConfig(**SIZES, max_position_embeddings=8192, rope_theta=5e5, tie_word_embeddings=False, attn_implementation="sdpa")
    with torch.device(DEVICE):
        return LlamaForCausalLM(cfg).eval()


def tokens(rows, n):
    return torch.randint(0, SIZES["vocab_size"], (rows, n), device=DEVICE)


def prefill(m, how, rows):
    n = 32 if TINY else 512
    ids = tokens(rows, n)
    t = seconds(lambda: m(input_ids=ids, use_cache=False, logits_to_keep=1), 1)
    tell("packed", rows * n / t, "tokens/s", f"{how}, {rows} prompts of {n}")


def perplexity(m, how, rows):
    n = 64 if TINY else 2048
    ids = tokens(rows, n)

    def run():
        logits = m(input_ids=ids, use_cache=False).logits
        loss = 0.0
        for row, want in zip(logits, ids):
            loss += F.cross_entropy(row[:-1].float(), want[1:], reduction="sum")
        return loss.item()

    tell("rolling-2048", rows * n / seconds(run, 2), "tokens/s", f"{how}, {rows} windows at once")


def decode(m, how, rows, steps):
    ids = tokens(rows, 1)

    def run():
        cache, x = None, ids
        for _ in range(steps):
            out = m(input_ids=x, past_key_values=cache, use_cache=True)
            cache, x = out.past_key_values, out.logits[:, -1:].argmax(-1)
        wait()

    tell(f"decode-{rows}", rows * steps / seconds(run), "tokens/s", f"{how}, {steps} tokens")


@torch.inference_mode()
def main():
    print(f"torch {torch.__version__} on {torch.cuda.get_device_name() if DEVICE == 'cuda' else DEVICE}", file=sys.stderr)
    attempt(peaks)
    for n in (64, 128) if TINY else (2048, 8192):
        attempt(attention, n, False)
        attempt(attention, n, True)
    m = model()
    steps = 4 if TINY else 32
    for rows in (8, 32):
        attempt(prefill, m, "as it comes", rows)
    for rows in (1, 4):
        attempt(perplexity, m, "as it comes", rows)
    for rows in (1, 64):
        attempt(decode, m, "as it comes", rows, steps)
    if DEVICE == "cpu":
        return
    compiled = torch.compile(m, dynamic=False)
    attempt(prefill, compiled, "compiled", 32)
    attempt(perplexity, compiled, "compiled", 4)


main()
