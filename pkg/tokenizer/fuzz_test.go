package tokenizer

import (
	"encoding/binary"
	"math"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// use encodes and decodes text, and expects no more than that nothing panics and ids stay in range.
func use(t *testing.T, tok *Tokenizer, text string) {
	ids := append(tok.Encode(text), tok.EncodePrompt(text)...)
	for _, id := range ids {
		if id < 0 || int(id) >= tok.VocabSize() {
			t.Fatalf("id %d of %q is outside the vocabulary of %d", id, text, tok.VocabSize())
		}
	}
	if out := tok.Decode(ids); !utf8.ValidString(out) {
		t.Fatalf("Decode gave malformed text %q", out)
	}
	checkDecoder(t, tok, append(ids[:len(ids):len(ids)], -1, int32(tok.VocabSize()), 0))
}

const someText = "Tom's \u2581 <s>e\u0301 \u4f60\xff\n\n  12<ctl>"

// tinyModel is a SentencePiece model of a few pieces of every type.
func tinyModel(modelType int, charsMap []byte) []byte {
	var out []byte
	message := func(number protowire.Number, body []byte) {
		out = protowire.AppendBytes(protowire.AppendTag(out, number, protowire.BytesType), body)
	}
	for i, p := range []spmPiece{{"<unk>", 0, pieceUnknown}, {"<s>", 0, pieceControl}, {"[x]", 0, pieceUserDefined}, {"\u2581", -1, pieceNormal}, {"a", -2, pieceNormal}, {"b", -3, pieceNormal},
		{"ab", -4, pieceUnused}, {"\u2581ab", -5, pieceNormal}, {"b\u2581", -6, pieceNormal}} {
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), p.text)
		b = protowire.AppendFixed32(protowire.AppendTag(b, 2, protowire.Fixed32Type), math.Float32bits(p.score-float32(i)/100))
		b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(p.kind))
		message(1, b)
	}
	message(2, protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), uint64(modelType)))
	message(3, protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), charsMap))
	message(5, protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), charsMap))
	return out
}

func FuzzModel(f *testing.F) {
	unit := func(label byte, offset uint32, leaf bool) uint32 {
		u := uint32(label) | offset<<10
		if leaf {
			u |= 1 << 8
		}
		return u
	}
	// A character map of one rule, a -> b: the root, a's unit at 1^a, its value beside it.
	units := make([]uint32, 256)
	units[0], units[1^'a'], units[1^'a'^2] = unit(0, 1, false), unit('a', 2, true), 1<<31
	chars := binary.LittleEndian.AppendUint32(nil, uint32(4*len(units)))
	for _, u := range units {
		chars = binary.LittleEndian.AppendUint32(chars, u)
	}
	for kind := range 4 {
		f.Add(tinyModel(kind+1, nil), someText)
		f.Add(tinyModel(kind+1, append(chars, "b\x00"...)), "a ab")
	}
	f.Add([]byte("IQ== 0\nIg== 1\n"), "ab")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok := &Tokenizer{}
		s := &settings{}
		var err error
		if isTiktoken(data) {
			err = tok.useTiktoken(data, "qwen.tiktoken", s)
		} else {
			err = tok.useSPM(data, s)
		}
		if err == nil {
			use(t, tok, text)
		}
	})
}

func FuzzTokenizerJSON(f *testing.F) {
	f.Add([]byte(`{"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"decoder":{"type":"ByteLevel"},
		"model":{"type":"BPE","ignore_merges":true,"vocab":{"\u0120":0,"a":1,"\u0120a":2},"merges":[["\u0120","a"]]}}`), "a a\xff")
	f.Add([]byte(`{"added_tokens":[{"id":3,"content":"<s>","lstrip":true,"rstrip":true,"single_word":true,"normalized":true,"special":true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKD"},{"type":"Strip","strip_left":true},{"type":"Replace","pattern":{"Regex":"\\s+"},"content":""}]},
		"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\w*"},"behavior":"Contiguous","invert":true},{"type":"Digits"},{"type":"Metaspace","replacement":"_","prepend_scheme":"first"}]},
		"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"s"}},{"Sequence":{"id":"A"}}],"special_tokens":{"s":{"ids":[3]}}},
		"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
		"model":{"type":"BPE","unk_token":"u","fuse_unk":true,"byte_fallback":true,"vocab":{"u":0,"a":1,"aa":2},"merges":["a a"]}}`), "aa b1")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok := &Tokenizer{}
		if tok.useJSON(data, &settings{}) == nil {
			use(t, tok, text)
		}
	})
}

// FuzzRoundTrip: byte-level BPE gives back any text; malformed bytes come back as U+FFFD.
func FuzzRoundTrip(f *testing.F) {
	tok := mustLoad(f, unzipped(f, "hf_llama3.json", "tokenizer.json"))
	for _, r := range readGolden(f, "testdata/hf_llama3.golden.json") {
		if r.Text != nil {
			f.Add(*r.Text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := tok.Decode(tok.Encode(text)), validText(text); got != want {
			t.Fatalf("Decode(Encode(%q)) = %q", text, got)
		}
	})
}
