package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// endOfText is GPT-2's only special token, both its BOS and its EOS.
const endOfText = "<|endoftext|>"

// useGPT2 reads vocab.json or encoder.json and the merges beside it.
func (t *Tokenizer) useGPT2(data []byte, path string, s *settings) error {
	var vocab map[string]int64
	if err := json.Unmarshal(data, &vocab); err != nil {
		return err
	}
	name := "merges.txt"
	if filepath.Base(path) == "encoder.json" {
		name = "vocab.bpe"
	}
	mergesPath := filepath.Join(filepath.Dir(path), name)
	lines, err := readFile(mergesPath)
	if err != nil {
		return err
	}
	merges, err := parseMerges(lines)
	if err != nil {
		return fmt.Errorf("%q: %w", mergesPath, err)
	}
	p := &pipeline{model: &bpe{unk: noID}, decode: decodeChain{byteLevel: true}}
	if err := p.model.setVocab(vocab); err != nil {
		return err
	}
	if err := p.model.setMerges(merges); err != nil {
		return fmt.Errorf("%q: %w", mergesPath, err)
	}
	def := defaults{eos: endOfText}
	if err := p.frameGPT2(s, &def); err != nil {
		return err
	}
	s.named = append(s.named, namedToken{addedToken{Content: endOfText, Special: true}})
	p.setAdded(p.withSettings(nil, s))
	t.scheme, t.files = p, append(t.files, mergesPath)
	return t.setEnds(s, def)
}

// frameGPT2 sets what the two files do not say: it follows from the tokenizer class, or from GPT-2's own token.
func (p *pipeline) frameGPT2(s *settings, def *defaults) error {
	space := s.addPrefixSpace != nil && *s.addPrefixSpace
	switch strings.TrimSuffix(s.class, "Fast") {
	case "":
		if _, ok := p.model.ids[endOfText]; !ok {
			return errors.New("its vocabulary is not GPT-2's (no " + endOfText + "), so its pre-tokenizer is unknown; put a tokenizer_config.json with the tokenizer_class beside it, or use tokenizer.json")
		}
		fallthrough
	case "GPT2Tokenizer":
		p.pre, def.bos = []preTokenizer{byteLevel{addPrefixSpace: space, split: true}}, endOfText
	case "Qwen2Tokenizer":
		find, err := regexPattern(patternQwen2)
		if err != nil {
			return err
		}
		p.pre = []preTokenizer{&splitter{find: find, behavior: "isolated"}, byteLevel{addPrefixSpace: space}}
		p.normalize = func(s string) string { return unicodeForm(norm.NFC, s) }
	default:
		return fmt.Errorf("tokenizer_class %q with vocab.json and merges.txt is not supported; GPT2Tokenizer and Qwen2Tokenizer are", s.class)
	}
	return nil
}

func parseMerges(data []byte) ([]mergePair, error) {
	var merges []mergePair
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" || strings.HasPrefix(text, "#version") {
			continue
		}
		pair, ok := splitMerge(text)
		if !ok {
			return nil, fmt.Errorf("line %d: merge %.60q is not two parts with one space between", number, text)
		}
		merges = append(merges, pair)
	}
	return merges, nil
}
