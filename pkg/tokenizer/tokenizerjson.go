package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// jsonTokenizer is tokenizer.json.
type jsonTokenizer struct {
	Version       string          `json:"version"`
	AddedTokens   []jsonAdded     `json:"added_tokens"`
	Normalizer    *jsonComponent  `json:"normalizer"`
	PreTokenizer  *jsonComponent  `json:"pre_tokenizer"`
	PostProcessor *jsonComponent  `json:"post_processor"`
	Decoder       *jsonComponent  `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

type jsonAdded struct {
	ID int32 `json:"id"`
	addedToken
}

// jsonComponent has the keys of every normalizer, pre-tokenizer, post-processor and decoder; Type says which count.
type jsonComponent struct {
	Type string `json:"type"`

	Normalizers   []*jsonComponent `json:"normalizers"`
	PreTokenizers []*jsonComponent `json:"pretokenizers"`
	Processors    []*jsonComponent `json:"processors"`
	Decoders      []*jsonComponent `json:"decoders"`

	Pattern          jsonPattern `json:"pattern"`
	Content          *string     `json:"content"`
	Prepend          string      `json:"prepend"`
	StripLeft        bool        `json:"strip_left"`
	StripRight       bool        `json:"strip_right"`
	Behavior         string      `json:"behavior"`
	Invert           bool        `json:"invert"`
	AddPrefixSpace   *bool       `json:"add_prefix_space"`
	UseRegex         *bool       `json:"use_regex"`
	IndividualDigits bool        `json:"individual_digits"`
	Replacement      string      `json:"replacement"`
	PrependScheme    string      `json:"prepend_scheme"`
	Split            *bool       `json:"split"`
	Start            int         `json:"start"`
	Stop             int         `json:"stop"`

	Single        []jsonTemplatePiece          `json:"single"`
	SpecialTokens map[string]jsonTemplateToken `json:"special_tokens"`
}

type jsonPattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

type jsonTemplatePiece struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
}

type jsonTemplateToken struct {
	IDs []int32 `json:"ids"`
}

type jsonBPE struct {
	Type                    string           `json:"type"`
	Dropout                 *float64         `json:"dropout"`
	UnkToken                *string          `json:"unk_token"`
	ContinuingSubwordPrefix *string          `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string          `json:"end_of_word_suffix"`
	FuseUnk                 bool             `json:"fuse_unk"`
	ByteFallback            bool             `json:"byte_fallback"`
	IgnoreMerges            bool             `json:"ignore_merges"`
	Vocab                   map[string]int64 `json:"vocab"`
	Merges                  []mergePair      `json:"merges"`
}

// mergePair is a merge, written "a b" or ["a", "b"].
type mergePair [2]string

func (p *mergePair) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		var parts []string
		if err := json.Unmarshal(data, &parts); err != nil {
			return err
		}
		if len(parts) != 2 {
			return fmt.Errorf("merge %s has %d parts, not 2", data, len(parts))
		}
		*p = mergePair(parts)
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	var ok bool
	if *p, ok = splitMerge(s); !ok {
		return fmt.Errorf("merge %q is not two parts with one space between", s)
	}
	return nil
}

func splitMerge(line string) (mergePair, bool) {
	a, b, ok := strings.Cut(line, " ")
	return mergePair{a, b}, ok && !strings.Contains(b, " ")
}

// parseTokenizerJSON reads tokenizer.json into a pipeline. The tokens that s knows are added to its own.
func parseTokenizerJSON(data []byte, s *settings) (*pipeline, error) {
	var j jsonTokenizer
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, err
	}
	if j.Version != "" && j.Version != "1.0" {
		return nil, fmt.Errorf("version %q is not supported; 1.0 is", j.Version)
	}
	p := &pipeline{}
	var err error
	if p.model, err = parseBPE(j.Model); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if j.Normalizer != nil {
		if p.normalize, err = newNormalizer(j.Normalizer); err != nil {
			return nil, err
		}
	}
	if err = p.addPreTokenizer(j.PreTokenizer); err != nil {
		return nil, err
	}
	if err = p.addPostProcessor(j.PostProcessor); err != nil {
		return nil, err
	}
	if p.decode, err = newDecodeChain(j.Decoder); err != nil {
		return nil, err
	}
	tokens, err := p.numberAdded(j.AddedTokens)
	if err != nil {
		return nil, err
	}
	p.setAdded(p.withSettings(tokens, s))
	return p, nil
}

func parseBPE(data json.RawMessage) (*bpe, error) {
	var kind struct {
		Type   string          `json:"type"`
		Merges json.RawMessage `json:"merges"`
	}
	if len(data) == 0 {
		return nil, errors.New("is missing")
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, err
	}
	if kind.Type != "BPE" && !(kind.Type == "" && kind.Merges != nil) {
		return nil, fmt.Errorf("type %q is not supported; BPE is", kind.Type)
	}
	var j jsonBPE
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, err
	}
	for name, v := range map[string]*string{"continuing_subword_prefix": j.ContinuingSubwordPrefix, "end_of_word_suffix": j.EndOfWordSuffix} {
		if v != nil && *v != "" {
			return nil, fmt.Errorf("%s %q is not supported", name, *v)
		}
	}
	if j.Dropout != nil && *j.Dropout != 0 {
		return nil, fmt.Errorf("dropout %v makes ids random; set it to null", *j.Dropout)
	}
	m := &bpe{unk: noID, fuseUnk: j.FuseUnk, byteFallback: j.ByteFallback, whole: j.IgnoreMerges}
	if err := m.setVocab(j.Vocab); err != nil {
		return nil, err
	}
	if j.UnkToken != nil {
		id, ok := m.ids[*j.UnkToken]
		if !ok {
			return nil, fmt.Errorf("unk_token %q is not in the vocabulary", *j.UnkToken)
		}
		m.unk = id
	}
	return m, m.setMerges(j.Merges)
}

// numberAdded gives the added tokens their ids as tokenizers does: the vocabulary's where it has the token, else the next
// free one in the file's order. The file's own ids are what that gives, unless the file was edited badly.
func (p *pipeline) numberAdded(added []jsonAdded) ([]addedToken, error) {
	next, tokens, seen := int32(len(p.model.ids)), []addedToken{}, map[string]bool{}
	for _, a := range added {
		t := a.addedToken
		if t.Content == "" || seen[t.Content] {
			continue
		}
		id, ok := p.model.ids[t.Content]
		if !ok {
			id, next = next, next+1
		}
		if id != a.ID {
			return nil, fmt.Errorf("added token %q says id %d, but the vocabulary makes it %d", t.Content, a.ID, id)
		}
		t.ID, seen[t.Content] = id, true
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// withSettings adds the tokens of the configuration files that tokens lacks. The vocabulary's id wins over a file's.
func (p *pipeline) withSettings(tokens []addedToken, s *settings) []addedToken {
	seen := map[string]bool{}
	for _, t := range tokens {
		seen[t.Content] = true
	}
	for _, t := range s.tokens(p.id) {
		if seen[t.Content] {
			continue
		}
		if id, ok := p.model.ids[t.Content]; ok {
			t.ID = id
		}
		tokens = append(tokens, t)
	}
	return tokens
}
