#!/usr/bin/env python3
"""Writes a Llama-family checkpoint as a GGUF file, value by value as it is, for llama.cpp to be measured on the same weights.

usage: convert.py MODEL-DIR FILE.gguf

MODEL-DIR has config.json and *.safetensors, all matrices in one of f32, f16 and bf16. Its tokenizer.model is taken over; without one, as
random weights are, the vocabulary is made up: for works that are given token ids. Needs gguf and numpy, and sentencepiece for a tokenizer.
"""
import glob
import json
import os
import struct
import sys

import gguf
import numpy as np

TYPES = {"F32": gguf.GGMLQuantizationType.F32, "F16": gguf.GGMLQuantizationType.F16, "BF16": gguf.GGMLQuantizationType.BF16}
FILES = {"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16, "BF16": gguf.LlamaFileType.MOSTLY_BF16}


def tensors(model):
    """Yields name, dtype and words of each tensor: bf16 as the 16 bits that it is."""
    for path in sorted(glob.glob(os.path.join(model, "*.safetensors"))):
        data = np.memmap(path, np.uint8, "r")
        size = struct.unpack("<Q", data[:8].tobytes())[0]
        for name, t in json.loads(data[8 : 8 + size].tobytes()).items():
            if name == "__metadata__" or name.endswith("rotary_emb.inv_freq"):
                continue
            if t["dtype"] not in TYPES:
                sys.exit(f"convert: {name} is {t['dtype']}; f32, f16 and bf16 can be converted")
            begin, end = t["data_offsets"]
            words = data[8 + size + begin : 8 + size + end].view("<u4" if t["dtype"] == "F32" else "<u2")
            yield name, t["dtype"], words.reshape(t["shape"])


def single(dtype, words):
    """The values in f32."""
    if dtype == "BF16":
        return (words.astype(np.uint32) << 16).view(np.float32)
    return words.view(np.float16).astype(np.float32) if dtype == "F16" else words.view(np.float32)


def interleave(words, heads):
    """Orders a projection's outputs as llama.cpp rotates them, by neighbours: checkpoints rotate one half of a head against the other."""
    return words.reshape(heads, 2, words.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(words.shape)


def add_tokenizer(out, model, vocab):
    path = os.path.join(model, "tokenizer.model")
    texts, scores, kinds = [], [], []
    if os.path.exists(path):
        import sentencepiece

        sp = sentencepiece.SentencePieceProcessor(model_file=path)
        for i in range(min(vocab, sp.get_piece_size())):
            texts.append(sp.id_to_piece(i).encode())
            scores.append(sp.get_score(i))
            kind = gguf.TokenType.NORMAL
            for known, is_it in ((gguf.TokenType.UNKNOWN, sp.is_unknown), (gguf.TokenType.CONTROL, sp.is_control),
                                 (gguf.TokenType.UNUSED, sp.is_unused), (gguf.TokenType.BYTE, sp.is_byte)):
                kind = known if is_it(i) else kind
            kinds.append(kind)
    else:
        for i in range(259):  # what SentencePiece begins with: llama.cpp looks for a line break among the bytes
            texts.append((["<unk>", "<s>", "</s>"][i] if i < 3 else f"<0x{i - 3:02X}>").encode())
            scores.append(0.0)
            kinds.append(gguf.TokenType.UNKNOWN if i == 0 else gguf.TokenType.CONTROL if i < 3 else gguf.TokenType.BYTE)
    for i in range(len(texts), vocab):
        texts.append(f"[{i}]".encode())
        scores.append(-1e4)
        kinds.append(gguf.TokenType.NORMAL)
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(texts[:vocab])
    out.add_token_scores(scores[:vocab])
    out.add_token_types(kinds[:vocab])
    out.add_add_bos_token(True)


def main(model, target):
    with open(os.path.join(model, "config.json")) as f:
        cfg = json.load(f)
    heads, layers, hidden = cfg["num_attention_heads"], cfg["num_hidden_layers"], cfg["hidden_size"]
    kv_heads = cfg.get("num_key_value_heads", heads)
    head_dim = cfg.get("head_dim") or hidden // heads
    out = gguf.GGUFWriter(target, "llama")
    out.add_context_length(cfg["max_position_embeddings"])
    out.add_embedding_length(hidden)
    out.add_block_count(layers)
    out.add_feed_forward_length(cfg["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_key_length(head_dim)
    out.add_value_length(head_dim)
    out.add_rope_dimension_count(head_dim)
    out.add_rope_freq_base((cfg.get("rope_parameters") or cfg).get("rope_theta", 10000.0))
    out.add_layer_norm_rms_eps(cfg["rms_norm_eps"])
    out.add_vocab_size(cfg["vocab_size"])
    out.add_bos_token_id(cfg.get("bos_token_id", 1))
    out.add_eos_token_id(cfg.get("eos_token_id", 2))
    add_tokenizer(out, model, cfg["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    main_type = "F32"
    for name, dtype, words in tensors(model):
        to = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if to is None:
            sys.exit(f"convert: there is no place for {name} in llama.cpp's Llama")
        if ".q_proj." in name or ".k_proj." in name:
            words = interleave(words, heads if ".q_proj." in name else kv_heads)
        if words.ndim < 2 or dtype == "F32":
            out.add_tensor(to, np.ascontiguousarray(single(dtype, words)))
            continue
        main_type = dtype
        if dtype == "F16":
            out.add_tensor(to, words.view(np.float16))
        else:  # gguf knows bf16 by its bytes
            out.add_tensor(to, np.ascontiguousarray(words).view(np.uint8), raw_dtype=TYPES[dtype])
    out.add_file_type(FILES[main_type])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
