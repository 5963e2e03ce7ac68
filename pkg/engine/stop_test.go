package engine

import (
	"testing"
	"unicode/utf8"
)

// byteDecoder has a token for each byte. It holds back a character until it is whole, and, when late is set, everything to the end.
type byteDecoder struct {
	all  []byte
	told int
	late bool
}

func (d *byteDecoder) Append(id int32) string {
	d.all = append(d.all, byte(id))
	if fresh := d.all[d.told:]; utf8.Valid(fresh) && !d.late {
		d.told = len(d.all)
		return string(fresh)
	}
	return ""
}

func (d *byteDecoder) Text() string { return string(d.all) }

// A stop string is found wherever it lies among the tokens: over several of them, inside one character's bytes never, the first of several.
func TestStopper(t *testing.T) {
	for _, c := range []struct {
		generated string
		stops     []string
		text      string
		after     int // bytes until append says stop; 0: it does not
		stopped   bool
		late      bool
	}{
		{"one\n\ntwo", []string{"\n\n"}, "one", 5, true, false},
		{"aaab", []string{"aab"}, "a", 4, true, false},
		{"答案是乙。好", []string{"。"}, "答案是乙", 15, true, false},
		{"答案是乙。好", []string{"乙。", "案"}, "答", 6, true, false},
		{"\u00e9", []string{"\u00c3"}, "\u00e9", 0, false, false}, // its first byte is that of the stop string
		{"xyz", []string{"yz", "xyz"}, "", 3, true, false},
		{"xyz", []string{"", "zz"}, "xyz", 0, false, false},
		{"xyz", nil, "xyz", 0, false, false},
		{"x。y", []string{"。"}, "x", 0, true, true},
		{"x\xe3\x80", []string{"。"}, "x\xe3\x80", 0, false, false},
	} {
		s, after := newStopper(&byteDecoder{late: c.late}, c.stops), 0
		for i := range len(c.generated) {
			if s.append(int32(c.generated[i])) {
				after = i + 1
				break
			}
		}
		text, stopped := s.text()
		if text != c.text || stopped != c.stopped || after != c.after {
			t.Errorf("%q with %q: %q, %v after %d bytes; want %q, %v after %d", c.generated, c.stops, text, stopped, after, c.text, c.stopped, c.after)
		}
	}
}
