package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// byteChars maps each byte to the printable character that stands for it in a byte-level vocabulary (GPT-2's table:
// printable Latin-1 bytes stand for themselves, the others for U+0100 onwards in order). charBytes is the inverse.
var byteChars, charBytes = func() (chars [256]string, bytes map[rune]byte) {
	bytes = make(map[rune]byte, 256)
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r = next
			next++
		}
		chars[b], bytes[r] = string(r), byte(b)
	}
	return chars, bytes
}()

// toByteChars spells the bytes of s in the byte-level alphabet.
func toByteChars(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for i := range len(s) {
		b.WriteString(byteChars[s[i]])
	}
	return b.String()
}

// appendTokenBytes appends the bytes a byte-level token stands for: its own UTF-8 where it has a character outside the alphabet.
func appendTokenBytes(dst []byte, token string) []byte {
	n := len(dst)
	for _, r := range token {
		b, ok := charBytes[r]
		if !ok {
			return append(dst[:n], token...)
		}
		dst = append(dst, b)
	}
	return dst
}

const replacement = "\uFFFD"

// invalidLen returns how many bytes at the start of p, which does not begin a valid character, one replacement character
// stands for: the longest prefix of some valid character, at least 1 (Unicode 15, 3.9, "maximal subpart").
// more says that p ends inside what may yet become a character.
func invalidLen(p []byte) (n int, more bool) {
	if len(p) == 0 || p[0] < 0xC2 || p[0] > 0xF4 {
		return 1, false
	}
	need := 2
	lo, hi := byte(0x80), byte(0xBF)
	switch b := p[0]; {
	case b >= 0xF0:
		need = 4
	case b >= 0xE0:
		need = 3
	}
	switch p[0] { // no overlong forms, no surrogates, nothing above U+10FFFF
	case 0xE0:
		lo = 0xA0
	case 0xED:
		hi = 0x9F
	case 0xF0:
		lo = 0x90
	case 0xF4:
		hi = 0x8F
	}
	for n = 1; n < need; n++ {
		if n == len(p) {
			return n, true
		}
		if p[n] < lo || p[n] > hi {
			return n, false
		}
		lo, hi = 0x80, 0xBF
	}
	return n, false
}

// How appendChars reads malformed bytes.
const (
	perByte = 1 << iota // one U+FFFD a byte, SentencePiece's way; else one a maximal subpart, Unicode's and Rust's
	final               // no more bytes follow
)

// appendChars moves the characters of pending to out, malformed bytes as U+FFFD, and returns what is left: the start of
// a character that more bytes may complete.
func appendChars(out, pending []byte, how int) (text, rest []byte) {
	for len(pending) > 0 {
		r, size := utf8.DecodeRune(pending)
		if r != utf8.RuneError || size > 1 {
			out, pending = append(out, pending[:size]...), pending[size:]
			continue
		}
		n, more := invalidLen(pending)
		if more && how&final == 0 {
			return out, pending
		}
		if how&perByte != 0 {
			n = 1
		}
		out, pending = append(out, replacement...), pending[n:]
	}
	return out, nil
}

// validText returns s with malformed bytes as U+FFFD, as a reader that decodes with replacement gives it.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out, _ := appendChars(nil, []byte(s), final)
	return string(out)
}
