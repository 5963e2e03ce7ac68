package tokenizer

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// isTiktoken says whether data begins with a line of base64, a space and a number.
func isTiktoken(data []byte) bool {
	line, _, _ := bytes.Cut(data[:min(len(data), 4096)], []byte("\n"))
	_, _, ok := rankLine(string(line))
	return ok
}

func rankLine(line string) (token string, rank int64, ok bool) {
	word, number, found := strings.Cut(strings.TrimRight(line, "\r"), " ")
	raw, err := base64.StdEncoding.DecodeString(word)
	rank, errRank := strconv.ParseInt(number, 10, 32)
	return string(raw), rank, found && err == nil && errRank == nil && len(raw) > 0 && rank >= 0
}

// family is what a rank file does not say of itself.
type family struct {
	name     string
	pattern  string
	nfc      bool // text is normalized first
	specials func(first int32) []addedToken
	bos, eos string
	addBOS   bool
}

// Llama 3 as Meta published it. The names that Llama 3.1 gave to three of the reserved tokens are known too.
var llama3Family = family{
	name: "Llama 3", pattern: patternLlama3, bos: "<|begin_of_text|>", eos: "<|end_of_text|>", addBOS: true,
	specials: func(first int32) []addedToken {
		names := []string{"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>", "<|reserved_special_token_2|>",
			"<|reserved_special_token_3|>", "<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>"}
		for i := 5; len(names) < 256; i++ {
			names = append(names, fmt.Sprintf("<|reserved_special_token_%d|>", i))
		}
		return append(specialTokens(first, names),
			specialToken(first+4, "<|finetune_right_pad_id|>"), specialToken(first+8, "<|eom_id|>"), specialToken(first+10, "<|python_tag|>"))
	},
}

// Qwen (the first), which normalizes text and adds neither BOS nor EOS.
var qwenFamily = family{
	name: "Qwen", pattern: patternQwen2, nfc: true, eos: "<|endoftext|>",
	specials: func(first int32) []addedToken {
		names := []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
		for i := range 205 {
			names = append(names, fmt.Sprintf("<|extra_%d|>", i))
		}
		return specialTokens(first, names)
	},
}

func specialToken(id int32, name string) addedToken {
	return addedToken{ID: id, Content: name, Special: true}
}

func specialTokens(first int32, names []string) []addedToken {
	var all []addedToken
	for i, name := range names {
		all = append(all, specialToken(first+int32(i), name))
	}
	return all
}

// familyOf tells the family by the number of ranks, or Qwen's by its file's name.
func familyOf(ranks int, name string) (family, error) {
	switch {
	case ranks == 128000:
		return llama3Family, nil
	case ranks == 151643 || name == "qwen.tiktoken":
		return qwenFamily, nil
	}
	return family{}, fmt.Errorf("a tiktoken file of %d ranks is of no family known (Llama 3 has 128000, Qwen 151643), and its pattern is not in the file; use the model's tokenizer.json", ranks)
}

func (t *Tokenizer) useTiktoken(data []byte, name string, s *settings) error {
	vocab, err := parseRanks(data)
	if err != nil {
		return err
	}
	f, err := familyOf(len(vocab), name)
	if err != nil {
		return err
	}
	p, err := newRankPipeline(vocab, f, s)
	if err != nil {
		return err
	}
	t.scheme = p
	return t.setEnds(s, defaults{bos: f.bos, eos: f.eos, addBOS: f.addBOS})
}

// parseRanks reads the lines into a vocabulary in the byte-level alphabet.
func parseRanks(data []byte) (map[string]int64, error) {
	vocab, used := map[string]int64{}, map[int64]bool{}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			continue
		}
		token, rank, ok := rankLine(text)
		if !ok {
			return nil, fmt.Errorf("line %d: %.60q is not a base64 token and its rank", number, text)
		}
		if token = toByteChars(token); used[rank] {
			return nil, fmt.Errorf("line %d: rank %d is given twice", number, rank)
		}
		if _, twice := vocab[token]; twice {
			return nil, fmt.Errorf("line %d: the token is given twice", number)
		}
		vocab[token], used[rank] = rank, true
	}
	for b := range 256 {
		if _, ok := vocab[byteChars[b]]; !ok {
			return nil, fmt.Errorf("there is no token for the single byte 0x%02X", b)
		}
	}
	return vocab, nil
}

func newRankPipeline(vocab map[string]int64, f family, s *settings) (*pipeline, error) {
	find, err := regexPattern(f.pattern)
	if err != nil {
		return nil, err
	}
	p := &pipeline{
		model:  &bpe{unk: noID, byRank: true, whole: true},
		pre:    []preTokenizer{&splitter{find: find, behavior: "isolated"}, byteLevel{}},
		decode: decodeChain{byteLevel: true},
	}
	if f.nfc {
		p.normalize = func(s string) string { return unicodeForm(norm.NFC, s) }
	}
	if err := p.model.setVocab(vocab); err != nil {
		return nil, err
	}
	p.setAdded(p.withSettings(f.specials(int32(len(p.model.tokens))), s))
	return p, nil
}
