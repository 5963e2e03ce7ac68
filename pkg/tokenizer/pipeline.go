package tokenizer

import (
	"errors"
	"fmt"
	"slices"
)

// pipeline is tokenizers' chain: added tokens, normalizer, pre-tokenizers, BPE model, decoder. tokenizer.json, tiktoken
// files and GPT-2 directories are all read into one.
type pipeline struct {
	model     *bpe
	normalize normalizer // nil: none
	pre       []preTokenizer
	decode    decodeChain
	template  template

	raw        *addedSet // added tokens matched in the text as given
	normalized *addedSet // those matched after normalization
	added      map[int32]*addedToken
	addedIDs   map[string]int32
}

// template is what the post-processor puts around a prompt.
type template struct {
	set            bool // there is a TemplateProcessing
	prefix, suffix []int32
}

func (p *pipeline) addPreTokenizer(j *jsonComponent) error {
	if j == nil {
		return nil
	}
	var cut preTokenizer
	var err error
	switch j.Type {
	case "Sequence":
		for i, k := range j.PreTokenizers {
			if k == nil {
				return fmt.Errorf("pre_tokenizer %d of a Sequence is null", i)
			}
			if err := p.addPreTokenizer(k); err != nil {
				return err
			}
		}
		return nil
	case "Split":
		cut, err = newSplitter(j.Pattern, j.Behavior, j.Invert)
	case "ByteLevel":
		cut = byteLevel{addPrefixSpace: j.AddPrefixSpace == nil || *j.AddPrefixSpace, split: j.UseRegex == nil || *j.UseRegex}
	case "Digits":
		cut = digits{j.IndividualDigits}
	case "Metaspace":
		cut, err = newMetaspace(j)
	default:
		return fmt.Errorf("pre_tokenizer type %q is not supported", j.Type)
	}
	if err != nil {
		return fmt.Errorf("pre_tokenizer %s: %w", j.Type, err)
	}
	p.pre = append(p.pre, cut)
	return nil
}

func (p *pipeline) addPostProcessor(j *jsonComponent) error {
	if j == nil {
		return nil
	}
	switch j.Type {
	case "ByteLevel": // moves offsets only
		return nil
	case "Sequence":
		for i, k := range j.Processors {
			if k == nil {
				return fmt.Errorf("post_processor %d of a Sequence is null", i)
			}
			if err := p.addPostProcessor(k); err != nil {
				return err
			}
		}
		return nil
	case "TemplateProcessing":
		return p.addTemplate(j)
	}
	return fmt.Errorf("post_processor type %q is not supported", j.Type)
}

func (p *pipeline) addTemplate(j *jsonComponent) error {
	var before, after []int32
	sequences := 0
	for _, part := range j.Single {
		switch {
		case part.Sequence != nil && part.Sequence.ID == "A":
			sequences++
		case part.SpecialToken != nil:
			token, ok := j.SpecialTokens[part.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("post_processor TemplateProcessing: special token %q has no ids", part.SpecialToken.ID)
			}
			if sequences == 0 {
				before = append(before, token.IDs...)
			} else {
				after = append(after, token.IDs...)
			}
		default:
			return errors.New("post_processor TemplateProcessing: single has a part that is neither a special token nor sequence A")
		}
	}
	if sequences != 1 {
		return fmt.Errorf("post_processor TemplateProcessing: single has sequence A %d times, not once", sequences)
	}
	p.template.set = true
	p.template.prefix = append(before, p.template.prefix...)
	p.template.suffix = append(p.template.suffix, after...)
	return nil
}

// setAdded indexes the added tokens, those marked normalized by their normalized text.
func (p *pipeline) setAdded(tokens []addedToken) {
	p.added, p.addedIDs = make(map[int32]*addedToken, len(tokens)), make(map[string]int32, len(tokens))
	for i := range tokens {
		t := &tokens[i]
		if t.shown = t.Content; t.Normalized {
			t.shown = p.normalizeText(t.Content)
		}
		p.added[t.ID], p.addedIDs[t.Content] = t, t.ID
	}
	normalized := func(t addedToken) bool { return t.Normalized }
	p.raw = newAddedSet(slices.DeleteFunc(slices.Clone(tokens), normalized), nil)
	p.normalized = newAddedSet(slices.DeleteFunc(slices.Clone(tokens), func(t addedToken) bool { return !t.Normalized }),
		func(t addedToken) string { return t.shown })
}

func (p *pipeline) normalizeText(s string) string {
	if p.normalize == nil || s == "" {
		return s
	}
	return p.normalize(s)
}

func (p *pipeline) encode(dst []int32, text string, specials bool) []int32 {
	w := newMerger()
	defer w.free()
	var a, b []piece
	for _, outer := range p.raw.split(validText(text), specials) {
		if outer.token != nil {
			dst = append(dst, outer.token.ID)
			continue
		}
		for _, inner := range p.normalized.split(p.normalizeText(outer.text), specials) {
			if inner.token != nil {
				dst = append(dst, inner.token.ID)
				continue
			}
			a = append(a[:0], piece{text: inner.text, first: outer.start == 0 && inner.start == 0})
			for _, pre := range p.pre {
				b = b[:0]
				for _, s := range a {
					if s.text != "" {
						b = pre.cut(b, s)
					}
				}
				a, b = b, a
			}
			for _, s := range a {
				if s.text != "" {
					dst = p.model.encode(dst, s.text, w)
				}
			}
		}
	}
	return dst
}

func (p *pipeline) size() int {
	n := len(p.model.tokens)
	for id := range p.added {
		n = max(n, int(id)+1)
	}
	return n
}

func (p *pipeline) id(token string) (int32, bool) {
	if id, ok := p.addedIDs[token]; ok {
		return id, true
	}
	id, ok := p.model.ids[token]
	return id, ok
}

// token returns an id's token as the decoder takes it; false for special tokens and ids without one.
func (p *pipeline) token(id int32) (string, bool) {
	if a := p.added[id]; a != nil {
		return a.shown, !a.Special
	}
	if id < 0 || int(id) >= len(p.model.tokens) {
		return "", false
	}
	t := p.model.tokens[id]
	return t, t != ""
}

func (p *pipeline) newStream() stream { return &chainStream{pipeline: p, start: true} }

// tokenText is an id's token as text, special or not.
func (p *pipeline) tokenText(id int32) string {
	if a := p.added[id]; a != nil {
		return a.Content
	}
	t, _ := p.token(id)
	return t
}
