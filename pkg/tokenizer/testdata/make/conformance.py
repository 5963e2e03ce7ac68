#!/usr/bin/env python3
"""What sentencepiece (or tokenizers, for encoder.json and vocab.bpe) says of public models over the odd strings.
The models themselves are not kept here.

Run from pkg/tokenizer/testdata:  python3 make/conformance.py NAME=MODEL...   writes conformance/NAME.json
MODEL is a SentencePiece model, or a directory of encoder.json and vocab.bpe.
"""
import json, os, sys
import sentencepiece as spm
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from oddtext import STRINGS

MORE = [a + b for a in ("", " ", "  ", "\n", "x") for b in ("[INST] Hello [/INST]", "caf\u00e9 \u2460\u33a5", "1234567 890", "\u4f60\u597d \U0001f600", "def f():\n\treturn 1", "[AVAILABLE_TOOLS][{}]", "\u1100\u1161\u11a8 \ud55c", "a\u0300\u0301\u0302b", "\uff21\uff22\uff23 \uff11\uff12", "~\u00a0~", "\u2028\u2029\u0085", "tabs\t\ttabs  ", "UPPER lower", "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "a\u200db\u200cc", "\u0e33\u0e19\u0e49\u0e33", "\ufdfa", "x" * 300)]
os.makedirs("conformance", exist_ok=True)
for arg in sys.argv[1:]:
    name, path = arg.split("=")
    if os.path.isdir(path):
        class sp:
            t = Tokenizer(models.BPE.from_file(path + "/encoder.json", path + "/vocab.bpe"))
            t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
            encode = lambda s, t=t: t.encode(s).ids
            decode = lambda ids, t=t: t.decode(ids)
            get_piece_size = lambda: 50256
    else: sp = spm.SentencePieceProcessor(model_file=path)
    rows = []
    for s in STRINGS + MORE:
        ids = sp.encode(s)
        rows.append({"text": s, "ids": ids, "decoded": sp.decode(ids)})
    n = sp.get_piece_size()
    rows += [{"raw": ids, "decoded": sp.decode(ids)} for ids in ([(k * 7919 + j * j * 31 + j * 17 * k) % n for j in range(12)] for k in range(20))]
    with open(f"conformance/{name}.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
