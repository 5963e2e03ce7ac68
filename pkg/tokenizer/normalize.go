package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites text before it is cut. It is never given the empty text.
type normalizer func(text string) string

func newNormalizer(j *jsonComponent) (normalizer, error) {
	switch j.Type {
	case "Sequence":
		return newNormalizers(j.Normalizers)
	case "NFC":
		return func(s string) string { return unicodeForm(norm.NFC, s) }, nil
	case "NFD":
		return func(s string) string { return unicodeForm(norm.NFD, s) }, nil
	case "NFKC":
		return func(s string) string { return unicodeForm(norm.NFKC, s) }, nil
	case "NFKD":
		return func(s string) string { return unicodeForm(norm.NFKD, s) }, nil
	case "Lowercase":
		return lowercase, nil
	case "Prepend":
		return func(s string) string { return j.Prepend + s }, nil
	case "Replace":
		return newReplace(j)
	case "Strip":
		return func(s string) string {
			if j.StripLeft {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if j.StripRight {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		}, nil
	}
	return nil, fmt.Errorf("normalizer type %q is not supported", j.Type)
}

func newNormalizers(js []*jsonComponent) (normalizer, error) {
	var all []normalizer
	for i, j := range js {
		if j == nil {
			return nil, fmt.Errorf("normalizer %d of a Sequence is null", i)
		}
		n, err := newNormalizer(j)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return func(s string) string {
		for _, n := range all {
			if s != "" {
				s = n(s)
			}
		}
		return s
	}, nil
}

func newReplace(j *jsonComponent) (normalizer, error) {
	if j.Content == nil {
		return nil, errors.New("normalizer Replace: content is missing")
	}
	find, err := newPattern(j.Pattern)
	if err != nil {
		return nil, fmt.Errorf("normalizer Replace: %w", err)
	}
	if j.Pattern.String != nil {
		return func(s string) string { return strings.ReplaceAll(s, *j.Pattern.String, *j.Content) }, nil
	}
	return func(s string) string {
		var b strings.Builder
		for _, m := range find(s) {
			if m.hit {
				b.WriteString(*j.Content)
			} else {
				b.WriteString(s[m.start:m.stop])
			}
		}
		return b.String()
	}, nil
}

// lowercase maps character by character, without regard to what stands around one.
func lowercase(s string) string {
	return strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r == '\u0130' {
			return r // its lower case is two characters
		}
		return unicode.ToLower(r)
	}, s), "\u0130", "i\u0307")
}

// unicodeForm is the normalization form f of s. Where a run of marks is longer than 30, norm puts joiners into it, as the
// Stream-Safe Text Format has it and plain normalization does not; such text goes the long way.
func unicodeForm(f norm.Form, s string) string {
	const joiner = "\u034f" // which no form changes
	out := f.String(s)
	if strings.Count(out, joiner) > strings.Count(s, joiner) {
		return longForm(f, s)
	}
	return out
}

// longForm is unicodeForm for text with very long runs of marks, by the definition: decompose, order, compose
// (Unicode 15, 3.11).
func longForm(f norm.Form, s string) string {
	decompose := norm.NFD
	if f == norm.NFKC || f == norm.NFKD {
		decompose = norm.NFKD
	}
	var rs []rune
	for _, r := range s {
		rs = append(rs, []rune(decompose.String(string(r)))...)
	}
	ccc := make([]uint8, len(rs))
	for i, r := range rs {
		ccc[i] = norm.NFD.PropertiesString(string(r)).CCC()
	}
	for lo := 0; lo < len(rs); lo++ {
		hi := lo
		for hi < len(rs) && ccc[hi] != 0 {
			hi++
		}
		orderMarks(rs[lo:hi], ccc[lo:hi])
		lo = hi
	}
	if f == norm.NFC || f == norm.NFKC {
		rs = compose(rs, ccc)
	}
	return string(rs)
}

// orderMarks sorts marks by combining class, keeping the order of equals.
func orderMarks(rs []rune, ccc []uint8) {
	var sorted []rune
	var classes []uint8
	for c := 1; c < 256; c++ {
		for i := range rs {
			if ccc[i] == uint8(c) {
				sorted, classes = append(sorted, rs[i]), append(classes, ccc[i])
			}
		}
	}
	copy(rs, sorted)
	copy(ccc, classes)
}

func compose(rs []rune, ccc []uint8) []rune {
	out, starter, last := make([]rune, 0, len(rs)), -1, uint8(0)
	for i, r := range rs {
		if starter >= 0 && (last < ccc[i] || last == 0 && starter == len(out)-1) {
			if c := []rune(norm.NFC.String(string([]rune{out[starter], r}))); len(c) == 1 {
				out[starter] = c[0]
				continue
			}
		}
		out = append(out, r)
		last = ccc[i]
		if ccc[i] == 0 {
			starter = len(out) - 1
		}
	}
	return out
}
