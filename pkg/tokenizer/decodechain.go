package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// decodeChain is tokenizer.json's decoder, in the one order all known files use: replacements, then bytes, then the
// space at the very front. That order can be followed token by token.
type decodeChain struct {
	join         string      // between tokens: a space where there is no decoder at all
	replace      [][2]string // in each token
	byteFallback bool        // "<0x0A>" is a byte
	byteLevel    bool
	metaspace    string // written as a space, or as nothing in the first token where dropFirst is set
	dropFirst    bool
	strip        string // one character, taken off the front of the text at most stripMax times
	stripMax     int
}

func newDecodeChain(j *jsonComponent) (decodeChain, error) {
	if j == nil {
		return decodeChain{join: " "}, nil
	}
	steps := []*jsonComponent{j}
	if j.Type == "Sequence" {
		steps = j.Decoders
	}
	var c decodeChain
	stage := 0 // Replace, then ByteFallback, then Fuse, then Strip; ByteLevel and Metaspace stand alone
	for i, s := range steps {
		if s == nil {
			return c, fmt.Errorf("decoder %d of a Sequence is null", i)
		}
		order, known := map[string]int{"Replace": 1, "ByteFallback": 2, "Fuse": 3, "Strip": 4, "ByteLevel": 9, "Metaspace": 9}[s.Type]
		if !known {
			return c, fmt.Errorf("decoder type %q is not supported", s.Type)
		}
		if order < stage || order == stage && order != 1 || order == 9 && len(steps) > 1 {
			return c, fmt.Errorf("decoder %s cannot stand at place %d of its Sequence; Replace, ByteFallback, Fuse, Strip is the order supported", s.Type, i+1)
		}
		if order == 4 && stage != 3 {
			return c, errors.New("decoder Strip is supported after Fuse only")
		}
		if stage = order; order == 3 && c.stripMax > 0 {
			return c, errors.New("decoder Fuse after Strip is not supported")
		}
		if err := c.add(s); err != nil {
			return c, fmt.Errorf("decoder %s: %w", s.Type, err)
		}
	}
	return c, nil
}

func (c *decodeChain) add(j *jsonComponent) error {
	switch j.Type {
	case "Replace":
		if j.Pattern.String == nil || *j.Pattern.String == "" || j.Content == nil {
			return errors.New(`only {"pattern": {"String": ...}, "content": ...} is supported`)
		}
		c.replace = append(c.replace, [2]string{*j.Pattern.String, *j.Content})
	case "ByteFallback":
		c.byteFallback = true
	case "ByteLevel":
		c.byteLevel = true
	case "Metaspace":
		m, err := newMetaspace(j)
		c.metaspace, c.dropFirst = m.replacement, m.prepend != "never"
		return err
	case "Strip":
		if j.Stop != 0 || j.Start < 0 || j.Content == nil || utf8.RuneCountInString(*j.Content) != 1 {
			return errors.New("only content of one character, start >= 0 and stop 0 are supported")
		}
		c.strip, c.stripMax = *j.Content, j.Start
	}
	return nil
}

// chainStream decodes ids one by one through a pipeline's chain.
type chainStream struct {
	*pipeline
	out      []byte
	pending  []byte // bytes that are not yet characters
	start    bool   // no token has come yet
	stripped int    // characters taken off the front; -1: the front has passed
}

func (t *chainStream) push(id int32) {
	token, ok := t.token(id)
	if !ok {
		return
	}
	c := &t.decode
	first := t.start
	t.start = false
	if c.byteLevel {
		t.pending = appendTokenBytes(t.pending, token)
		t.out, t.pending = appendChars(t.out, t.pending, 0)
		return
	}
	for _, r := range c.replace {
		token = strings.ReplaceAll(token, r[0], r[1])
	}
	if c.byteFallback {
		if b, ok := hexByte(token); ok {
			t.pending = append(t.pending, b)
			return
		}
		t.write(fallbackText(t.pending))
		t.pending = t.pending[:0]
	}
	if c.metaspace != "" {
		space := " "
		if first && c.dropFirst {
			space = ""
		}
		token = strings.ReplaceAll(token, c.metaspace, space)
	}
	if !first {
		t.write(c.join)
	}
	t.write(token)
}

// write appends text, less what Strip takes off the front.
func (t *chainStream) write(text string) {
	for t.stripped >= 0 && t.stripped < t.decode.stripMax && text != "" {
		rest, ok := strings.CutPrefix(text, t.decode.strip)
		if !ok {
			t.stripped = -1
			break
		}
		text = rest
		t.stripped++
	}
	t.out = append(t.out, text...)
}

func (t *chainStream) settled() []byte { return t.out }

func (t *chainStream) rest() string {
	if t.decode.byteLevel {
		tail, _ := appendChars(nil, t.pending, final)
		return string(tail)
	}
	end := *t
	end.out = nil
	end.write(fallbackText(t.pending))
	return string(end.out)
}

// fallbackText is the text of a run of byte tokens: one bad byte makes each of them U+FFFD. So a run is known only at its end.
func fallbackText(run []byte) string {
	if utf8.Valid(run) {
		return string(run)
	}
	return strings.Repeat(replacement, len(run))
}

// hexByte reads "<0x0A>" as tokenizers does, which takes hexadecimal digits of either case.
func hexByte(token string) (byte, bool) {
	if len(token) != 6 {
		return 0, false
	}
	return byteOfPiece("<0x" + strings.ToUpper(token[3:5]) + token[5:])
}
