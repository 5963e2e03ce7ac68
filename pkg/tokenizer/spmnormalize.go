package tokenizer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// spaceSymbol stands for a space inside pieces.
const spaceSymbol = "\u2581"

// spmNormalizer is SentencePiece's normalizer: character map, white space, dummy prefix (normalizer.cc).
type spmNormalizer struct {
	spec        spmNormalizerSpec
	suffixSpace bool
	protect     *trie    // user-defined symbols, which pass as they are
	units       []uint32 // the character map's double array
	targets     []byte   // its replacement strings, each ended by a zero byte
}

func newSPMNormalizer(spec spmNormalizerSpec, suffixSpace bool, protect *trie) (*spmNormalizer, error) {
	n := &spmNormalizer{spec: spec, suffixSpace: suffixSpace, protect: protect}
	blob := spec.charsMap
	if len(blob) == 0 {
		return n, nil
	}
	if len(blob) <= 4 {
		return nil, fmt.Errorf("precompiled_charsmap has only %d bytes", len(blob))
	}
	size := binary.LittleEndian.Uint32(blob)
	blob = blob[4:]
	if uint64(size) >= uint64(len(blob))+4 || int(size) > len(blob) {
		return nil, fmt.Errorf("precompiled_charsmap: its trie wants %d bytes, there are %d", size, len(blob))
	}
	n.units = make([]uint32, size/4)
	for i := range n.units {
		n.units[i] = binary.LittleEndian.Uint32(blob[4*i:])
	}
	if n.targets = blob[size:]; len(n.targets) > 0 && n.targets[len(n.targets)-1] != 0 {
		return nil, errors.New("precompiled_charsmap: its last replacement is not ended")
	}
	return n, nil
}

// withoutDummyPrefix is the same normalizer adding no space in front.
func (n *spmNormalizer) withoutDummyPrefix() *spmNormalizer {
	c := *n
	c.spec.addDummyPrefix = false
	return &c
}

// lookup finds the longest rule of the character map that s begins with, and its replacement. The layout of a unit is
// Darts-clone's: the label in bits 0-7 and 31, the leaf flag in bit 8, the offset in bits 10-30, times 256 under bit 9.
func (n *spmNormalizer) lookup(s string) (length int, target []byte) {
	if len(n.units) == 0 {
		return 0, nil
	}
	offset := func(u uint32) uint32 { return (u >> 10) << ((u & (1 << 9)) >> 6) }
	at := offset(n.units[0])
	for i := 0; i < len(s); i++ {
		at ^= uint32(s[i])
		if at >= uint32(len(n.units)) {
			break
		}
		u := n.units[at]
		if u&(1<<31|0xFF) != uint32(s[i]) {
			break
		}
		at ^= offset(u)
		if u>>8&1 == 1 && at < uint32(len(n.units)) {
			if v := n.units[at] &^ (1 << 31); v < uint32(len(n.targets)) {
				length, target = i+1, n.targets[v:]
			}
		}
	}
	if end := bytes.IndexByte(target, 0); end >= 0 {
		target = target[:end]
	}
	return length, target
}

// prefix normalizes the start of s: what it becomes, and how many bytes of s that took.
func (n *spmNormalizer) prefix(s string) (to string, length int) {
	if l, _ := n.protect.longest(s); l > 0 {
		return s[:l], l
	}
	if l, target := n.lookup(s); l > 0 {
		return string(target), l
	}
	if r, l := utf8.DecodeRuneInString(s); r != utf8.RuneError || l > 1 {
		return s[:l], l
	}
	return replacement, 1
}

func (n *spmNormalizer) normalize(s string) string {
	space := " "
	if n.spec.escapeSpace {
		space = spaceSymbol
	}
	trim := n.spec.removeExtraSpace
	for trim && s != "" {
		to, l := n.prefix(s)
		if to != " " {
			break
		}
		s = s[l:]
	}
	if s == "" {
		return ""
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/2)
	if n.spec.addDummyPrefix && !n.suffixSpace {
		b.WriteString(space)
	}
	plain := n.protect == nil && len(n.units) == 0
	afterSpace := trim
	for s != "" {
		if plain && s[0] != ' ' && s[0] < utf8.RuneSelf { // the common case, without the look-ups
			b.WriteByte(s[0])
			s, afterSpace = s[1:], false
			continue
		}
		to, l := n.prefix(s)
		s = s[l:]
		if afterSpace {
			to = strings.TrimLeft(to, " ")
		}
		if to != "" {
			afterSpace = trim && to[len(to)-1] == ' '
			writeEscaped(&b, to, space)
		}
	}
	out := b.String()
	for trim && strings.HasSuffix(out, space) {
		out = out[:len(out)-len(space)]
	}
	if n.spec.addDummyPrefix && n.suffixSpace {
		out += space
	}
	return out
}

func writeEscaped(b *strings.Builder, s, space string) {
	for i := range len(s) {
		if s[i] == ' ' {
			b.WriteString(space)
		} else {
			b.WriteByte(s[i])
		}
	}
}
