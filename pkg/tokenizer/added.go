package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token found in the text before the model sees it (tokenizers' AddedToken).
type addedToken struct {
	ID         int32  `json:"-"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`

	shown string // in a pipeline: what it decodes to, its normalized text where it is matched as such
}

// addedSet finds added tokens in text: leftmost first, the longest of those that begin there.
type addedSet struct {
	tokens []addedToken // by ID
	match  *trie        // value: index into tokens
}

// newAddedSet indexes tokens by the text that stands for each (text may be nil: the content).
func newAddedSet(tokens []addedToken, text func(addedToken) string) *addedSet {
	a := &addedSet{tokens: slices.Clone(tokens)}
	slices.SortFunc(a.tokens, func(x, y addedToken) int { return cmp.Compare(x.ID, y.ID) })
	var entries []trieEntry
	for i, t := range a.tokens {
		key := t.Content
		if text != nil {
			key = text(t)
		}
		entries = append(entries, trieEntry{key, int32(i)})
	}
	a.match = newTrie(entries)
	return a
}

// span is a stretch of text: an added token, or text (token nil).
type span struct {
	text  string
	start int // byte of the text that was split
	token *addedToken
}

// split cuts text at the added tokens. Special ones are skipped unless specials is set. The spans cover the text, except
// that a token's lstrip and rstrip take the white space beside it (find_matches of added_vocabulary.rs).
func (a *addedSet) split(text string, specials bool) []span {
	if a == nil || a.match == nil {
		return []span{{text: text}}
	}
	var spans []span
	done := 0
	for at := 0; at < len(text); {
		n, index := a.match.longest(text[at:])
		if n == 0 {
			at++
			continue
		}
		t, start, stop := &a.tokens[index], at, at+n
		at = stop
		if t.Special && !specials || t.SingleWord && insideWord(text, start, stop) {
			continue
		}
		if t.LStrip {
			start = max(done, len(strings.TrimRightFunc(text[:start], unicode.IsSpace)))
		}
		if t.RStrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], unicode.IsSpace))
		}
		if done < start {
			spans = append(spans, span{text: text[done:start], start: done})
		}
		spans = append(spans, span{text: text[start:stop], start: start, token: t})
		done = stop
	}
	if done < len(text) {
		spans = append(spans, span{text: text[done:], start: done})
	}
	return spans
}

func insideWord(text string, start, stop int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	after, _ := utf8.DecodeRuneInString(text[stop:])
	return start > 0 && isWord(before) || stop < len(text) && isWord(after)
}

// isWord is the \w of Unicode's regular expressions (UTS 18).
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || r == '\u200c' || r == '\u200d' ||
		unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic)
}
