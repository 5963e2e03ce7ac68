package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"sextant/kernels"
	"sextant/pkg/model"
)

// Options bound an engine. A zero field takes its default.
type Options struct {
	MaxSeqLen   int     // tokens a sequence may have; default and ceiling: the model's context
	BatchSize   int     // sequences at once, a ceiling; default 128
	TokenBudget int     // tokens a forward pass; default 1024; raised to BatchSize where it is less
	PageSize    int     // positions a page of the cache; default 16
	Memory      int64   // bytes for the cache; default: as much as BatchSize sequences need
	EOS         []int32 // tokens that end a generation; default: the checkpoint's
	NewDecoder  func(prompt []int32) Decoder
}

// Decoder turns generated tokens into text as they come. A tokenizer gives it.
type Decoder interface {
	Append(id int32) string // the text this token adds, never half a character
	Text() string           // all the text so far
}

// Runner is the model as the engine needs it.
type Runner interface {
	// Reserve makes a new cache of pages; Release frees it.
	Reserve(pages, pageSize int) error
	Release()
	// LogProbs runs the batch and gives, for each of its Out rows, what the head says of that row's target.
	LogProbs(b model.Batch, targets []int32) (kernels.LogProbs, error)
	// Sample runs the batch and draws one token for each of its Out rows.
	Sample(b model.Batch, d []kernels.SampleDesc, u []float64) ([]int32, error)
}

// Shape is what the engine must know of a model beside running it.
type Shape struct {
	Vocab, Context int
	PositionBytes  int64 // of the cache, for one position of all layers
}

// ErrMemory is in the chain of an error that says that the cache's memory is too small for one sequence, or cannot be had.
var ErrMemory = errors.New("not enough memory for the key-value cache")

// ErrInput is in the chain of an error about a request that cannot be run with this model, whatever the machine.
var ErrInput = errors.New("invalid request")

// Engine runs requests on one model. It is used by one goroutine at a time.
type Engine struct {
	run    Runner
	shape  Shape
	o      Options
	tokens atomic.Int64
}

// New makes an engine for m.
func New(m *model.Model, o Options) (*Engine, error) {
	cfg := m.Config()
	if o.EOS == nil {
		for _, id := range cfg.EOS {
			o.EOS = append(o.EOS, int32(id))
		}
	}
	shape := Shape{Vocab: cfg.Vocab, Context: cfg.MaxPositions,
		PositionBytes: 2 * 4 * int64(cfg.Layers) * int64(cfg.KVHeads) * int64(cfg.HeadDim)}
	return NewRunner(&modelRunner{m: m}, shape, o)
}

// NewRunner makes an engine for any runner.
func NewRunner(r Runner, s Shape, o Options) (*Engine, error) {
	for _, v := range []struct {
		name  string
		value int64
	}{{"MaxSeqLen", int64(o.MaxSeqLen)}, {"BatchSize", int64(o.BatchSize)}, {"TokenBudget", int64(o.TokenBudget)}, {"PageSize", int64(o.PageSize)}, {"Memory", o.Memory}} {
		if v.value < 0 {
			return nil, fmt.Errorf("engine: %s is %d, must not be negative", v.name, v.value)
		}
	}
	if o.MaxSeqLen == 0 || o.MaxSeqLen > s.Context {
		o.MaxSeqLen = s.Context
	}
	o.BatchSize = cmp.Or(o.BatchSize, 128)
	o.TokenBudget = max(cmp.Or(o.TokenBudget, 1024), o.BatchSize)
	o.PageSize = cmp.Or(o.PageSize, 16)
	return &Engine{run: r, shape: s, o: o}, nil
}

// MaxSeqLen is the longest sequence the engine takes, in tokens.
func (e *Engine) MaxSeqLen() int { return e.o.MaxSeqLen }

// Tokens counts the tokens put through the model so far. It may be called by any goroutine.
func (e *Engine) Tokens() int64 { return e.tokens.Load() }

// ran notes a pass.
func (e *Engine) ran(p *pass, err error) error {
	if err != nil {
		return fmt.Errorf("running %d tokens of %d sequences: %w", len(p.batch.Tokens), len(p.seqs), err)
	}
	e.tokens.Add(int64(len(p.batch.Tokens)))
	return nil
}

// work says how sequences are carried out.
type work struct {
	pages    func(needs []int) int // the pages there is a use for, given the positions of the sequences, ascending
	pass     func(*batcher) error
	finished func(*sequence) bool
	emit     func(*sequence) error
}

// carry runs passes until every sequence is finished and emitted.
func (e *Engine) carry(ctx context.Context, seqs []*sequence, w work) error {
	if len(seqs) == 0 {
		return nil
	}
	b, err := e.start(seqs, w.pages)
	if err != nil {
		return err
	}
	defer e.run.Release()
	for !b.done() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.pass(b); err != nil {
			return err
		}
		for _, s := range b.retire(w.finished) {
			if err := w.emit(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// start sorts the sequences and makes a cache for them: of as many pages as want says where the memory allows, else of fewer, and at least
// of those that the longest sequence needs.
func (e *Engine) start(seqs []*sequence, want func(needs []int) int) (*batcher, error) {
	slices.SortFunc(seqs, func(a, b *sequence) int {
		return cmp.Or(slices.Compare(a.tokens, b.tokens), cmp.Compare(a.index, b.index))
	})
	needs := make([]int, len(seqs))
	for i, s := range seqs {
		needs[i] = s.most()
	}
	slices.Sort(needs)
	longest := needs[len(needs)-1]
	least := ceilDiv(longest, e.o.PageSize)
	pages := max(least, want(needs))
	pageBytes := e.shape.PositionBytes * int64(e.o.PageSize)
	if e.o.Memory > 0 && pageBytes > 0 {
		pages = int(min(int64(pages), e.o.Memory/pageBytes))
	}
	if pages < least {
		return nil, fmt.Errorf("a sequence of %d tokens needs %d bytes of cache, and %d bytes are given: lower max_seq_len or give more memory: %w",
			longest, int64(least)*pageBytes, e.o.Memory, ErrMemory)
	}
	for {
		err := e.run.Reserve(pages, e.o.PageSize)
		if err == nil {
			return &batcher{o: e.o, cache: newCache(pages, e.o.PageSize), waiting: seqs}, nil
		}
		if !errors.Is(err, ErrMemory) || pages == least {
			return nil, fmt.Errorf("making a cache of %d pages of %d positions (%d bytes): %w", pages, e.o.PageSize, int64(pages)*pageBytes, err)
		}
		pages = max(least, pages/2)
	}
}

// fullBatch is the pages of the BatchSize sequences of most positions. needs is sorted.
func (e *Engine) fullBatch(needs []int) (pages int) {
	for _, n := range needs[max(0, len(needs)-e.o.BatchSize):] {
		pages += ceilDiv(n, e.o.PageSize)
	}
	return pages
}

// fullPass is the pages that scoring has a use for: those of the longest sequence and of two passes, so that prefixes outlive the pass that
// computes them.
func (e *Engine) fullPass(needs []int) int {
	longest := needs[len(needs)-1]
	pass := ceilDiv(e.o.TokenBudget, e.o.PageSize) + min(e.o.BatchSize, len(needs)) // each may have a partly filled page
	return min(e.fullBatch(needs), ceilDiv(longest, e.o.PageSize)+2*pass)
}

// check refuses tokens that the model or the options do not allow.
func (e *Engine) check(i int, tokens []int32, most int) error {
	if len(tokens) > most {
		return fmt.Errorf("request %d has %d tokens, and the limit is %d: %w", i, len(tokens), most, ErrInput)
	}
	for at, id := range tokens {
		if id < 0 || int(id) >= e.shape.Vocab {
			return fmt.Errorf("request %d has the token %d at position %d, and the vocabulary has %d: %w", i, id, at, e.shape.Vocab, ErrInput)
		}
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
