package tokenizer

import "strings"

// spmScheme is a SentencePiece model with added tokens around it: the slow Llama tokenizer of transformers 4.
type spmScheme struct {
	*spm
	added *addedSet
	// legacy: every stretch of text between special tokens is encoded by itself, with its own dummy prefix. Otherwise
	// only the text's beginning gets one.
	legacy bool
	plain  *spmNormalizer // without the dummy prefix
	byID   map[int32]*addedToken
}

func newSPMScheme(s *spm, added []addedToken, legacy bool) *spmScheme {
	p := &spmScheme{spm: s, added: newAddedSet(added, nil), legacy: legacy, plain: s.norm.withoutDummyPrefix(), byID: map[int32]*addedToken{}}
	for i := range p.added.tokens {
		p.byID[p.added.tokens[i].ID] = &p.added.tokens[i]
	}
	return p
}

func (p *spmScheme) encode(dst []int32, text string, specials bool) []int32 {
	if p.legacy {
		for _, sp := range p.added.split(text, specials) {
			if sp.token != nil {
				dst = append(dst, sp.token.ID)
			} else {
				dst = p.spm.encode(dst, sp.text, p.norm)
			}
		}
		return dst
	}
	if text == "" {
		return dst
	}
	from := len(dst)
	text = spaceSymbol + strings.ReplaceAll(text, spaceSymbol, " ")
	for i, sp := range p.added.split(text, specials) {
		if sp.token == nil {
			dst = p.encodePlain(dst, sp.text)
			continue
		}
		if i == 1 && sp.token.Special && len(dst) == from+1 && dst[from] == p.pieceID(spaceSymbol) {
			dst = dst[:from] // the prefix would stand alone before a special token
		}
		dst = append(dst, sp.token.ID)
	}
	return dst
}

// encodePlain encodes a stretch without a dummy prefix. Where it begins with a space the unknown token's text goes in
// front and is taken off again, since SentencePiece may drop a space at the very front.
func (p *spmScheme) encodePlain(dst []int32, text string) []int32 {
	if !strings.HasPrefix(text, spaceSymbol) && !strings.HasPrefix(text, " ") {
		return p.spm.encode(dst, text, p.plain)
	}
	unk := p.model.pieces[p.unk].text
	ids := p.spm.encode(nil, unk+text, p.plain)
	if n := len(p.spm.encode(nil, unk, p.plain)); len(ids) >= n {
		ids = ids[n:]
	}
	return append(dst, ids...)
}

func (p *spmScheme) size() int {
	n := len(p.model.pieces)
	for id := range p.byID {
		n = max(n, int(id)+1)
	}
	return n
}

func (p *spmScheme) id(token string) (int32, bool) {
	for _, t := range p.added.tokens {
		if t.Content == token {
			return t.ID, true
		}
	}
	return p.find(token)
}

func (p *spmScheme) newStream() stream {
	return &addedStream{spmStream: spmStream{spm: p.spm, begin: true}, added: p.byID}
}

// addedStream decodes the added tokens beside the model's own pieces: special ones to nothing, others to their text.
type addedStream struct {
	spmStream
	added map[int32]*addedToken
}

func (t *addedStream) push(id int32) {
	a, own := t.added[id], spmPiece{}
	if id >= 0 && int(id) < len(t.model.pieces) {
		own = t.model.pieces[id]
	}
	switch {
	case a == nil, own.text == a.Content && !a.Special, own.kind == pieceControl, own.kind == pieceUnknown:
		t.spmStream.push(id)
	case !a.Special:
		t.flushBytes()
		t.out = append(t.out, a.Content...)
	}
}
