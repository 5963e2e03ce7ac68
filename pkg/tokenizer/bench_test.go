package tokenizer

import (
	"os"
	"strings"
	"testing"
)

// benchText is a megabyte or so of our own text.
func benchText(b *testing.B) string {
	b.Helper()
	data, err := os.ReadFile("../../examples/pocket/data/text/test.txt")
	if err != nil {
		b.Fatal(err)
	}
	return strings.Repeat(string(data), 5)
}

func BenchmarkEncode(b *testing.B) {
	text := benchText(b)
	for name, load := range map[string]func() *Tokenizer{
		"spm_bpe":       func() *Tokenizer { return mustLoad(b, unzipped(b, "spm_bpe.model", "some.model")) },
		"spm_bpe_cross": func() *Tokenizer { return mustLoad(b, unzipped(b, "spm_bpe_cross.model", "some.model")) },
		"spm_unigram":   func() *Tokenizer { return mustLoad(b, unzipped(b, "spm_unigram.model", "some.model")) },
		"hf_llama3":     func() *Tokenizer { return mustLoad(b, unzipped(b, "hf_llama3.json", "tokenizer.json")) },
		"hf_cl100k":     func() *Tokenizer { return mustLoad(b, unzipped(b, "hf_cl100k.json", "tokenizer.json")) },
		"hf_llama2":     func() *Tokenizer { return mustLoad(b, unzipped(b, "hf_llama2.json", "tokenizer.json")) },
	} {
		tok := load()
		for kind, in := range map[string]string{"words": text, "nospaces": strings.ReplaceAll(text, " ", "")} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.SetBytes(int64(len(in)))
				for b.Loop() {
					tok.Encode(in)
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	tok := mustLoad(b, unzipped(b, "hf_llama3.json", "tokenizer.json"))
	text := benchText(b)
	ids := tok.Encode(text)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.Decode(ids)
	}
}
