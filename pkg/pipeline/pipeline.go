package pipeline

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"sextant/kernels"
	"sextant/pkg/engine"
	"sextant/pkg/model"
)

// act is what a job has the stages do.
type act int

const (
	reserve act = iota
	release
	score
	sample
)

// order is what a job asks for.
type order struct {
	Do              act
	Pages, PageSize int // of reserve

	Pass    engine.Pass // of score and sample, with what follows
	Targets kernels.Targets
	Descs   []kernels.SampleDesc
	U       []float64
}

// job is an order on its way through the stages.
type job struct {
	order
	seq    uint64    // its number, where it goes to other ranks
	hidden []float32 // [tokens, hidden], from the stage before; nil in front of the first
	lp     kernels.LogProbs
	ids    []int32
	err    error         // of the first stage that failed: those behind it do nothing
	done   chan struct{} // closed when it is through
}

// Pipeline is a model in several stages, as a runner for an engine. It is used by one goroutine at a time.
type Pipeline struct {
	stages int // of all ranks
	in     chan *job
	ended  sync.WaitGroup
	spare  sync.Pool // of hidden states, *[]float32

	host    *Host           // of several ranks, on the first; nil: all stages are here, or this is another rank
	dead    <-chan struct{} // of the host
	pending chan *job       // those sent to the next rank, in turn, whose outcomes have not come back
	begun   uint64
}

// New makes a pipeline of the parts of a model, from first to last, each on a device of its own. They must stay open until Close.
func New(parts []*model.Model) *Pipeline {
	p := &Pipeline{stages: len(parts)}
	p.chain(parts, p.finish, func() {})
	return p
}

// Passes is how many are to be under way at once: one in each stage, and one to be taken up when the first is free.
func (p *Pipeline) Passes() int { return p.stages + 1 }

// chain starts stages, one behind another, that take jobs from p.in. What is through goes to next, in turn; last is called behind the last job.
func (p *Pipeline) chain(parts []*model.Model, next func(*job), last func()) {
	for _, part := range slices.Backward(parts) {
		s, in, to, end := &engine.Stage{Model: part}, make(chan *job, p.Passes()), next, last
		p.ended.Go(func() { p.serve(s, in, to); end() })
		p.in, next, last = in, func(j *job) { in <- j }, func() { close(in) }
	}
}

// serve is a stage at work.
func (p *Pipeline) serve(s *engine.Stage, in <-chan *job, next func(*job)) {
	defer s.Release()
	for j := range in {
		if j.err == nil || j.Do == release {
			if err := p.do(s, j); err != nil && j.err == nil {
				j.err = fmt.Errorf("%v: %w", s.Model.Part(), err)
			}
		}
		next(j)
	}
}

func (p *Pipeline) do(s *engine.Stage, j *job) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("internal error: %v\n%s", r, debug.Stack())
		}
	}()
	switch j.Do {
	case reserve:
		return s.Reserve(j.Pages, j.PageSize)
	case release:
		s.Release()
		return nil
	}
	h, err := s.Forward(j.Pass, j.hidden)
	if s.Model.Last() {
		defer p.drop(j)
	}
	switch {
	case err != nil:
	case !s.Model.Last():
		if j.hidden == nil {
			j.hidden = p.states(h.Rows * h.Cols)
		}
		err = s.Model.DownloadTo(h, j.hidden)
	case j.Do == score:
		j.lp, err = s.LogProbs(h, j.Targets)
	default:
		j.ids, err = s.Sample(h, j.Descs, j.U)
	}
	return err
}

// drop takes from a job what nobody needs any more.
func (p *Pipeline) drop(j *job) {
	p.recycle(j.hidden)
	j.hidden, j.order = nil, order{Do: j.Do}
}

// states are n values of hidden states, of what a job before had where that is large enough.
func (p *Pipeline) states(n int) []float32 {
	if old, ok := p.spare.Get().(*[]float32); ok && cap(*old) >= n {
		return (*old)[:n]
	}
	return make([]float32, n)
}

// recycle takes hidden states that nobody reads any more.
func (p *Pipeline) recycle(states []float32) {
	if states != nil {
		p.spare.Put(&states)
	}
}

func (p *Pipeline) finish(j *job) {
	p.recycle(j.hidden)
	close(j.done)
}

// begin puts a job under way.
func (p *Pipeline) begin(o order) *job {
	j := &job{order: o, seq: p.begun, done: make(chan struct{})}
	p.begun++
	select {
	case p.in <- j:
	case <-p.dead:
	}
	return j
}

// wait waits for a job, and gives its error, or why it will never be done.
func (p *Pipeline) wait(j *job) error {
	select {
	case <-j.done:
		return j.err
	case <-p.dead:
		return p.host.err
	}
}

// Reserve makes the caches of all stages, or none.
func (p *Pipeline) Reserve(pages, pageSize int) error {
	j := p.begin(order{Do: reserve, Pages: pages, PageSize: pageSize})
	err := p.wait(j)
	if err != nil {
		p.Release()
	}
	return err
}

// Release frees the caches when what was begun has ended.
func (p *Pipeline) Release() { _ = p.wait(p.begin(order{Do: release})) } // only a rank's death is an error, and it has no cache

// LogProbs begins a pass. Its slices must stay as they are until it has ended.
func (p *Pipeline) LogProbs(pass engine.Pass, t kernels.Targets) func() (kernels.LogProbs, error) {
	j := p.begin(order{Do: score, Pass: pass, Targets: t})
	return func() (kernels.LogProbs, error) {
		if err := p.wait(j); err != nil {
			return kernels.LogProbs{}, err
		}
		return j.lp, nil
	}
}

// Sample begins a pass.
func (p *Pipeline) Sample(pass engine.Pass, d []kernels.SampleDesc, u []float64) func() ([]int32, error) {
	j := p.begin(order{Do: sample, Pass: pass, Descs: d, U: u})
	return func() ([]int32, error) {
		if err := p.wait(j); err != nil {
			return nil, err
		}
		return j.ids, nil
	}
}

// Close ends the stages, and the other ranks. The models are the caller's.
func (p *Pipeline) Close() {
	if p.host != nil {
		p.host.Close()
	}
	close(p.in)
	p.ended.Wait()
}
