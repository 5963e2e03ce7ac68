package tokenizer

// spmRun is one text being encoded.
type spmRun struct {
	*spm
	ids     []int32
	prevUnk bool
	merger  *merger
	splits  map[string]int // unused piece -> length of the left part it was merged from
}

// emit appends a segment's ids: an unknown segment becomes its bytes, or a run of them one unknown id.
func (e *spmRun) emit(piece string, id int32) {
	switch {
	case id != e.unk:
		e.ids = append(e.ids, id)
	case e.model.trainer.byteFallback:
		for i := range len(piece) {
			e.ids = append(e.ids, e.bytes[piece[i]])
		}
	case !e.prevUnk:
		e.ids = append(e.ids, id)
	}
	e.prevUnk = id == e.unk
}

// rankPair ranks a pair by the score of the piece it makes. It notes how unused pieces came about, so that they can be
// taken apart again.
func (e *spmRun) rankPair(text string, left, right *symbol) (rank, id int32, ok bool) {
	piece := text[left.start : right.start+right.len]
	if id, ok = e.spm.ids[piece]; !ok {
		return 0, 0, false
	}
	if e.unused && e.model.pieces[id].kind == pieceUnused {
		if e.splits == nil {
			e.splits = map[string]int{}
		}
		e.splits[piece] = int(left.len)
	}
	return e.ranks[id], id, true
}

// mergeBPE segments text by byte-pair merging (bpe_model.cc).
func (e *spmRun) mergeBPE(text string) {
	m := e.merger
	m.reset()
	for at := 0; at < len(text); {
		n, _ := e.user.longest(text[at:])
		frozen := n > 0
		if !frozen {
			n = charLen(text[at], len(text)-at)
		}
		m.add(symbol{start: int32(at), len: int32(n), frozen: frozen})
		at += n
	}
	m.run(text, e)
	for i := int32(0); i >= 0; i = m.syms[i].next {
		y := &m.syms[i]
		e.resegment(text[y.start : y.start+y.len])
	}
}

// resegment emits piece, or the parts it was merged from where it is unused.
func (e *spmRun) resegment(piece string) {
	id := e.pieceID(piece)
	at, split := e.splits[piece]
	if e.model.pieces[id].kind != pieceUnused || !split {
		e.emit(piece, id)
		return
	}
	e.resegment(piece[:at])
	e.resegment(piece[at:])
}

const unknownPenalty = 10

// lattice holds, for each end, the last piece of the best path that ends there.
type lattice []latticeNode

type latticeNode struct {
	score float32
	start int32 // -1: not reached
	id    int32
}

// reach offers a path to end. Sums are float32, as the library (0.2.2) has them, so that near ties
// fall the same way; of equal scores the first stays.
func (l lattice) reach(start, end int, score float32, id int32) {
	if n := &l[end]; n.start < 0 || score > n.score {
		*n = latticeNode{score, int32(start), id}
	}
}

// viterbi emits the segmentation of the highest total score (EncodeOptimized of unigram_model.cc).
func (e *spmRun) viterbi(text string) {
	best := make(lattice, len(text)+1)
	for i := range best {
		best[i].start = -1
	}
	unkScore := e.minScore - unknownPenalty
	for at := 0; at < len(text); {
		here, char := best[at].score, charLen(text[at], len(text)-at)
		if !e.reachPieces(best, text, at, char) {
			best.reach(at, at+char, unkScore+here, e.unk)
		}
		at += char
	}
	var ends []int32 // of the best path's pieces, last first
	for end := int32(len(text)); end > 0; end = best[end].start {
		ends = append(ends, end)
	}
	for i := len(ends) - 1; i >= 0; i-- {
		n := best[ends[i]]
		e.emit(text[n.start:ends[i]], n.id)
	}
}

// reachPieces offers every piece that text[at:] begins with, and says whether one of them is the single character there.
func (e *spmRun) reachPieces(best lattice, text string, at, char int) (single bool) {
	if e.vocab == nil {
		return false
	}
	here, place := best[at].score, int32(0)
	for end := at; end < len(text); {
		if place = e.vocab.step(place, text[end]); place < 0 {
			break
		}
		end++
		id := e.vocab.nodes[place].value
		if id == noID {
			continue
		}
		piece := &e.model.pieces[id]
		if piece.kind == pieceUnused {
			continue
		}
		score := piece.score
		if piece.kind == pieceUserDefined { // a bonus, so that it is always taken
			score = float32(end-at)*e.maxScore - 0.1
		}
		best.reach(at, end, score+here, id)
		single = single || end-at == char
	}
	return single
}
