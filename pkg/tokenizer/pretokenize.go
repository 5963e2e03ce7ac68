package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// piece is a stretch of text on its way to the model.
type piece struct {
	text  string
	first bool // it begins where the original text does
}

// preTokenizer cuts a piece, appending its parts to dst. Empty parts are dropped by the caller.
type preTokenizer interface {
	cut(dst []piece, p piece) []piece
}

// splitter cuts at a pattern (tokenizers' Split).
type splitter struct {
	find     pattern
	behavior string
	invert   bool
}

func newSplitter(p jsonPattern, behavior string, invert bool) (*splitter, error) {
	behavior = strings.ToLower(strings.ReplaceAll(behavior, "_", ""))
	if !slices.Contains([]string{"isolated", "removed", "contiguous", "mergedwithprevious", "mergedwithnext"}, behavior) {
		return nil, fmt.Errorf("behavior %q is not supported", behavior)
	}
	find, err := newPattern(p)
	return &splitter{find, behavior, invert}, err
}

func (s *splitter) cut(dst []piece, p piece) []piece {
	ms := s.find(p.text)
	if s.invert {
		for i := range ms {
			ms[i].hit = !ms[i].hit
		}
	}
	for _, m := range merge(ms, s.behavior) {
		dst = append(dst, piece{text: p.text[m.start:m.stop], first: p.first && m.start == 0})
	}
	return dst
}

// merge joins or drops the stretches as the behavior says.
func merge(ms []match, behavior string) []match {
	out := ms[:0]
	switch behavior {
	case "isolated":
		return ms
	case "removed":
		for _, m := range ms {
			if !m.hit {
				out = append(out, m)
			}
		}
	case "contiguous":
		before := false
		for _, m := range ms {
			if hit := m.hit; hit == before && len(out) > 0 {
				out[len(out)-1].stop = m.stop
			} else {
				out = append(out, m)
			}
			before = m.hit
		}
	case "mergedwithprevious":
		before := false
		for _, m := range ms {
			if m.hit && !before && len(out) > 0 {
				out[len(out)-1].stop = m.stop
			} else {
				out = append(out, m)
			}
			before = m.hit
		}
	case "mergedwithnext":
		before := false
		out = make([]match, 0, len(ms))
		for _, m := range slices.Backward(ms) {
			if m.hit && !before && len(out) > 0 {
				out[len(out)-1].start = m.start
			} else {
				out = append(out, m)
			}
			before = m.hit
		}
		slices.Reverse(out)
	}
	return out
}

// byteLevel spells text in the byte-level alphabet, after cutting it with GPT-2's pattern where split is set.
type byteLevel struct{ addPrefixSpace, split bool }

func (b byteLevel) cut(dst []piece, p piece) []piece {
	if b.addPrefixSpace && !strings.HasPrefix(p.text, " ") {
		p.text = " " + p.text
	}
	if !b.split {
		p.text = toByteChars(p.text)
		return append(dst, p)
	}
	for at := 0; at < len(p.text); {
		stop := scanGPT2(p.text, at)
		dst = append(dst, piece{text: toByteChars(p.text[at:stop]), first: p.first && at == 0})
		at = stop
	}
	return dst
}

// digits cuts numbers off, each digit by itself where individual is set.
type digits struct{ individual bool }

func (d digits) cut(dst []piece, p piece) []piece {
	start, inside := 0, false
	for at, r := range p.text {
		n := unicode.IsNumber(r)
		if at > 0 && (n != inside || n && d.individual) {
			dst = append(dst, piece{text: p.text[start:at], first: p.first && start == 0})
			start = at
		}
		inside = n
	}
	return append(dst, piece{text: p.text[start:], first: p.first && start == 0})
}

// metaspace writes spaces as its replacement, may put one in front, and may cut before each.
type metaspace struct {
	replacement string
	prepend     string // always, first or never
	split       bool
}

func newMetaspace(j *jsonComponent) (metaspace, error) {
	m := metaspace{replacement: j.Replacement, prepend: j.PrependScheme, split: j.Split == nil || *j.Split}
	if m.prepend == "" {
		m.prepend = "always"
	}
	if j.AddPrefixSpace != nil && !*j.AddPrefixSpace {
		m.prepend = "never"
	}
	if utf8.RuneCountInString(m.replacement) != 1 {
		return m, fmt.Errorf("replacement %q is not one character", m.replacement)
	}
	if !slices.Contains([]string{"always", "first", "never"}, m.prepend) {
		return m, fmt.Errorf("prepend_scheme %q is not supported", m.prepend)
	}
	return m, nil
}

func (m metaspace) cut(dst []piece, p piece) []piece {
	p.text = strings.ReplaceAll(p.text, " ", m.replacement)
	if !strings.HasPrefix(p.text, m.replacement) && (m.prepend == "always" || m.prepend == "first" && p.first) {
		p.text = m.replacement + p.text
	}
	if !m.split {
		return append(dst, p)
	}
	for _, c := range merge(literalPattern(m.replacement)(p.text), "mergedwithnext") {
		dst = append(dst, piece{text: p.text[c.start:c.stop], first: p.first && c.start == 0})
	}
	return dst
}
