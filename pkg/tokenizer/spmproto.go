package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// spmModel is what is used of sentencepiece_model.proto's ModelProto.
type spmModel struct {
	pieces       []spmPiece
	trainer      spmTrainer
	normalizer   spmNormalizerSpec
	denormalizer *spmNormalizerSpec
}

type spmPiece struct {
	text  string
	score float32
	kind  int32
}

// The values of SentencePiece.Type.
const (
	pieceNormal      = 1
	pieceUnknown     = 2
	pieceControl     = 3
	pieceUserDefined = 4
	pieceUnused      = 5
	pieceByte        = 6
)

type spmTrainer struct {
	modelType    int32
	suffixSpace  bool // treat_whitespace_as_suffix
	byteFallback bool
	unkSurface   string
	bos, eos     string // pieces
}

// The values of TrainerSpec.ModelType.
var spmModelTypes = map[int32]string{1: "unigram", 2: "bpe", 3: "word", 4: "char"}

const (
	spmUnigram = 1
	spmBPE     = 2
)

type spmNormalizerSpec struct {
	charsMap         []byte
	addDummyPrefix   bool
	removeExtraSpace bool
	escapeSpace      bool
}

// field is one field of a protobuf message: num holds varints and fixed 32-bit values, bytes the length-delimited ones.
type field struct {
	number protowire.Number
	num    uint64
	bytes  []byte
}

// eachField calls do for every field of msg. It reads within msg only and allocates nothing.
func eachField(msg []byte, do func(field) error) error {
	for at := 0; at < len(msg); {
		number, typ, n := protowire.ConsumeTag(msg[at:])
		if n < 0 {
			return fmt.Errorf("protobuf tag at byte %d: %w", at, protowire.ParseError(n))
		}
		body, f := msg[at+n:], field{number: number}
		size := 0
		switch typ {
		case protowire.VarintType:
			f.num, size = protowire.ConsumeVarint(body)
		case protowire.Fixed32Type:
			var v uint32
			v, size = protowire.ConsumeFixed32(body)
			f.num = uint64(v)
		case protowire.BytesType:
			f.bytes, size = protowire.ConsumeBytes(body)
		default:
			size = protowire.ConsumeFieldValue(number, typ, body)
		}
		if size < 0 {
			return fmt.Errorf("protobuf field %d at byte %d: %w", number, at, protowire.ParseError(size))
		}
		if err := do(f); err != nil {
			return err
		}
		at += n + size
	}
	return nil
}

func parseSPM(data []byte) (*spmModel, error) {
	m := &spmModel{
		trainer:    spmTrainer{modelType: spmUnigram, unkSurface: " \u2047 ", bos: "<s>", eos: "</s>"},
		normalizer: defaultNormalizerSpec(),
	}
	err := eachField(data, func(f field) (err error) {
		switch f.number {
		case 1:
			var p spmPiece
			if p, err = parsePiece(f.bytes); err != nil {
				return fmt.Errorf("piece %d: %w", len(m.pieces), err)
			}
			m.pieces = append(m.pieces, p)
		case 2:
			err = parseTrainer(f.bytes, &m.trainer)
		case 3:
			err = parseNormalizerSpec(f.bytes, &m.normalizer)
		case 5:
			d := defaultNormalizerSpec()
			if err = parseNormalizerSpec(f.bytes, &d); err == nil && len(d.charsMap) > 0 {
				m.denormalizer = &d
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(m.pieces) == 0 {
		return nil, errors.New("no pieces: this is not a SentencePiece model")
	}
	return m, nil
}

func parsePiece(msg []byte) (spmPiece, error) {
	p := spmPiece{kind: pieceNormal}
	err := eachField(msg, func(f field) error {
		switch f.number {
		case 1:
			p.text = string(f.bytes)
		case 2:
			p.score = math.Float32frombits(uint32(f.num))
		case 3:
			p.kind = int32(f.num)
		}
		return nil
	})
	switch {
	case err != nil:
	case p.text == "":
		err = errors.New("is empty")
	case !utf8.ValidString(p.text):
		err = fmt.Errorf("%q is not valid UTF-8", p.text)
	case p.kind < pieceNormal || p.kind > pieceByte:
		err = fmt.Errorf("%q has type %d, which is not one of SentencePiece's", p.text, p.kind)
	case p.score != p.score:
		err = fmt.Errorf("%q has a score that is not a number", p.text)
	}
	return p, err
}

func parseTrainer(msg []byte, t *spmTrainer) error {
	return eachField(msg, func(f field) error {
		switch f.number {
		case 3:
			t.modelType = int32(f.num)
		case 24:
			t.suffixSpace = f.num != 0
		case 35:
			t.byteFallback = f.num != 0
		case 44:
			t.unkSurface = string(f.bytes)
		case 46:
			t.bos = nonEmpty(f.bytes, t.bos)
		case 47:
			t.eos = nonEmpty(f.bytes, t.eos)
		}
		return nil
	})
}

func nonEmpty(b []byte, otherwise string) string {
	if len(b) == 0 {
		return otherwise
	}
	return string(b)
}

func defaultNormalizerSpec() spmNormalizerSpec {
	return spmNormalizerSpec{addDummyPrefix: true, removeExtraSpace: true, escapeSpace: true}
}

func parseNormalizerSpec(msg []byte, s *spmNormalizerSpec) error {
	return eachField(msg, func(f field) error {
		switch f.number {
		case 2:
			s.charsMap = f.bytes
		case 3:
			s.addDummyPrefix = f.num != 0
		case 4:
			s.removeExtraSpace = f.num != 0
		case 5:
			s.escapeSpace = f.num != 0
		}
		return nil
	})
}
