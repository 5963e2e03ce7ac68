"""Holds the scores of the pocket suite, run with activations of 16 bits, against goldens that were computed in float64: accuracies within two
points, the perplexity within 1 %. Usage: pocket.py SCORES GOLDEN"""
import json
import sys

NAMES = {"pocket_winograd": "winograd", "pocket_piqa": "piqa", "pocket_siqa_ppl": "siqa_ppl", "pocket_cloze": "cloze", "pocket_gsm": "gsm",
         "pocket_lambada": "lambada", "pocket_text": "ppl"}

scores, golden = (json.load(open(path)) for path in sys.argv[1:3])
seen, bad = set(), 0
for s in scores["scores"]:
    if s["dataset"] not in NAMES or s.get("value") is None:
        continue
    name = NAMES[s["dataset"]]
    seen.add(name)
    want, room = (golden[name], 0.01 * golden[name]) if name == "ppl" else (100 * golden[name], 2)
    ok = abs(s["value"] - want) <= room and not s.get("missing")
    bad += not ok
    print(f"{'--- PASS' if ok else '--- FAIL'}: {s['dataset']}: {s['value']:.4f}, want {want:.4f} +- {room:.4f}; missing: {s.get('missing') or 0}")
for name in set(NAMES.values()) - seen:
    bad += 1
    print(f"--- FAIL: there is no score of {name}")
sys.exit(bad > 0)
