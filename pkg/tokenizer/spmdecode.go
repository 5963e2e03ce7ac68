package tokenizer

import "strings"

// spmStream decodes ids one by one as SentencePiece's Decode does a whole list.
type spmStream struct {
	*spm
	out     []byte
	pending []byte // of byte pieces: the start of a character
	begin   bool   // a space symbol at the front of the next piece may be the dummy prefix
	prefix  bool   // the last piece gave the dummy prefix up
}

func (s *spm) newStream() stream { return &spmStream{spm: s, begin: true} }

func (t *spmStream) push(id int32) {
	if id < 0 || int(id) >= len(t.model.pieces) {
		return
	}
	if b := t.byteOf[id]; b >= 0 {
		t.pending = append(t.pending, byte(b))
		t.out, t.pending = appendChars(t.out, t.pending, perByte)
		return
	}
	t.flushBytes()
	if t.prefix || len(t.out) > 0 {
		t.begin = false
	}
	t.prefix = false
	piece := t.model.pieces[id]
	switch piece.kind {
	case pieceControl:
		return
	case pieceUnknown:
		t.out = append(t.out, t.model.trainer.unkSurface...)
		return
	}
	text, spec := piece.text, &t.model.normalizer
	if t.begin && (spec.addDummyPrefix || spec.removeExtraSpace) {
		text, t.prefix = strings.CutPrefix(text, spaceSymbol)
		if spec.removeExtraSpace {
			t.prefix = false // then every leading space goes
		}
	}
	t.out = append(t.out, strings.ReplaceAll(text, spaceSymbol, " ")...)
}

func (t *spmStream) flushBytes() { t.out, t.pending = appendChars(t.out, t.pending, perByte|final) }

func (t *spmStream) settled() []byte {
	if t.denorm != nil {
		return nil
	}
	return t.out
}

func (t *spmStream) rest() string {
	tail, _ := appendChars(nil, t.pending, perByte|final)
	if t.denorm != nil { // which is made for whole texts
		return t.denorm.normalize(string(t.out) + string(tail))
	}
	return string(tail)
}
