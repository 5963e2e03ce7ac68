package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
)

// The defaults of Options.
const (
	UsualBatch  = 128
	UsualTokens = 1024
	UsualPage   = 16
)

// Options bound an engine. A zero field takes its default.
type Options struct {
	MaxSeqLen   int     // tokens a sequence may have; default and ceiling: the model's context
	BatchSize   int     // sequences in a pass, a ceiling; default UsualBatch
	TokenBudget int     // tokens a forward pass; default UsualTokens; raised to BatchSize where it is less
	PageSize    int     // positions a page of the cache; default UsualPage
	Memory      int64   // bytes for the cache; default: as much as BatchSize sequences need
	EOS         []int32 // tokens that end a generation; default: the checkpoint's
	NoSharing   bool    // every request is computed for itself, to measure what sharing brings; the outcomes are the same
	NewDecoder  func(prompt []int32) Decoder
}

// Decoder turns generated tokens into text as they come. A tokenizer gives it.
type Decoder interface {
	Append(id int32) string // the text this token adds, never half a character
	Text() string           // all the text so far
}

// Runner is the model as the engine needs it. A pass is begun by one call and waited for by what the call gives, passes in the order in which
// they were begun, and what a pass reads of the cache is as if each had ended before the next one began. What was begun need not be waited for.
type Runner interface {
	// Reserve makes a new cache of pages; Release waits for what was begun and frees it.
	Reserve(pages, pageSize int) error
	Release()
	// LogProbs runs the pass and gives what the head says of its Out rows and of the targets, whose rows are of those.
	LogProbs(p Pass, t kernels.Targets) func() (kernels.LogProbs, error)
	// Sample runs the pass and draws one token for each of its Out rows.
	Sample(p Pass, d []kernels.SampleDesc, u []float64) func() ([]int32, error)
}

// Shape is what the engine must know of a model beside running it.
type Shape struct {
	Vocab, Context int
	EOS            []int32 // the checkpoint's tokens that end a generation
	PositionBytes  int64   // of the cache, for one position of all layers
	Passes         int     // that are to be under way at once, so that nothing of the model is idle; 0: 1
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
	passes atomic.Int64
	keep   bool
	cache  *trie // nil: there is no memory reserved
	most   int   // pages that could be had when more were wanted; 0: no such case so far
}

// New makes an engine for m, a whole model.
func New(m *model.Model, o Options) (*Engine, error) {
	return NewRunner(&modelRunner{Stage{Model: m}}, ShapeOf(m.Config(), m.PositionBytes()), o)
}

// ShapeOf is that of a model whose passes are run one after another.
func ShapeOf(c *checkpoint.Config, positionBytes int64) Shape {
	s := Shape{Vocab: c.Vocab, Context: c.MaxPositions, PositionBytes: positionBytes}
	for _, id := range c.EOS {
		s.EOS = append(s.EOS, int32(id))
	}
	return s
}

// NewRunner makes an engine for any runner.
func NewRunner(r Runner, s Shape, o Options) (*Engine, error) {
	if o.EOS == nil {
		o.EOS = s.EOS
	}
	for _, v := range []struct {
		name  string
		value int64
	}{{"MaxSeqLen", int64(o.MaxSeqLen)}, {"BatchSize", int64(o.BatchSize)}, {"TokenBudget", int64(o.TokenBudget)},
		{"PageSize", int64(o.PageSize)}, {"Memory", o.Memory}} {
		if v.value < 0 {
			return nil, fmt.Errorf("engine: %s is %d, must not be negative", v.name, v.value)
		}
	}
	if o.MaxSeqLen == 0 || o.MaxSeqLen > s.Context {
		o.MaxSeqLen = s.Context
	}
	o.BatchSize = cmp.Or(o.BatchSize, UsualBatch)
	o.TokenBudget = max(cmp.Or(o.TokenBudget, UsualTokens), o.BatchSize)
	o.PageSize = cmp.Or(o.PageSize, UsualPage)
	s.Passes = max(s.Passes, 1)
	return &Engine{run: r, shape: s, o: o}, nil
}

// MaxSeqLen is the longest sequence the engine takes, in tokens.
func (e *Engine) MaxSeqLen() int { return e.o.MaxSeqLen }

// Tokens counts the tokens put through the model so far. It may be called by any goroutine.
func (e *Engine) Tokens() int64 { return e.tokens.Load() }

// Passes counts the runs of the model so far. It may be called by any goroutine.
func (e *Engine) Passes() int64 { return e.passes.Load() }

// Keep makes what is computed stay for later calls, as far as the memory goes, until Close.
func (e *Engine) Keep() { e.keep = true }

// Close frees the cache. After Keep it is to be called before the model is closed; the engine can be used again.
func (e *Engine) Close() {
	if e.cache != nil {
		e.run.Release()
		e.cache = nil
	}
}

// ran notes a pass.
func (e *Engine) ran(l *layout, err error) error {
	if err != nil {
		return fmt.Errorf("running %d tokens of %d sequences: %w", len(l.Tokens), len(l.strands), err)
	}
	e.tokens.Add(int64(len(l.Tokens)))
	e.passes.Add(1)
	return nil
}

// work is the requests of a call and how they are carried out.
type work struct {
	asks  []ask
	pages func(needs []int) int // the pages there is a use for, given the positions of the requests, ascending
	begin func(*batcher, *layout) flight
	emit  func(*request) error
}

// flight is a pass under way: it waits for it, and gives the requests that are done then.
type flight func() (done []*request, err error)

// ask is a request before it is in the trie.
type ask struct {
	request
	tokens []int32 // to be computed
	gen    *generation
}

// positions is the most that the request may come to hold.
func (a *ask) positions() int {
	if a.gen != nil {
		return a.gen.most()
	}
	return len(a.tokens)
}

// carry runs passes until every request is done and emitted. As many are under way as the runner has a use for.
func (e *Engine) carry(ctx context.Context, w work) (err error) {
	if len(w.asks) == 0 {
		return nil
	}
	defer func() {
		if err != nil || !e.keep { // after an error nobody knows what is in the cache
			e.Close()
		}
	}()
	var flights []flight
	b, done, err := e.start(w)
	for err == nil {
		for _, r := range done {
			if err := w.emit(r); err != nil {
				return err
			}
			b.t.unclaim(r)
		}
		if b.done() && len(flights) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if flights, err = e.launch(b, w, flights); err == nil {
			done, err = flights[0]()
			flights = flights[1:]
		}
	}
	return err
}

// launch begins passes while there is something to compute, and gives those under way: one at least.
func (e *Engine) launch(b *batcher, w work, flights []flight) ([]flight, error) {
	for len(flights) < e.shape.Passes && !b.done() {
		l, err := b.next(len(flights))
		if err != nil {
			return nil, err
		}
		if l == nil {
			break
		}
		flights = append(flights, w.begin(b, l))
	}
	return flights, nil
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
