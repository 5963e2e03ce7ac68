package dataset

import (
	"bytes"
	"slices"
	"strconv"

	"sextant/pkg/spec"
)

// sieve passes the rows that can surely be rendered, by a look at their JSON: each column that the prompt names is there and holds what
// its place takes. It makes a large file open fast. What it does not pass may still be good: such a row is rendered to find out, and
// only rendering tells what is wrong with it.
type sieve struct {
	scalars []string // columns that must hold a text, a number or a boolean
	answer  string   // "" for rolling
	choices string   // "" where there are none
	labels  []string // that the answer must be one of, where there are no choices; nil: any text or list of texts
	empty   bool     // an empty option may make an empty continuation
}

// newSieve makes the sieve of a program, or nil where a row's columns do not tell enough: they are made from others, or looked into.
func newSieve(p *program) *sieve {
	s := &sieve{}
	if len(p.makers) > 0 || p.partial {
		return nil
	}
	if p.answer != nil && p.d.Mode != spec.Rolling {
		s.answer = p.answer.name
	}
	if p.d.Mode != spec.Gen {
		s.labels = p.labels
	}
	chosen := "" // what stands for an option, or is left blank, is no column of the row
	switch {
	case p.d.Mode == spec.Gen:
		chosen = p.answer.name
	case p.choices != nil && p.labelled == nil:
		s.choices = p.choices.name
		s.empty = !slices.ContainsFunc(p.choice, func(one piece) bool { return one.text != "" })
		chosen = choiceName
	}
	ok := s.take(p.main.bodies(), chosen) && s.take(p.context.bodies(), "") && s.take([]body{p.choice}, chosen)
	for _, t := range p.labelled {
		ok = ok && s.take(t.bodies(), "")
	}
	for _, r := range []*ref{p.answer, p.choices} {
		ok = ok && (r == nil || len(r.path) == 0)
	}
	if !ok {
		return nil
	}
	return s
}

// take adds the columns that texts name, and says whether each is named as a whole.
func (s *sieve) take(texts []body, chosen string) bool {
	for _, text := range texts {
		for _, p := range text {
			if p.ref == nil || p.ref.name == chosen {
				continue
			}
			if len(p.ref.path) > 0 {
				return false
			}
			if !slices.Contains(s.scalars, p.ref.name) {
				s.scalars = append(s.scalars, p.ref.name)
			}
		}
	}
	return true
}

// passes says that a row, which is one valid JSON object, can be rendered. A nil sieve passes none.
func (s *sieve) passes(row []byte) bool {
	if s == nil {
		return false
	}
	for _, name := range s.scalars {
		if !isScalar(field(row, name)) {
			return false
		}
	}
	if s.answer == "" {
		return true
	}
	answer := field(row, s.answer)
	if s.choices == "" {
		return s.isLabel(answer)
	}
	n, ok := s.options(field(row, s.choices))
	return ok && isIndex(answer, n)
}

func (s *sieve) isLabel(answer []byte) bool {
	if s.labels == nil {
		n, ok := listLength(answer, isScalar)
		return isScalar(answer) || ok && n > 0
	}
	text, ok := plain(answer)
	return ok && slices.ContainsFunc(s.labels, func(l string) bool { return l == string(text) })
}

func (s *sieve) options(list []byte) (int, bool) {
	return listLength(list, func(v []byte) bool { return isScalar(v) && !(s.empty && string(v) == `""`) })
}

// isIndex says that a value is one of the labels "0", "1", ... of n options.
func isIndex(v []byte, n int) bool {
	text, ok := plain(v)
	if !ok {
		return false
	}
	i, err := strconv.Atoi(string(text))
	return err == nil && i >= 0 && i < n && strconv.Itoa(i) == string(text)
}

// isScalar says that a JSON value is a string, a number or a boolean.
func isScalar(v []byte) bool {
	return len(v) > 0 && v[0] != '{' && v[0] != '[' && v[0] != 'n'
}

// plain is a scalar's text, where that can be had without decoding.
func plain(v []byte) ([]byte, bool) {
	if !isScalar(v) || bytes.IndexByte(v, '\\') >= 0 {
		return nil, false
	}
	if v[0] == '"' {
		return v[1 : len(v)-1], true
	}
	return v, true
}

// field finds the value of a key in a JSON object: of equal keys the last, as decoding does. nil: it is not there, or a
// key holds an escape and may be any.
func field(row []byte, name string) []byte {
	var found []byte
	for i := space(row, 1); row[i] != '}'; {
		end := valueEnd(row, i)
		key := row[i+1 : end-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			return nil
		}
		i = space(row, space(row, end)+1) // over the colon
		end = valueEnd(row, i)
		if string(key) == name {
			found = row[i:end]
		}
		i = next(row, end)
	}
	return found
}

// listLength counts a JSON list's items; false: it is no list, or an item is not what is wanted.
func listLength(list []byte, wanted func([]byte) bool) (n int, ok bool) {
	if len(list) == 0 || list[0] != '[' {
		return 0, false
	}
	for i := space(list, 1); list[i] != ']'; n++ {
		end := valueEnd(list, i)
		if !wanted(list[i:end]) {
			return 0, false
		}
		i = next(list, end)
	}
	return n, true
}

// next is where the value after a comma begins, or the closing bracket.
func next(b []byte, i int) int {
	i = space(b, i)
	if b[i] == ',' {
		i = space(b, i+1)
	}
	return i
}

func space(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r' {
		i++
	}
	return i
}

// valueEnd is the end of the valid JSON value that begins at i.
func valueEnd(b []byte, i int) int {
	depth := 0
	for {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			i++
		default: // a number or a word
			for i++; i < len(b) && bytes.IndexByte(literalEnds, b[i]) < 0; i++ {
			}
		}
		if depth == 0 {
			return i
		}
	}
}

var literalEnds = []byte(",:]} \t\n\r")
