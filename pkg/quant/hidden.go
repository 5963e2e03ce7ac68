package quant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"sextant/pkg/model"
	"sextant/pkg/result"
)

// pieceTokens is how many tokens go through a block at once, as whole sequences; one sequence where that is longer. It is in the
// results: sums over tokens are taken piece by piece.
const pieceTokens = 2048

// sample is the layout of the calibration tokens' hidden states in a file: [seqs*seqLen, hidden] of f32, native order.
type sample struct{ seqs, seqLen, hidden int }

// piece is the number of sequences that are in hand at once.
func (s sample) piece() int { return min(s.seqs, max(1, pieceTokens/s.seqLen)) }

// tokens is how many there are.
func (s sample) tokens() float64 { return float64(s.seqs) * float64(s.seqLen) }

// values is how many a piece of n sequences has.
func (s sample) values(n int) int { return n * s.seqLen * s.hidden }

// reader reads a file of hidden states piece by piece.
type reader struct {
	s    sample
	f    *os.File
	room []float32
	seq  int // the next
}

func (s sample) open(path string) (*reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening hidden states: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("opening hidden states: %w", err)
	}
	if want := 4 * int64(s.values(s.seqs)); info.Size() != want {
		f.Close()
		return nil, fmt.Errorf("hidden states in %q have %d bytes, want %d", path, info.Size(), want)
	}
	return &reader{s: s, f: f, room: make([]float32, s.values(s.piece()))}, nil
}

// next gives the next piece, valid until the next call; nil behind the last.
func (r *reader) next() ([]float32, error) {
	n := min(r.s.piece(), r.s.seqs-r.seq)
	if n == 0 {
		return nil, nil
	}
	x := r.room[:r.s.values(n)]
	if _, err := io.ReadFull(r.f, floatBytes(x)); err != nil {
		return nil, fmt.Errorf("reading hidden states: %w", err)
	}
	r.seq += n
	return x, nil
}

func (r *reader) Close() error { return r.f.Close() }

// floatBytes is the memory of x.
func floatBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// write makes a file of what fill gives for each piece: its sequences [from, from+n), values(n) numbers.
func (s sample) write(ctx context.Context, path string, fill func(from, n int) ([]float32, error)) error {
	return result.Commit(path, func(w io.Writer) error {
		for from := 0; from < s.seqs; from += s.piece() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			x, err := fill(from, min(s.piece(), s.seqs-from))
			if err != nil {
				return err
			}
			if _, err := w.Write(floatBytes(x)); err != nil {
				return err
			}
		}
		return nil
	})
}

// pass puts all hidden states of a file through a block, with tap on its sites. What comes out is written to the file `to`; "": nowhere.
type pass struct {
	block    *model.Block
	tap      model.Tap
	from, to string
	seen     func(tokens int) // after each piece, may be nil
}

func (s sample) pass(ctx context.Context, p pass) error {
	r, err := s.open(p.from)
	if err != nil {
		return err
	}
	defer r.Close()
	step := func(int, int) ([]float32, error) {
		x, err := r.next()
		if err != nil {
			return nil, err
		}
		if err := p.block.Run(x, s.seqLen, p.tap); err != nil && !errors.Is(err, model.ErrStop) {
			return nil, err
		}
		if p.seen != nil {
			p.seen(len(x) / s.hidden)
		}
		return x, nil
	}
	if p.to != "" {
		return s.write(ctx, p.to, step)
	}
	for from := 0; from < s.seqs; from += s.piece() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := step(from, 0); err != nil {
			return err
		}
	}
	return nil
}
