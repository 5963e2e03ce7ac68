#!/usr/bin/env python3
"""Tiny random models of every family, with the logits transformers computes for them.

Run in testdata/ with torch, transformers 5 and safetensors: python3 make/golden.py

Each case is a directory: config.json as transformers 5 writes it, config.v4.json as transformers 4 would, the weights (or the
name of the case whose weights it shares), golden.json (token lists) and logits.f32 (little-endian float32 [T, vocab] of
each list, one behind the other). Weights are random, rounded to bfloat16, so that every dtype they are saved in holds the same values.
The forward pass is eager and in float64 wherever transformers lets it be; the rotation, norms and softmax are float32 inside.
"""
import json, os, shutil, sys
import numpy as np, torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config, DynamicCache

torch.set_grad_enabled(False)
torch.set_num_threads(1)
BASE = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
R = lambda theta=10000.0, **k: dict(rope_theta=theta, **{"rope_type": "default", **k})
rng = np.random.default_rng(7)
LISTS = [[int(x) for x in rng.integers(0, 64, n)] for n in (7, 40)]


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        r = torch.randn(p.shape, generator=g, dtype=torch.float64)
        if "norm" in name: v = 1 + 0.3 * r
        elif name.endswith("bias"): v = 0.3 * r
        elif "embed" in name: v = r
        else: v = r * 1.2 / p.shape[-1] ** 0.5
        p.copy_(v.bfloat16().double())


def logits(make):
    """One list at a time, each with a fresh model: dynamic rope keeps state between calls. A sequence longer than the
    model's positions goes token by token: there each key keeps the rotation of the length it was computed at."""
    out = []
    for ids in LISTS:
        model = make()
        dynamic = model.config.rope_parameters.get("rope_type") == "dynamic"
        t = torch.tensor([ids])
        if dynamic and len(ids) > model.config.max_position_embeddings:
            cache = DynamicCache(config=model.config)
            l = torch.cat([model(t[:, i:i + 1], past_key_values=cache, use_cache=True).logits for i in range(len(ids))], 1)
        else:
            l = model(t, use_cache=False).logits
        assert l.dtype == torch.float64
        out.append(l[0].numpy())
    return np.concatenate(out).astype("<f4")


def v4(c):
    """config.json as transformers 4 writes the same model."""
    c = dict(c)
    r = dict(c.pop("rope_parameters"))
    c["rope_theta"] = r.pop("rope_theta")
    c["rope_scaling"] = r if r["rope_type"] != "default" else None
    c["torch_dtype"] = c.pop("dtype")
    c.pop("layer_types", None)
    c["transformers_version"] = "4.44.0"
    return c


def dump(path, o):
    with open(path, "w") as f: f.write(json.dumps(o, indent=1, sort_keys=True) + "\n")


def case(name, config, seed, dtype="bfloat16", weights=None, shard="1GB"):
    print(name, file=sys.stderr)
    config._attn_implementation = "eager"
    shutil.rmtree(name, ignore_errors=True)
    os.makedirs(name)
    def make():
        m = AutoModelForCausalLM.from_config(config).double().eval()
        randomise(m, seed)
        return m
    make().to(getattr(torch, dtype)).save_pretrained(name, max_shard_size=shard)
    c = json.load(open(f"{name}/config.json"))
    dump(f"{name}/config.json", c)
    dump(f"{name}/config.v4.json", v4(c))
    dump(f"{name}/golden.json", dict(lists=LISTS, weights=weights or name))
    logits(make).tofile(f"{name}/logits.f32")
    if weights:  # same seed, same shapes: the same weights
        a, b = load_file(f"{weights}/model.safetensors"), load_file(f"{name}/model.safetensors")
        assert a.keys() == b.keys() and all(torch.equal(a[k].double(), b[k].double()) for k in a)
        os.remove(f"{name}/model.safetensors")
    if os.path.exists(f"{name}/generation_config.json"): os.remove(f"{name}/generation_config.json")


def internlm2(name, source, bias):
    """InternLM2 is remote code: its weights are a Llama's in another grouping, so its logits are that Llama's."""
    w, c = load_file(f"{source}/model.safetensors"), json.load(open(f"{source}/config.v4.json"))
    shutil.rmtree(name, ignore_errors=True)
    os.makedirs(name)
    kv, per, d = c["num_key_value_heads"], c["num_attention_heads"] // c["num_key_value_heads"], c["head_dim"]
    out = {}
    for k, t in w.items():
        if "k_proj" in k or "v_proj" in k: continue
        if "q_proj" in k:
            q, key, val = t, w[k.replace("q_proj", "k_proj")], w[k.replace("q_proj", "v_proj")]
            rest = q.shape[1:]
            t = torch.cat([q.view(kv, per, d, *rest), key.view(kv, 1, d, *rest), val.view(kv, 1, d, *rest)], 1).reshape(-1, *rest)
        for a, b in (("embed_tokens", "tok_embeddings"), ("lm_head", "output"), ("self_attn.q_proj", "attention.wqkv"), ("self_attn.o_proj", "attention.wo"),
                     ("mlp.gate_proj", "feed_forward.w1"), ("mlp.up_proj", "feed_forward.w3"), ("mlp.down_proj", "feed_forward.w2"),
                     ("post_attention_layernorm", "ffn_norm"), ("input_layernorm", "attention_norm")):
            k = k.replace(a, b)
        out[k] = t.bfloat16().contiguous()
    save_file(out, f"{name}/model.safetensors", metadata={"format": "pt"})
    for k in ("head_dim", "attention_bias", "mlp_bias", "attention_dropout"): c.pop(k, None)
    if c["rope_scaling"]: c["rope_scaling"] = dict(type=c["rope_scaling"]["rope_type"], factor=c["rope_scaling"]["factor"])
    c.update(architectures=["InternLM2ForCausalLM"], model_type="internlm2", bias=bias, attn_implementation="eager", torch_dtype="bfloat16")
    dump(f"{name}/config.json", c)
    dump(f"{name}/golden.json", dict(lists=LISTS, weights=name))
    shutil.copy(f"{source}/logits.f32", f"{name}/logits.f32")


case("llama", LlamaConfig(**BASE, rope_parameters=R()), 1, "float32")
case("llama-linear", LlamaConfig(**BASE, rope_parameters=R(rope_type="linear", factor=2.5)), 1, weights="llama")
case("llama-dynamic", LlamaConfig(**{**BASE, "max_position_embeddings": 24}, rope_parameters=R(rope_type="dynamic", factor=2.0)), 1, weights="llama")
# Bases so small that yarn's ramp runs through the four frequencies of these heads, and its rounding shows.
case("llama-yarn", LlamaConfig(**BASE, rope_parameters=R(6.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=1.5, beta_slow=0.5)), 1, weights="llama")
case("llama-yarn-factor", LlamaConfig(**BASE, rope_parameters=R(5.0, rope_type="yarn", factor=8.0, original_max_position_embeddings=10, attention_factor=0.8, truncate=False)), 1, weights="llama")
case("llama-bias", LlamaConfig(**{**BASE, "head_dim": 12, "num_key_value_heads": 1}, attention_bias=True, mlp_bias=True, rope_parameters=R()), 2)
case("llama3", LlamaConfig(**{**BASE, "tie_word_embeddings": True, "eos_token_id": [2, 5]}, rope_parameters=R(
    500000.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)), 3, "float16")
case("mistral", MistralConfig(**{**BASE, "head_dim": 16}, sliding_window=6, rope_parameters=R()), 4)
case("mistral-full", MistralConfig(**{**BASE, "head_dim": 16}, sliding_window=None, rope_parameters=R(1e6)), 4, weights="mistral")
case("qwen2", Qwen2Config(**{**BASE, "num_hidden_layers": 3, "tie_word_embeddings": True}, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                          rope_parameters=R(1e6)), 5)
case("qwen3", Qwen3Config(**{**BASE, "head_dim": 16}, rope_parameters=R(1e6)), 6, shard="20KB")
case("llama-source", LlamaConfig(**{**BASE, "max_position_embeddings": 24}, attention_bias=True, rope_parameters=R(1e6, rope_type="dynamic", factor=3.0)), 8)
internlm2("internlm2", "llama", False)
internlm2("internlm2-bias", "llama-source", True)
shutil.rmtree("llama-source")
