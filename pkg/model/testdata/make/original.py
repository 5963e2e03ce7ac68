# Writes testdata/llama in Meta's layout with torch, in two parts, and holds a forward pass with Meta's rotation (neighbours, as complex numbers)
# against the logits that transformers gave. Run it in testdata/llama-original with ../llama beside it, or with its files here.
import json
import os

import torch
from safetensors.torch import load_file

HERE = "../llama/" if os.path.exists("../llama") else ""
DIM, LAYERS, HEADS, KV, EPS, THETA = 32, 2, 4, 2, 1e-5, 10000.0
HEAD = DIM // HEADS
hf = load_file(HERE + "model.safetensors")


def order(w, heads):  # transformers' halves of a head into Meta's neighbours
    return w.view(heads, 2, HEAD // 2, DIM).transpose(1, 2).reshape(heads * HEAD, DIM)


whole = {"tok_embeddings.weight": hf["model.embed_tokens.weight"], "norm.weight": hf["model.norm.weight"], "output.weight": hf["lm_head.weight"]}
for i in range(LAYERS):
    a, b = f"model.layers.{i}.", f"layers.{i}."
    whole[b + "attention.wq.weight"] = order(hf[a + "self_attn.q_proj.weight"], HEADS)
    whole[b + "attention.wk.weight"] = order(hf[a + "self_attn.k_proj.weight"], KV)
    for new, old in {"attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj",
                     "feed_forward.w2": "mlp.down_proj", "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm",
                     "ffn_norm": "post_attention_layernorm"}.items():
        whole[b + new + ".weight"] = hf[a + old + ".weight"]


def norm(x, w):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS) * w


def turn(x, freqs):  # x [tokens, heads, HEAD]
    return torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * freqs[:, None]).flatten(-2)


def forward(w, ids):
    n = len(ids)
    angles = torch.outer(torch.arange(n).double(), THETA ** (-torch.arange(0, HEAD, 2).double() / HEAD))
    freqs = torch.polar(torch.ones_like(angles), angles)
    x = w["tok_embeddings.weight"][ids]
    mask = torch.full((n, n), float("-inf")).triu(1)
    for i in range(LAYERS):
        p = f"layers.{i}."
        h = norm(x, w[p + "attention_norm.weight"])
        q = turn((h @ w[p + "attention.wq.weight"].T).view(n, HEADS, HEAD), freqs).transpose(0, 1)
        k = turn((h @ w[p + "attention.wk.weight"].T).view(n, KV, HEAD), freqs).transpose(0, 1).repeat_interleave(HEADS // KV, 0)
        v = (h @ w[p + "attention.wv.weight"].T).view(n, KV, HEAD).transpose(0, 1).repeat_interleave(HEADS // KV, 0)
        a = torch.softmax(q @ k.transpose(1, 2) / HEAD ** 0.5 + mask, -1) @ v
        x = x + a.transpose(0, 1).reshape(n, DIM) @ w[p + "attention.wo.weight"].T
        h = norm(x, w[p + "ffn_norm.weight"])
        x = x + (torch.nn.functional.silu(h @ w[p + "feed_forward.w1.weight"].T) * (h @ w[p + "feed_forward.w3.weight"].T)) @ w[p + "feed_forward.w2.weight"].T
    return norm(x, w["norm.weight"]) @ w["output.weight"].T


want, at = torch.frombuffer(bytearray(open(HERE + "logits.f32", "rb").read()), dtype=torch.float32), 0
for ids in json.load(open(HERE + "golden.json"))["lists"]:
    got = forward({k: v.double() for k, v in whole.items()}, ids).flatten()
    worst = (got - want[at:at + len(got)]).abs().max().item()
    at += len(got)
    print(len(ids), "tokens, worst", worst)
    assert worst < 1e-5

COLUMNS = ("tok_embeddings", "attention.wo", "feed_forward.w2")
for part in range(2):
    d = {}
    for k, v in whole.items():
        if v.dim() == 2:
            v = v.chunk(2, 1 if k.rsplit(".", 1)[0].endswith(COLUMNS) else 0)[part]
        d[k] = v.clone().contiguous()
    d["rope.freqs"] = 1.0 / THETA ** (torch.arange(0, HEAD, 2).float() / HEAD)
    torch.save(d, f"consolidated.{part:02d}.pth")
json.dump({"dim": DIM, "multiple_of": 8, "ffn_dim_multiplier": 0.45, "n_heads": HEADS, "n_kv_heads": KV, "n_layers": LAYERS, "norm_eps": EPS,
           "vocab_size": -1}, open("params.json", "w"))
