package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"sextant/pkg/spec"
)

// Document is a text whose perplexity is wanted.
type Document struct {
	Text  string
	Words int // white space runs + 1, as lm-eval counts
	Bytes int // of UTF-8
}

// TokenDocument is a Document tokenized: no BOS or EOS.
type TokenDocument struct {
	Tokens []int32
	Words  int
	Bytes  int
}

// Window is one sequence to score: the NLL of Tokens[From:], each given all tokens before it. From >= 1. The last token is only a
// target, so a window asks for a context of len(Tokens)-1 at least.
type Window struct {
	Tokens []int32
	From   int
	Words  int // of the whole document, on its first window
	Bytes  int
}

// Documents gives the texts of a rolling dataset: with the convention lm-eval each row is one, else all rows are joined to one.
func (s *Set) Documents() []Document {
	texts := make([]string, s.Len())
	for i, raw := range s.test.rows {
		v, err := s.program.makers.view(raw)
		if err == nil {
			texts[i], err = s.program.main.prompt(env{row: v}, nil, dialog{})
		}
		if err != nil {
			panic(fmt.Sprintf("dataset: a row that was rendered before cannot be again: %v", err))
		}
	}
	if s.d.Rolling.Convention != "lm-eval" {
		texts = []string{strings.Join(texts, s.d.Rolling.Join)}
	}
	docs := make([]Document, len(texts))
	for i, text := range texts {
		docs[i] = Document{Text: text, Words: words(text), Bytes: len(text)}
	}
	return docs
}

// words counts what splitting at runs of white space gives; white space at an end gives one more.
func words(text string) int {
	n, in := 1, false
	for _, r := range text {
		space := unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
		if space && !in {
			n++
		}
		in = space
	}
	return n
}

// Windows cuts documents by the convention of r; docs/datasets.md gives the formulas. bos is the token put at the start, or -1 when
// the tokenizer adds none; for lm-eval it is the prefix token, BOS or else EOS.
func Windows(r spec.RollingOptions, docs []TokenDocument, bos int32) ([]Window, error) {
	cut, ok := conventions[r.Convention]
	if !ok {
		return nil, fmt.Errorf("rolling.convention = %q%s", r.Convention, nearest(r.Convention, keys(conventions)))
	}
	if r.SeqLen < 2 {
		return nil, fmt.Errorf("rolling.seq_len is %d: a window has 2 tokens at least", r.SeqLen)
	}
	var out []Window
	for i, doc := range docs {
		ws, err := cut(r, doc.Tokens, bos)
		if err != nil {
			return nil, fmt.Errorf("document %d, rolling.convention %q: %w", i, r.Convention, err)
		}
		if len(ws) > 0 {
			ws[0].Words, ws[0].Bytes = doc.Words, doc.Bytes
		}
		out = append(out, ws...)
	}
	if len(out) == 0 {
		return nil, errors.New("the text has no token to score")
	}
	return out, nil
}

var conventions = map[string]func(spec.RollingOptions, []int32, int32) ([]Window, error){
	"": gptq, "gptq": gptq, "gptq-bos": gptqBOS, "sliding": sliding, "lm-eval": lmEval, "llama.cpp": llamaCPP,
}

func tooShort(have, want int) error {
	return fmt.Errorf("the text has %d tokens and needs %d: lower seq_len or use a longer text", have, want)
}

// gptq cuts one BOS and the text into whole windows without overlap; the tail is dropped.
func gptq(r spec.RollingOptions, tokens []int32, bos int32) ([]Window, error) {
	all := prefixed(bos, tokens)
	n := len(all) / r.SeqLen
	if n == 0 {
		return nil, tooShort(len(all), r.SeqLen)
	}
	out := make([]Window, n)
	for i := range out {
		out[i] = Window{Tokens: all[i*r.SeqLen : (i+1)*r.SeqLen : (i+1)*r.SeqLen], From: 1}
	}
	return out, nil
}

// gptqBOS gives each piece of seq_len-1 tokens a BOS of its own; the tail is dropped.
func gptqBOS(r spec.RollingOptions, tokens []int32, bos int32) ([]Window, error) {
	if bos < 0 {
		return nil, errors.New("the tokenizer has no BOS token, which starts every window here: use gptq")
	}
	size := r.SeqLen - 1
	n := len(tokens) / size
	if n == 0 {
		return nil, tooShort(len(tokens), size)
	}
	out := make([]Window, n)
	for i := range out {
		out[i] = Window{Tokens: prefixed(bos, tokens[i*size:(i+1)*size]), From: 1}
	}
	return out, nil
}

// sliding scores each token once, in the earliest window that holds it: at least seq_len-stride tokens come before it. With stride =
// seq_len a window's first token has nothing before it and is not scored.
func sliding(r spec.RollingOptions, tokens []int32, bos int32) ([]Window, error) {
	stride := r.Stride
	if stride == 0 {
		stride = r.SeqLen / 2
	}
	if stride < 1 || stride > r.SeqLen {
		return nil, fmt.Errorf("rolling.stride is %d: it must be from 1 to seq_len = %d", stride, r.SeqLen)
	}
	all := prefixed(bos, tokens)
	var out []Window
	for start, scored := 0, 1; scored < len(all); start += stride {
		stop := min(start+r.SeqLen, len(all))
		if from := max(1, scored-start); from < stop-start {
			out = append(out, Window{Tokens: all[start:stop:stop], From: from})
		}
		scored = stop
	}
	return out, nil
}

// lmEval scores every token once: the first seq_len after the prefix token, then seq_len at a time after one token of context, and
// the rest with as long a context as fits. A window has up to seq_len+1 tokens, of which the last is only a target.
func lmEval(r spec.RollingOptions, tokens []int32, bos int32) ([]Window, error) {
	if bos < 0 {
		return nil, errors.New("the tokenizer has no BOS or EOS token, which is the first context here")
	}
	if len(tokens) == 0 {
		return nil, nil
	}
	scored := min(r.SeqLen, len(tokens))
	out := []Window{{Tokens: prefixed(bos, tokens[:scored]), From: 1}}
	for scored < len(tokens) {
		stop := min(scored+r.SeqLen, len(tokens))
		start := stop - r.SeqLen - 1
		out = append(out, Window{Tokens: tokens[start:stop:stop], From: scored - start})
		scored = stop
	}
	return out, nil
}

// llamaCPP cuts like gptq, puts BOS over each window's first token, and scores what comes after its middle.
func llamaCPP(r spec.RollingOptions, tokens []int32, bos int32) ([]Window, error) {
	if have := len(prefixed(bos, tokens)); have < 2*r.SeqLen {
		return nil, tooShort(have, 2*r.SeqLen)
	}
	if r.SeqLen < 4 {
		return nil, fmt.Errorf("rolling.seq_len is %d: it must be 4 at least, so that a second half is left", r.SeqLen)
	}
	out, err := gptq(r, tokens, bos)
	for i := range out {
		if bos >= 0 && i > 0 {
			out[i].Tokens = slices.Clone(out[i].Tokens)
			out[i].Tokens[0] = bos
		}
		out[i].From = r.SeqLen/2 + 1
	}
	return out, err
}

// prefixed is the tokens after a BOS, if there is one.
func prefixed(bos int32, tokens []int32) []int32 {
	if bos < 0 {
		return tokens
	}
	return append(append(make([]int32, 0, len(tokens)+1), bos), tokens...)
}

// Digest identifies what the model is asked, as Item.Digest does.
func (w Window) Digest(settings string) string {
	h := sha256.New()
	put(h, settings, "rolling", fmt.Sprint(w.From))
	_ = binary.Write(h, binary.LittleEndian, w.Tokens) // a hash never fails
	return hex.EncodeToString(h.Sum(nil))[:16]
}
