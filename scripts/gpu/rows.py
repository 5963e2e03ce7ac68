"""Makes of what worker bench and peer.py found the rows for docs/benchmarks.md. Shares are of the better of the peaks that both measured; a figure
that is missing is told as not measured. Usage: rows.py DIRECTORY"""
import json
import os
import sys
import time

where = sys.argv[1]


def load(name):
    try:
        return json.load(open(os.path.join(where, f"bench-{name}.json")))
    except (OSError, ValueError):
        return {"works": [], "peaks": {"compute": [], "read_gb": 0}, "machine": {}}


runs = {name: load(name) for name in ("bf16", "int4", "long")}
peer = {}
try:
    for line in open(os.path.join(where, "torch.jsonl")):
        r = json.loads(line)
        if r["value"] > peer.get(r["what"], {"value": 0})["value"]:
            peer[r["what"]] = r
except (OSError, ValueError):
    pass


def work(run, name):
    return next((w for w in runs[run]["works"] or [] if w["name"] == name and not w.get("skipped")), None)


def their(name):
    return peer.get(name, {}).get("value", 0)


matrix = max([their("matmul") * 1e3] + [c["gflops"] for r in runs.values() for c in r["peaks"]["compute"] or []])
copy = max([their("copy")] + [r["peaks"]["read_gb"] for r in runs.values()])
device = next((r["machine"]["cpu"] for r in runs.values() if r["machine"].get("cpu")), "a GPU")
rows = []


def row(what, figure, goal, met, other=""):
    verdict = "not measured" if figure is None else goal if met is None else f"{goal}: {'met' if met else 'NOT met'}"
    rows.append(f"| {what} | {figure or ''} | {verdict} | {other or ''} | {device}, {time.strftime('%Y-%m-%d', time.gmtime())}, `make gpu-check` |")


def share(w, of, value):
    return w[value] / of if w and of else 0


def ratio(rate, name):
    return f"{rate / their(name):.2f}x of {their(name):.4g} {peer[name]['unit']} ({peer[name]['how']})" if rate and their(name) else "not measured"


row("bf16 product of matrices; copying",
    f"{matrix / 1e3:.0f} TFLOP/s; {copy:.0f} GB/s read and written" if matrix and copy else None, "the peaks", None,
    f"torch alone {their('matmul'):.0f} TFLOP/s, {their('copy'):.0f} GB/s" if peer else "")

w = work("bf16", "packed")
if w:
    part, other = share(w, matrix, "gflops"), their("packed")
    row("prefill, packed prompts of 512", f"{w['rate']:.0f} tokens/s, {w['gflops'] / 1e3:.0f} TFLOP/s, {part:.0%}", ">= 65 %, >= 1.0x PyTorch",
        part >= 0.65 and (not other or w["rate"] >= other), ratio(w["rate"], "packed"))
else:
    row("prefill, packed prompts of 512", None, "", None)

one, four, many = work("bf16", "decode-1"), work("int4", "decode-1"), work("bf16", "decode-64")
row("decode, one sequence", one and f"{one['rate']:.1f} tokens/s, {one['gbs']:.0f} GB/s, {share(one, copy, 'gbs'):.0%}", ">= 80 % of copying",
    share(one, copy, "gbs") >= 0.8, one and ratio(one["rate"], "decode-1"))
row("decode, one sequence, int4 (groups of 128)",
    four and f"{four['rate']:.1f} tokens/s" + (f", {four['rate'] / one['rate']:.2f}x bf16's" if one else ""),
    ">= 2.5x", bool(one and four and four["rate"] >= 2.5 * one["rate"]))
row("decode, 64 sequences", many and f"{many['rate']:.0f} tokens/s" + (f", {many['rate'] / one['rate']:.1f}x one's" if one else ""), ">= 8x",
    bool(one and many and many["rate"] >= 8 * one["rate"]), many and ratio(many["rate"], "decode-64"))
for name in ("attention-2048", "attention-8192"):
    w = work("bf16", name)
    row(f"{name} (prefill)", w and f"{w['gflops'] / 1e3:.0f} TFLOP/s, {share(w, matrix, 'gflops'):.0%} of the peak", "beside SDPA", None,
        w and ratio(w["gflops"] / 1e3, name))
w = work("bf16", "attention-decode")
row("attention of decoding, 64 sequences over 2,048", w and f"{w['gbs']:.0f} GB/s, {share(w, copy, 'gbs'):.0%} of copying", "share", None)
w, alone = work("long", "rank"), work("bf16", "rank-alone")
row("MMLU-shaped ranking, 14,042 rows of 4 choices", w and f"{w['seconds']:.1f} s, {w['rate']:.0f} rows/s", "< 60 s", bool(w and w["seconds"] < 60))
row("the same with nothing shared", alone and f"{alone['rate']:.1f} rows/s over {alone['units']} rows", "beside it", None)
w = work("long", "rolling-2048")
row("perplexity, 141 windows of 2,048 (wikitext-2's number)", w and f"{w['seconds']:.1f} s, {w['rate']:.0f} tokens/s", ">= 1.5x transformers",
    bool(w and their("rolling-2048") and w["rate"] >= 1.5 * their("rolling-2048")), w and ratio(w["rate"], "rolling-2048"))

print("| what | figure | goal | PyTorch, the fastest way | machine, date, command |\n|---|---|---|---|---|")
print("\n".join(rows))
