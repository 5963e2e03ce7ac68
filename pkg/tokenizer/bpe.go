package tokenizer

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// bpe is tokenizers' BPE model: pieces of text to ids.
type bpe struct {
	ids    map[string]int32
	tokens []string // by id; "" where an id has no token
	// How pairs merge: by a table of pairs of ids, or, where byRank is set, by the id of the pair's text (tiktoken,
	// whose ids are ranks).
	pairs  map[uint64]mergeRule
	byRank bool

	unk          int32 // for characters without a token; noID: they are dropped
	fuseUnk      bool
	byteFallback bool
	bytes        [256]int32 // of "<0x00>"...; noID where missing
	whole        bool       // a piece that is a token is taken whole (ignore_merges)
	words        bool       // no merge crosses from a character into a space symbol: words merge apart from each other
}

type mergeRule struct{ rank, id int32 }

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

// maxSparse is how many ids beyond the number of tokens a vocabulary may have. It bounds the table of tokens.
const maxSparse = 1 << 20

// setVocab checks the vocabulary and builds the table of tokens.
func (m *bpe) setVocab(vocab map[string]int64) error {
	top := int64(-1)
	m.ids = make(map[string]int32, len(vocab))
	for token, id := range vocab {
		if id < 0 || id > int64(len(vocab))+maxSparse {
			return fmt.Errorf("token %q has id %d, with only %d tokens in the vocabulary", token, id, len(vocab))
		}
		m.ids[token] = int32(id)
		top = max(top, id)
	}
	m.tokens = make([]string, top+1)
	for token, id := range m.ids {
		if was := m.tokens[id]; was != "" && was > token {
			continue // two tokens of one id: either may be shown, the same each time
		}
		m.tokens[id] = token
	}
	for b := range m.bytes {
		m.bytes[b] = noID
		if id, ok := m.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			m.bytes[b] = id
		}
	}
	return nil
}

// setMerges adds the merges, the first ranking highest.
func (m *bpe) setMerges(merges []mergePair) error {
	m.pairs = make(map[uint64]mergeRule, len(merges))
	_, m.words = m.ids[spaceSymbol]
	for rank, p := range merges {
		a, okA := m.ids[p[0]]
		b, okB := m.ids[p[1]]
		id, ok := m.ids[p[0]+p[1]]
		if !okA || !okB || !ok {
			return fmt.Errorf("merge %d, %q + %q: the parts and the whole must all be in the vocabulary", rank, p[0], p[1])
		}
		m.pairs[pairKey(a, b)] = mergeRule{int32(rank), id}
		m.words = m.words && !crossesWords(p[0]+p[1])
	}
	return nil
}

func (m *bpe) rankPair(text string, left, right *symbol) (rank, id int32, ok bool) {
	if m.byRank {
		id, ok = m.ids[text[left.start:right.start+right.len]]
		return id, id, ok
	}
	r, ok := m.pairs[pairKey(left.id, right.id)]
	return r.rank, r.id, ok
}

// encode appends the ids of a piece.
func (m *bpe) encode(dst []int32, text string, w *merger) []int32 {
	if m.whole {
		if id, ok := m.ids[text]; ok {
			return append(dst, id)
		}
	}
	for m.words && text != "" {
		n := wordEnd(text)
		dst = m.encodeWord(dst, text[:n], w)
		text = text[n:]
	}
	return m.encodeWord(dst, text, w)
}

func (m *bpe) encodeWord(dst []int32, text string, w *merger) []int32 {
	w.reset()
	m.addSymbols(text, w)
	if len(w.syms) == 0 {
		return dst
	}
	w.run(text, m)
	for i := int32(0); i >= 0; i = w.syms[i].next {
		dst = append(dst, w.syms[i].id)
	}
	return dst
}

// addSymbols gives the merger one symbol a character: its token, its bytes, or the unknown token (merge_word of model.rs).
func (m *bpe) addSymbols(text string, w *merger) {
	unk := symbol{id: noID}
	for at := 0; at < len(text); {
		_, n := utf8.DecodeRuneInString(text[at:])
		id, ok := m.ids[text[at:at+n]]
		switch {
		case ok:
			if unk.id != noID {
				w.add(unk)
				unk.id = noID
			}
			w.add(symbol{start: int32(at), len: int32(n), id: id})
		case m.byteFallback && m.hasBytes(text[at:at+n]):
			for i := range n {
				w.add(symbol{start: int32(at + i), len: 1, id: m.bytes[text[at+i]]})
			}
		case m.unk != noID && unk.id != noID && m.fuseUnk:
			unk.len += int32(n)
		case m.unk != noID:
			if unk.id != noID {
				w.add(unk)
			}
			unk = symbol{start: int32(at), len: int32(n), id: m.unk}
		}
		at += n
	}
	if unk.id != noID {
		w.add(unk)
	}
}

func (m *bpe) hasBytes(char string) bool {
	return !slices.ContainsFunc([]byte(char), func(b byte) bool { return m.bytes[b] == noID })
}
