#!/usr/bin/env python3
"""Trains the small tokenizers of testdata/ on our own text and writes what the reference libraries say of them.

Needs sentencepiece, tokenizers and transformers. Run from pkg/tokenizer/testdata with the training text (the pocket
suite's data/text/{valid,test}.txt joined) as the argument:  python3 make/make.py TEXT
Goldens: one JSON file a tokenizer: rows of {text, ids, prompt, decoded}; ids without special tokens recognised, prompt as a
whole prompt is encoded (left out where it equals ids), decoded from prompt with special tokens skipped.
"""
import gzip, json, os, struct, sys
import sentencepiece as spm
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from oddtext import STRINGS

OUT = os.getcwd()
TEXT = open(sys.argv[1], encoding="utf-8").read()
LINES = [TEXT[i:i + 400] for i in range(0, 120000, 400)] + [s for s in STRINGS if s.strip()] * 3

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"

O200K = "|".join([r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]++[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def golden(name, rows):
    with open(f"{OUT}/{name}.golden.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":"), ensure_ascii=True) for r in rows) + "\n]\n")


def write_gz(path, data):
    with open(path, "wb") as f:
        f.write(gzip.compress(data, 9, mtime=0))


# ---- sentencepiece ----
def spm_rows(sp):
    rows = []
    for s in STRINGS:
        ids = sp.encode(s)
        rows.append({"text": s, "ids": ids, "decoded": sp.decode(ids)})
    # Ids that no text gives: control and byte pieces anywhere, invalid bytes, an unknown.
    n = sp.get_piece_size()
    for k in range(40):
        ids = [(k * 7919 + j * j * 31 + j * 17 * k) % n for j in range(12)]
        rows.append({"raw": ids, "decoded": sp.decode(ids)})
    return rows


def rules(path):
    """A small normalizer of our own: NFKC of a few ranges, some composed pairs, deletions and spaces. Each line: source, target (hex)."""
    import unicodedata as u
    pick = [*range(0xA0, 0x180), *range(0x2000, 0x2070), *range(0x2100, 0x2140), *range(0x2460, 0x2474), *range(0x33A0, 0x33B0), *range(0xFB00, 0xFB07), *range(0xFF01, 0xFF9E), 0x3000]
    table = {chr(c): u.normalize("NFKC", chr(c)) for c in pick}
    table |= {a + m: u.normalize("NFKC", a + m) for a in "aeioucnAEIOUCN" for m in "\u0300\u0301\u0302\u0303\u0308\u030a\u0327"}
    table |= {"e\u0301\u0301": "\u00e9", "\t": " ", "\n": " ", "\r": " ", "\u200b": "", "\u00ad": "", "\ufeff": "", "\u0001": ""}
    with open(path, "w") as f:
        for k, v in sorted(table.items()):
            if k != v: f.write(" ".join("%X" % ord(c) for c in k) + "\t" + " ".join("%X" % ord(c) for c in v) + "\n")
    return path


def train_spm(name, **kw):
    with open("/tmp/spm_train.txt", "w", encoding="utf-8") as f:
        f.write("\n".join(l.replace("\n", " ").replace("\0", "") for l in LINES))
    args = dict(input="/tmp/spm_train.txt", model_prefix="/tmp/spm_out", num_threads=1, minloglevel=2, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    args.update(kw)
    spm.SentencePieceTrainer.train(**args)
    data = strip_trainer_input(open("/tmp/spm_out.model", "rb").read())
    return name, data


def finish_spm(name, data):
    write_gz(f"{OUT}/{name}.model.gz", data)
    golden(name, spm_rows(spm.SentencePieceProcessor(model_proto=data)))


def varint(b, i):
    v = s = 0
    while True:
        v |= (b[i] & 127) << s; s += 7; i += 1
        if b[i - 1] < 128: return v, i


def enc(v):
    o = b""
    while v > 127: o += bytes([v & 127 | 128]); v >>= 7
    return o + bytes([v])


def fields(b):
    i = 0
    while i < len(b):
        j = i
        tag, i = varint(b, i)
        if tag & 7 == 2:
            n, i = varint(b, i); yield tag >> 3, b[j:i + n], b[i:i + n]; i += n
        elif tag & 7 == 0:
            _, i = varint(b, i); yield tag >> 3, b[j:i], None
        elif tag & 7 == 5:
            i += 4; yield tag >> 3, b[j:i], None
        else: raise ValueError(tag)


def message(n, body): return enc(n << 3 | 2) + enc(len(body)) + body


def strip_trainer_input(b):
    """Drops the training file's path from the trainer's settings."""
    o = b""
    for n, raw, body in fields(b):
        o += message(2, b"".join(r for m, r, _ in fields(body) if m not in (1, 2))) if n == 2 else raw
    return o


def mark_unused(b, every):
    """Sets the type of every n-th normal piece of more than one character to UNUSED."""
    o, k = b"", 0
    for n, raw, body in fields(b):
        if n == 1:
            sub = list(fields(body)); text = sub[0][2].decode(); normal = not any(m == 3 for m, _, _ in sub)
            k += normal and len(text) > 1
            if normal and len(text) > 1 and k % every == 0: raw = message(1, body + b"\x18\x05")
        o += raw
    return o


def no_dummy_prefix(b): return b"".join(message(3, body + b"\x18\x00") if n == 3 else raw for n, raw, body in fields(b))


def sentencepieces():
    base = train_spm("spm_bpe", model_type="bpe", vocab_size=900, byte_fallback=True, split_digits=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, character_coverage=0.9995, allow_whitespace_only_pieces=True, user_defined_symbols="<sep>,[[x]]", control_symbols="<ctl>")
    finish_spm(*base)
    finish_spm("spm_bpe_unused", mark_unused(base[1], 3))
    finish_spm(*train_spm("spm_bpe_rules", model_type="bpe", vocab_size=700, normalization_rule_tsv=rules("/tmp/rules.tsv"), byte_fallback=True, character_coverage=0.99))
    finish_spm(*train_spm("spm_bpe_cross", model_type="bpe", vocab_size=700, split_by_whitespace=False, normalization_rule_name="identity", character_coverage=0.99,
        add_dummy_prefix=False, max_sentencepiece_length=24))
    finish_spm(*train_spm("spm_unigram", model_type="unigram", vocab_size=700, normalization_rule_tsv="/tmp/rules.tsv", byte_fallback=True, character_coverage=0.99, user_defined_symbols="<sep>,[[x]],a<"))
    finish_spm(*train_spm("spm_unigram_unk", model_type="unigram", vocab_size=500, normalization_rule_tsv="/tmp/rules.tsv", character_coverage=0.98, treat_whitespace_as_suffix=True,
        unk_surface=" ?? ", hard_vocab_limit=False))
    legacy(base[1])
    return base[1]


def legacy(data):
    """What transformers' slow Llama tokenizer gives: special tokens found in the text, with legacy true and false."""
    from transformers.tokenization_utils_sentencepiece import SentencePieceBackend
    open("/tmp/legacy.model", "wb").write(data)

    class Slow(SentencePieceBackend):
        def tokenize(self, text, **kw):  # the non-legacy rule of the 4.x slow Llama tokenizer
            if self.legacy or len(text) == 0: return super().tokenize(text, **kw)
            tokens = super().tokenize("\u2581" + text.replace("\u2581", " "), **kw)
            if len(tokens) > 1 and tokens[0] == "\u2581" and tokens[1] in self.all_special_tokens: tokens = tokens[1:]
            return tokens

    texts = STRINGS + ["<s><s>", "a</s>", "</s> b", "hi <tag> there<tag>", " <tag>x", "<strip>  a  <strip> b", "  <strip>", "x <s>", "\u2581<s>", "<s>\u2581x", "  two", " <unk> z", "new<s>\nline", "wordy word", "<word>ly <word> a", "a<word>"]
    for name, flag in (("legacy", True), ("nonlegacy", False)):
        t = Slow(vocab_file="/tmp/legacy.model", legacy=True, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
        if not flag: t.legacy, t.sp_model = False, spm.SentencePieceProcessor(model_proto=no_dummy_prefix(data))
        t.add_tokens([AddedToken("<tag>", normalized=False), AddedToken("<strip>", lstrip=True, rstrip=True, special=True, normalized=False)])
        golden("spm_" + name, [{"text": s, "ids": t.convert_tokens_to_ids(t.tokenize(s, split_special_tokens=True)), "prompt": t.convert_tokens_to_ids(t.tokenize(s))} for s in texts])


# ---- tokenizers ----
def hf_rows(t):
    rows = []
    for s in STRINGS:
        t.encode_special_tokens = True
        ids = t.encode(s, add_special_tokens=False).ids
        t.encode_special_tokens = False
        p = t.encode(s).ids
        r = {"text": s, "ids": ids}
        if p != ids: r["prompt"] = p
        r["decoded"] = t.decode(p)
        rows.append(r)
    n = t.get_vocab_size()
    for k in range(40):
        ids = [(k * 7919 + j * j * 31 + j * 17 * k) % n for j in range(12)]
        rows.append({"raw": ids, "decoded": t.decode(ids)})
    return rows


def finish_hf(name, t, pairs=True):
    t.save("/tmp/tok.json")
    j = json.load(open("/tmp/tok.json", encoding="utf-8"))
    if not pairs: j["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in j["model"]["merges"]]
    data = json.dumps(j, ensure_ascii=False, separators=(",", ":")).encode()
    write_gz(f"{OUT}/{name}.json.gz", data)
    golden(name, hf_rows(Tokenizer.from_str(data.decode())))


def byte_bpe(pre, vocab, norm=None, specials=(), **kw):
    t = Tokenizer(models.BPE(**kw))
    t.pre_tokenizer = pre
    if norm: t.normalizer = norm
    t.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.decoder = decoders.ByteLevel()
    return t


def split(pattern, behavior="isolated", **kw): return pre_tokenizers.Split(Regex(pattern), behavior, **kw)


def hf_byte_level():
    bl = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t = byte_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), 900, specials=["<|endoftext|>"])
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    finish_hf("hf_gpt2", t, pairs=False)
    json.dump(dict(sorted(t.get_vocab().items(), key=lambda e: e[1])), open(f"{OUT}/gpt2/vocab.json", "w", encoding="utf-8"), ensure_ascii=False, separators=(",", ":"))
    m = json.loads(t.to_str())["model"]["merges"]
    open(f"{OUT}/gpt2/merges.txt", "w", encoding="utf-8").write("#version: 0.2\n" + "".join(" ".join(x) + "\n" for x in m))

    t = byte_bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), 600, norm=normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), normalizers.Lowercase()]))
    t.add_tokens([AddedToken("DAY", normalized=True), AddedToken("<mask>", normalized=False, lstrip=True), AddedToken("word", single_word=True, normalized=False)])
    finish_hf("hf_lower", t)

    t = byte_bpe(pre_tokenizers.Sequence([split(LLAMA3), bl]), 900, ignore_merges=True)
    t.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<mask>"])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
        special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))])])
    finish_hf("hf_llama3", t)

    t = byte_bpe(pre_tokenizers.Sequence([split(QWEN2), bl]), 700, norm=normalizers.NFC())
    t.add_special_tokens(["<|endoftext|>", "<|im_start|>", AddedToken("<|im_end|>", lstrip=True, rstrip=True, normalized=False, special=True)])
    t.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False, rstrip=True)])
    finish_hf("hf_qwen2", t, pairs=False)

    t = byte_bpe(pre_tokenizers.Sequence([split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(r"[\u4e00-\u9fa5]+"), pre_tokenizers.Digits(individual_digits=True), bl]), 600, specials=["<s>", "</s>"])
    finish_hf("hf_splits", t)

    t = byte_bpe(pre_tokenizers.Sequence([split(CL100K, "removed", invert=True), bl]), 600)
    finish_hf("hf_cl100k", t)

    t = byte_bpe(pre_tokenizers.Sequence([split(O200K), bl]), 600)
    finish_hf("hf_o200k", t)

    t = byte_bpe(pre_tokenizers.Sequence([split(" ", "merged_with_next"), split(r"\d+", "contiguous"), split(",", "merged_with_previous"), bl]), 500)
    finish_hf("hf_behaviors", t)


def hf_sentencepiece(data):
    sp = spm.SentencePieceProcessor(model_proto=data)
    vocab = {sp.id_to_piece(i): i for i in range(sp.get_piece_size())}
    merges = []
    for p, i in vocab.items():
        if sp.is_byte(i) or sp.is_control(i) or sp.is_unknown(i): continue
        local = [(p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in vocab and p[k:] in vocab]
        merges += [(i, vocab[a], vocab[b], a, b) for a, b in local]
    merges = [(a, b) for i, x, y, a, b in sorted(merges, key=lambda m: (-sp.get_score(m[0]), m[1], m[2]))]

    def make(**kw):
        t = Tokenizer(models.BPE(vocab=dict(vocab), merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=kw.pop("byte_fallback", True)))
        t.add_special_tokens(["<unk>", "<s>", "</s>"])
        t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
        return t

    t = make(); t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.add_tokens([AddedToken("<mask>", normalized=True), AddedToken("Day", normalized=True)])
    finish_hf("hf_llama2", t, pairs=False)
    t = make(); t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    finish_hf("hf_metaspace_first", t)
    t = make(byte_fallback=False); t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True); t.decoder = decoders.Metaspace()
    finish_hf("hf_metaspace_always", t)


if __name__ == "__main__":
    os.makedirs(f"{OUT}/gpt2", exist_ok=True)
    hf_byte_level()
    hf_sentencepiece(sentencepieces())
