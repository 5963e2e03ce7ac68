package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// spm is a SentencePiece model ready for use. It gives the ids of SentencePiece's own encode and the text of its decode.
type spm struct {
	model    *spmModel
	norm     *spmNormalizer
	denorm   *spmNormalizer   // nil where the model has none
	ids      map[string]int32 // normal, user-defined and unused pieces: what text can become
	reserved map[string]int32 // control, unknown and byte pieces
	user     *trie            // user-defined pieces
	unk      int32
	bytes    [256]int32 // with byte fallback
	byteOf   []int16    // id -> byte, or -1

	// BPE
	ranks  []int32 // id -> merge order, by falling score
	unused bool    // some piece is unused: merged all the same, then split again
	words  bool    // no piece crosses from a character into a space symbol: words merge apart from each other

	// unigram
	vocab              *trie
	minScore, maxScore float32
}

func newSPM(m *spmModel) (*spm, error) {
	s := &spm{model: m, ids: make(map[string]int32, len(m.pieces)), reserved: map[string]int32{}, unk: noID, byteOf: make([]int16, len(m.pieces))}
	if err := s.addPieces(); err != nil {
		return nil, err
	}
	var err error
	if s.norm, err = newSPMNormalizer(m.normalizer, m.trainer.suffixSpace, s.user); err != nil {
		return nil, err
	}
	if m.denormalizer != nil {
		if s.denorm, err = newSPMNormalizer(*m.denormalizer, false, nil); err != nil {
			return nil, fmt.Errorf("denormalizer: %w", err)
		}
	}
	switch m.trainer.modelType {
	case spmBPE:
		s.prepareBPE()
	case spmUnigram:
		s.prepareUnigram()
	default:
		name, ok := spmModelTypes[m.trainer.modelType]
		if !ok {
			name = fmt.Sprint(m.trainer.modelType)
		}
		return nil, fmt.Errorf("SentencePiece model type %q is not supported; bpe and unigram are", name)
	}
	return s, nil
}

// addPieces fills the maps, with the checks SentencePiece makes on loading.
func (s *spm) addPieces() error {
	var user []trieEntry
	found := 0
	for i, p := range s.model.pieces {
		id, m := int32(i), s.ids
		s.byteOf[i] = -1
		switch p.kind {
		case pieceUserDefined:
			user = append(user, trieEntry{p.text, id})
		case pieceUnknown:
			if s.unk != noID {
				return fmt.Errorf("pieces %d and %d are both the unknown piece", s.unk, id)
			}
			s.unk, m = id, s.reserved
		case pieceControl:
			m = s.reserved
		case pieceByte:
			b, ok := byteOfPiece(p.text)
			if !ok || !s.model.trainer.byteFallback {
				return fmt.Errorf("byte piece %d, %q, is malformed or the model has no byte_fallback", id, p.text)
			}
			s.byteOf[i], s.bytes[b], m = int16(b), id, s.reserved
			found++
		}
		if _, twice := m[p.text]; twice {
			return fmt.Errorf("piece %d, %q, is defined twice", id, p.text)
		}
		m[p.text] = id
	}
	if s.unk == noID {
		return errors.New("there is no unknown piece")
	}
	if s.model.trainer.byteFallback && found != 256 {
		return fmt.Errorf("byte_fallback wants 256 byte pieces, there are %d", found)
	}
	s.user = newTrie(user)
	return nil
}

// byteOfPiece reads "<0x0A>".
func byteOfPiece(piece string) (byte, bool) {
	if len(piece) != 6 || piece[:3] != "<0x" || piece[5] != '>' {
		return 0, false
	}
	const digits = "0123456789ABCDEF"
	hi, lo := strings.IndexByte(digits, piece[3]), strings.IndexByte(digits, piece[4])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

func (s *spm) prepareBPE() {
	scores := make([]float32, 0, len(s.model.pieces))
	s.words = true
	for _, p := range s.model.pieces {
		scores = append(scores, p.score)
		s.unused = s.unused || p.kind == pieceUnused
		s.words = s.words && p.kind != pieceUnused && !crossesWords(p.text)
	}
	slices.SortFunc(scores, func(a, b float32) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	scores = slices.Compact(scores)
	order := make(map[float32]int32, len(scores))
	for i, v := range scores {
		order[v] = int32(i)
	}
	s.ranks = make([]int32, len(s.model.pieces))
	for i, p := range s.model.pieces {
		s.ranks[i] = order[p.score]
	}
}

func (s *spm) prepareUnigram() {
	entries := make([]trieEntry, 0, len(s.ids))
	for text, id := range s.ids {
		entries = append(entries, trieEntry{text, id})
	}
	s.vocab = newTrie(entries)
	// The library's maximum starts from the smallest positive float, and normal scores are negative: it stays there.
	s.minScore, s.maxScore = math.MaxFloat32, 1.17549435e-38
	for _, p := range s.model.pieces {
		if p.kind == pieceNormal {
			s.minScore, s.maxScore = min(s.minScore, p.score), max(s.maxScore, p.score)
		}
	}
}

// encode appends the ids of text, normalized by norm: the model's own or that without a dummy prefix.
func (s *spm) encode(dst []int32, text string, norm *spmNormalizer) []int32 {
	text = norm.normalize(text)
	if text == "" {
		return dst
	}
	e := &spmRun{spm: s, ids: dst}
	if s.model.trainer.modelType == spmUnigram {
		e.viterbi(text)
		return e.ids
	}
	e.merger = newMerger()
	defer e.merger.free()
	for s.words && text != "" {
		n := wordEnd(text)
		e.mergeBPE(text[:n])
		text = text[n:]
	}
	if text != "" {
		e.mergeBPE(text)
	}
	return e.ids
}

// crossesWords says that piece has a space symbol after another character.
func crossesWords(piece string) bool {
	at := strings.LastIndex(piece, spaceSymbol)
	return at > 0 && strings.Trim(piece[:at], spaceSymbol) != ""
}

// wordEnd finds where the first word ends: before the first space symbol that follows another character.
func wordEnd(text string) int {
	inside := false
	for i := 0; i < len(text); {
		if strings.HasPrefix(text[i:], spaceSymbol) {
			if inside {
				return i
			}
			i += len(spaceSymbol)
			continue
		}
		inside = true
		i++
	}
	return len(text)
}

// find is the id of a piece of any type.
func (s *spm) find(piece string) (int32, bool) {
	if id, ok := s.reserved[piece]; ok {
		return id, true
	}
	id, ok := s.ids[piece]
	return id, ok
}

// pieceID is the id of a whole segment, the unknown id where there is none.
func (s *spm) pieceID(piece string) int32 {
	if id, ok := s.find(piece); ok {
		return id
	}
	return s.unk
}

// charLen is the length of the UTF-8 character that begins with lead, not checked further and at most limit.
func charLen(lead byte, limit int) int {
	return min(int("\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x02\x02\x03\x04"[lead>>4]), limit)
}
