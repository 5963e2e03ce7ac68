#!/usr/bin/env python3
# Exporter (bf16 safetensors), float64 reference forward, scorers and RTN quantization sweep. No training code needed.
#   reference.py export | golden | rtn | eval MODE [f32] [limit]     MODE: bf16 int8 int4 int3 int2
import json, math, os, struct, sys, time
import numpy as np, torch, sentencepiece as spm
torch.set_num_threads(int(os.environ.get("THREADS", "1"))); torch.set_grad_enabled(False)
ROOT = os.path.dirname(os.path.abspath(__file__))
OUT = os.environ.get("POCKET_OUT") or os.path.dirname(ROOT)  # holds model/, data/ and golden/
V, D, FF, NL, H, KV, HD, EPS, THETA = 1024, 128, 384, 6, 4, 2, 32, 1e-5, 10000.0
BOS, EOS, MAXLEN = 1, 2, 512

# ---- prompts (the exact strings scored) ----
def p_winograd(r, opt): return f"{r['text']} Q: In the text, what does '{r['pronoun']}' refer to? A: {opt}"
def p_siqa(r): return f"{r['context']}\nQuestion: {r['question']}\nA. {r['answerA']}\nB. {r['answerB']}\nC. {r['answerC']}\nAnswer:"
def p_siqa_ppl(r, a): return f"{r['context']}\nQuestion: {r['question']}\nAnswer: {a}"
def p_piqa(r, sol): return f"Goal: {r['goal']}\nAnswer: {sol}"
def p_cloze(r, e): return f"{r['ctx']} {e}"
def p_gsm(r): return f"Question: {r['question']}\nAnswer:"
def p_lambada(r): return r["text"].rsplit(" ", 1)[0]
def rows(b, sp="test"): return [json.loads(l) for l in open(f"{OUT}/data/{b}/{sp}.jsonl")]

# ---- safetensors ----
def write_st(path, tensors):
    hdr, off, blobs = {"__metadata__": {"format": "pt"}}, 0, []
    for n, t in tensors:
        b = (t.float().contiguous().numpy().view(np.uint32) >> 16).astype("<u2").tobytes()  # values already bf16-rounded: exact
        hdr[n] = {"dtype": "BF16", "shape": list(t.shape), "data_offsets": [off, off + len(b)]}; off += len(b); blobs.append(b)
    h = json.dumps(hdr, separators=(",", ":")).encode(); h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h)
        for b in blobs: f.write(b)
def read_st(path):
    d = open(path, "rb").read(); n = struct.unpack("<Q", d[:8])[0]; h = json.loads(d[8:8 + n]); h.pop("__metadata__", None)
    o = {}
    for k, e in h.items():
        s, t = e["data_offsets"]
        u = np.frombuffer(d[8 + n + s:8 + n + t], "<u2").astype(np.uint32) << 16
        o[k] = torch.from_numpy(u.view(np.float32).reshape(e["shape"]).copy())
    return o

def export():
    sd = torch.load(ROOT + "/ckpt.pt"); os.makedirs(OUT + "/model", exist_ok=True)
    write_st(OUT + "/model/model.safetensors", [("model." + k, v.float().bfloat16().float()) for k, v in sd.items()])
    J = lambda n, o: open(f"{OUT}/model/{n}", "w").write(json.dumps(o, indent=2) + "\n")
    J("config.json", dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=V, hidden_size=D, intermediate_size=FF, num_hidden_layers=NL,
        num_attention_heads=H, num_key_value_heads=KV, head_dim=HD, hidden_act="silu", max_position_embeddings=MAXLEN, rms_norm_eps=EPS, rope_theta=THETA, rope_scaling=None,
        attention_bias=False, mlp_bias=False, attention_dropout=0.0, initializer_range=0.02, tie_word_embeddings=True, bos_token_id=BOS, eos_token_id=EOS, use_cache=True, torch_dtype="bfloat16"))
    J("generation_config.json", dict(bos_token_id=BOS, eos_token_id=EOS, do_sample=False, max_new_tokens=64))
    J("special_tokens_map.json", dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"))
    J("tokenizer_config.json", dict(tokenizer_class="LlamaTokenizer", add_bos_token=True, add_eos_token=False, legacy=True, clean_up_tokenization_spaces=False, model_max_length=MAXLEN,
        bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token=None, sp_model_kwargs={}))
    open(OUT + "/model/tokenizer.model", "wb").write(open(ROOT + "/tokenizer.model", "rb").read())

# ---- RTN quantization of the 42 *_proj weights [out, in]: float64 arithmetic on the bf16-rounded weights, result kept in float64 ----
# torch.round rounds half to even. Embedding (= head) and norms are not quantized.
def rtn(w, mode):
    if mode == "bf16": return w
    if mode == "int8":                                    # symmetric per output channel: s = max|w| / 127 (max|w| at least 1e-5)
        s = w.abs().amax(1, keepdim=True).clamp(min=1e-5) / 127
        return torch.clamp(torch.round(w / s), -128, 127) * s
    b = int(mode[3:]); q = 2 ** b - 1; o, i = w.shape      # asymmetric, groups of 128 along the input dimension
    g = w.reshape(o, i // 128, 128)
    mx, mn = g.amax(-1, keepdim=True), g.amin(-1, keepdim=True)
    s = (mx - mn).clamp(min=1e-5) / q; z = torch.clamp(-torch.round(mn / s), 0, q)
    return ((torch.clamp(torch.round(g / s) + z, 0, q) - z) * s).reshape(o, i)

class Ref:
    def __init__(s, mode="bf16", dt=torch.float64):
        w = read_st(OUT + "/model/model.safetensors"); s.dt = dt
        s.w = {k[6:]: (rtn(v.double(), mode) if "_proj" in k else v.double()).to(dt) for k, v in w.items()}
        inv = 1.0 / THETA ** (torch.arange(0, HD, 2).double() / HD); f = torch.arange(MAXLEN).double()[:, None] * inv
        e = torch.cat([f, f], -1); s.cos, s.sin = e.cos().to(dt), e.sin().to(dt)
        s.sp = spm.SentencePieceProcessor(model_file=OUT + "/model/tokenizer.model")
    def enc(s, t): return [BOS] + s.sp.encode(t)
    def rms(s, x, n): return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * s.w[n]
    def fwd(s, ids, cache=None, pos0=0):                   # ids [B,T]; cache: list of (k,v); logits [B,T,V]. Right-padded rows are fine (causal).
        B, T = ids.shape; x = s.w["embed_tokens.weight"][ids]; cos, sin = s.cos[pos0:pos0 + T], s.sin[pos0:pos0 + T]
        rot = lambda t: torch.cat([-t[..., HD // 2:], t[..., :HD // 2]], -1)
        mask = torch.full((T, pos0 + T), -float("inf"), dtype=s.dt).triu(pos0 + 1)
        for l in range(NL):
            p = f"layers.{l}."; h = s.rms(x, p + "input_layernorm.weight"); W = lambda n: s.w[p + n + ".weight"]
            q, k, v = [(h @ W(f"self_attn.{n}_proj").T).view(B, T, m, HD).transpose(1, 2) for n, m in (("q", H), ("k", KV), ("v", KV))]
            q = q * cos + rot(q) * sin; k = k * cos + rot(k) * sin
            if cache is not None:
                if cache[l] is not None: k = torch.cat([cache[l][0], k], 2); v = torch.cat([cache[l][1], v], 2)
                cache[l] = (k, v)
            kk, vv = k.repeat_interleave(H // KV, 1), v.repeat_interleave(H // KV, 1)
            a = torch.softmax(q @ kk.transpose(-1, -2) * HD ** -0.5 + mask, -1)
            x = x + (a @ vv).transpose(1, 2).reshape(B, T, H * HD) @ W("self_attn.o_proj").T
            h = s.rms(x, p + "post_attention_layernorm.weight")
            x = x + (torch.nn.functional.silu(h @ W("mlp.gate_proj").T) * (h @ W("mlp.up_proj").T)) @ W("mlp.down_proj").T
        return s.rms(x, "norm.weight") @ s.w["embed_tokens.weight"].T
    def nll(s, seqs, bs=32):                               # [(sum NLL over tokens 1.., count, per-token list)]
        out = [None] * len(seqs); order = sorted(range(len(seqs)), key=lambda i: len(seqs[i]))
        for c in range(0, len(order), bs):
            ix = order[c:c + bs]; T = max(len(seqs[i]) for i in ix)
            t = torch.tensor([seqs[i] + [EOS] * (T - len(seqs[i])) for i in ix])
            lp = torch.log_softmax(s.fwd(t)[:, :-1].double(), -1).gather(-1, t[:, 1:, None])[..., 0]
            for r, i in enumerate(ix): n = len(seqs[i]) - 1; v = -lp[r, :n]; out[i] = (float(v.sum()), n, v.tolist())
        return out
    def greedy(s, prompts, mx, stop=lambda txt: False, bs=50):   # batches of equal-length prompts; greedy, stops at EOS or stop(text)
        ids = [s.enc(p) for p in prompts]; res = [None] * len(ids); groups = {}
        for i, x in enumerate(ids): groups.setdefault(len(x), []).append(i)
        for ln, g in groups.items():
            for c in range(0, len(g), bs):
                ix = g[c:c + bs]; cache = [None] * NL; t = torch.tensor([ids[i] for i in ix]); pos = 0
                gen = [[] for _ in ix]; mar = [[] for _ in ix]; done = [False] * len(ix)
                for _ in range(min(mx, MAXLEN - ln)):
                    lg = s.fwd(t, cache, pos)[:, -1]; pos += t.shape[1]; top = lg.topk(2, -1)
                    nx = top.indices[:, 0]
                    for r in range(len(ix)):
                        if done[r]: continue
                        mar[r].append(float(top.values[r, 0] - top.values[r, 1]))
                        if int(nx[r]) == EOS: done[r] = True; gen[r].append(EOS); continue
                        gen[r].append(int(nx[r]))
                        if stop(s.text(ids[ix[r]], gen[r])): done[r] = True
                    if all(done): break
                    t = nx[:, None]
                for r, i in enumerate(ix): res[i] = dict(ids=gen[r], text=s.text(ids[i], gen[r]), min_margin=min(mar[r]))
        return res
    def text(s, p, g):                                     # decoded continuation: decode(prompt+gen) minus decode(prompt)
        g = [x for x in g if x != EOS]; a = s.sp.decode(p[1:]); return s.sp.decode(p[1:] + g)[len(a):]
    def ppl(s, path, ctx=256):                             # GPTQ convention; one BOS at the start of the whole file
        ids = s.enc(open(path).read()); n = len(ids) // ctx; m = []
        for c in range(0, n, 16):
            t = torch.tensor([ids[i * ctx:(i + 1) * ctx] for i in range(c, min(c + 16, n))])
            lp = torch.log_softmax(s.fwd(t)[:, :-1].double(), -1).gather(-1, t[:, 1:, None])[..., 0]; m += (-lp.mean(1)).tolist()
        return math.exp(sum(m) / n), n, len(ids), m

PPL = {"winograd": lambda r: [p_winograd(r, o) for o in r["options"]], "piqa": lambda r: [p_piqa(r, r["sol1"]), p_piqa(r, r["sol2"])],
       "siqa_ppl": lambda r: [p_siqa_ppl(r, r["answer" + c]) for c in "ABC"], "cloze": lambda r: [p_cloze(r, e) for e in r["endings"]]}
DATA = {"siqa_ppl": "siqa"}                                # the data folder where it is not the benchmark's own name
def gsm_ans(t):
    t = t.split("\n\n")[0]
    if "####" not in t: return None
    v = t.split("####")[1].strip().split(); return v[0].rstrip(".") if v else None
def code_cut(t):
    for st in ("\n\n", "\ndef", "\nclass", "\n#", "\nprint"):
        if st in t: t = t.split(st)[0]
    return t
def run_code(r, comp):
    ns = {"__builtins__": {k: __builtins__.__dict__[k] if not isinstance(__builtins__, dict) else __builtins__[k] for k in ("len max min sum sorted abs range int str list bool AssertionError".split())}}
    try: exec(r["prompt"] + comp + "\n" + r["test"], ns); ns["check"](ns[r["entry_point"]]); return True
    except BaseException: return False

def evaluate(m, limit=None, items=None):
    R, t0 = {}, time.time(); cut = lambda b: rows(DATA.get(b, b))[:limit]
    for b, f in PPL.items():
        rs = cut(b); pr = [f(r) for r in rs]; flat = m.nll([m.enc(p) for ps in pr for p in ps]); k = len(pr[0]); mean = tot = 0
        for i, r in enumerate(rs):
            sc = flat[i * k:(i + 1) * k]; lab = r["label"] - (b == "siqa_ppl")
            pm = min(range(k), key=lambda j: sc[j][0] / sc[j][1]); ps = min(range(k), key=lambda j: sc[j][0])
            mean += pm == lab; tot += ps == lab
            if items is not None: items.setdefault(b, []).append(dict(label=lab, prompts=pr[i], sum_nll=[x[0] for x in sc], n_tokens=[x[1] for x in sc], pred_mean=pm, pred_sum=ps))
        R[b] = mean / len(rs); R[b + "_sum"] = tot / len(rs)
    def gen(b, f, mx, stop, ok):
        rs = cut(b); ps = [f(r) for r in rs]; g = m.greedy(ps, mx, stop); c = 0
        for r, p, x in zip(rs, ps, g):
            k = bool(ok(r, x["text"])); c += k
            if items is not None: items.setdefault(b, []).append(dict(prompt=p, ids=x["ids"], text=x["text"], min_margin=x["min_margin"], correct=k))
        R[b] = c / len(rs)
    gen("siqa", p_siqa, 2, lambda t: t.strip() != "", lambda r, t: t.strip()[:1] == "ABC"[r["label"] - 1])
    gen("gsm", p_gsm, 48, lambda t: "\n\n" in t, lambda r, t: gsm_ans(t) == r["answer"].split("#### ")[1])
    gen("lambada", p_lambada, 6, lambda t: t.endswith((" ", ".", "\n")), lambda r, t: (t.strip().split() or [""])[0].strip(".,:?!") == r["text"].rsplit(" ", 1)[1])
    gen("code", lambda r: r["prompt"], 40, lambda t: "\n\n" in t or "\ndef" in t, lambda r, t: run_code(r, code_cut(t)))
    if items is None: R["ppl"] = m.ppl(OUT + "/data/text/test.txt")[0]
    R["sec"] = time.time() - t0; return R

# few-shot check: k train rows, same formats, joined by a blank line
def fewshot(m, b, k, limit=100):
    tr, te = rows(b, "train")[:k], rows(b)[:limit]
    if b == "siqa":
        pre = "".join(p_siqa(r) + " " + "ABC"[r["label"] - 1] + "\n\n" for r in tr)
        g = m.greedy([pre + p_siqa(r) for r in te], 2, lambda t: t.strip() != ""); return sum(x["text"].strip()[:1] == "ABC"[r["label"] - 1] for r, x in zip(te, g)) / len(te)
    if b == "gsm":
        pre = "".join(p_gsm(r) + " " + r["answer"] + "\n\n" for r in tr)
        g = m.greedy([pre + p_gsm(r) for r in te], 48, lambda t: "\n\n" in t); return sum(gsm_ans(x["text"]) == r["answer"].split("#### ")[1] for r, x in zip(te, g)) / len(te)
    pre = "".join(p_winograd(r, r["options"][r["label"]]) + "\n\n" for r in tr)
    sc = m.nll([m.enc(pre + p_winograd(r, o)) for r in te for o in r["options"]]); return sum((sc[2 * i][0] / sc[2 * i][1] > sc[2 * i + 1][0] / sc[2 * i + 1][1]) == r["label"] for i, r in enumerate(te)) / len(te)

def golden():
    G = OUT + "/golden"; os.makedirs(G, exist_ok=True); m = Ref(); J = lambda n, o: json.dump(o, open(f"{G}/{n}", "w"), indent=1)
    P = [p_winograd(rows("winograd")[0], rows("winograd")[0]["options"][0]), p_siqa(rows("siqa")[0]), rows("code")[0]["prompt"]]; meta = []
    for i, p in enumerate(P):
        ids = m.enc(p); lg = m.fwd(torch.tensor([ids]))[0]; lg.numpy().astype("<f8").tofile(f"{G}/logits_{i}.f64"); meta.append(dict(prompt=p, ids=ids, shape=list(lg.shape), file=f"logits_{i}.f64"))
    J("logits.json", meta)
    gp = [p_siqa(r) for r in rows("siqa")[:3]] + [p_gsm(r) for r in rows("gsm")[:6]] + [p_lambada(r) for r in rows("lambada")[:4]] + [r["prompt"] for r in rows("code")[:4]] + ["Tom and Mia went to the", "One day Anna", "The dog"]
    J("greedy.json", [dict(prompt=p, prompt_ids=m.enc(p), max_new_tokens=32, **x) for p, x in zip(gp, m.greedy(gp, 32))])
    v, n, tot, mm = m.ppl(OUT + "/data/text/test.txt"); vv = m.ppl(OUT + "/data/text/valid.txt")
    J("ppl.json", dict(ctx=256, test=dict(ppl=v, windows=n, tokens=tot, window_mean_nll=mm), valid=dict(ppl=vv[0], windows=vv[1], tokens=vv[2])))
    items = {}; R = evaluate(m, items=items)
    for b, it in items.items(): J(f"items_{b}.json", it)
    R["ppl"] = v; J("scores.json", R); print(json.dumps(R), flush=True)
    R["fewshot"] = {f"{b}_{k}shot": fewshot(m, b, k) for b in ("siqa", "gsm", "winograd") for k in (2, 4)}
    J("scores.json", R); print(json.dumps(R, indent=1))

def rtn_golden():
    out = dict(about="RTN on the 42 *_proj weights, float64 arithmetic on bf16-rounded weights, dequantized weights kept in float64, activations float64. int8: symmetric per output "
        "channel, s = max(max|w|, 1e-5) / 127. int4/3/2: asymmetric, groups of 128 along the input, s = max(max - min, 1e-5) / (2^b - 1), z = clamp(-round(min / s), 0, 2^b - 1), "
        "q = clamp(round(w / s) + z, 0, 2^b - 1), w' = (q - z) * s; rounding half to even. ppl: rolling, ctx 256, whole data/text/test.txt, exp(mean of window means).", modes={})
    lim = int(os.environ.get("RTN_ROWS", "0")) or None
    for md in ("bf16", "int8", "int4", "int3", "int2"):
        m = Ref(md); v, n, tot, mm = m.ppl(OUT + "/data/text/test.txt")
        out["modes"][md] = dict(ppl=v, mean_nll=sum(mm) / n, windows=n, tokens=tot, window_mean_nll=mm); print(md, v, flush=True)
        json.dump(out, open(OUT + "/golden/rtn.json", "w"), indent=1)
    for md in ("int8", "int4", "int3", "int2"):
        R = evaluate(Ref(md), lim, items={}); R.pop("sec"); out["modes"][md]["rows_per_benchmark"] = lim or "all"; out["modes"][md]["scores"] = R; print(md, json.dumps(R), flush=True)
        json.dump(out, open(OUT + "/golden/rtn.json", "w"), indent=1)

if __name__ == "__main__":
    c = sys.argv[1]
    if c == "export": export()
    elif c == "golden": golden()
    elif c == "rtn": rtn_golden()
    else: print(sys.argv[2], json.dumps({k: round(v, 4) for k, v in evaluate(Ref(sys.argv[2], torch.float32 if "f32" in sys.argv else torch.float64), int(sys.argv[-1]) if sys.argv[-1].isdigit() else None).items()}), flush=True)
