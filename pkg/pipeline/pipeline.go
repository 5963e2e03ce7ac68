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
	hidden []float32 // [tokens, hidden], from the stage before; nil in front of the first, and where that one holds them
	held   bool      // by the stage before, on its device
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
	var below *shelf
	for i, part := range slices.Backward(parts) {
		s, in, to, end := &stage{Stage: engine.Stage{Model: part}, below: below}, make(chan *job, p.Passes()), next, last
		if below = nil; i > 0 && parts[i-1].Reaches(part) {
			below = &shelf{of: parts[i-1], free: make(chan struct{}, 1)}
			below.free <- struct{}{}
		}
		s.above = below
		p.ended.Go(func() { p.serve(s, in, to); end() })
		p.in, next, last = in, func(j *job) { in <- j }, func() { close(in) }
	}
}

// stage is a part of the model at work, with the ways by which hidden states come and go between GPUs of this process; nil: through the host.
type stage struct {
	engine.Stage
	above, below *shelf
}

// shelf is where a part holds the states of one pass until the next part has taken them to its own device. free has a token while there are none.
type shelf struct {
	of   *model.Model
	free chan struct{}
}

// serve is a stage at work.
func (p *Pipeline) serve(s *stage, in <-chan *job, next func(*job)) {
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

func (p *Pipeline) do(s *stage, j *job) (err error) {
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
	h, err := s.forward(j)
	if s.Model.Last() {
		defer p.drop(j)
	}
	switch {
	case err != nil:
	case s.below != nil:
		err = s.hold(j, h)
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

// forward runs a job's pass with what came from the stage before.
func (s *stage) forward(j *job) (kernels.Tensor, error) {
	if !j.held {
		return s.Forward(j.Pass, j.hidden)
	}
	j.held = false
	defer func() { s.above.free <- struct{}{} }()
	return s.ForwardFrom(j.Pass, s.above.of)
}

// hold keeps the states h for the next stage, when that has taken those before.
func (s *stage) hold(j *job, h kernels.Tensor) error {
	<-s.below.free
	defer func() {
		if !j.held { // the next stage does nothing for the job
			s.below.free <- struct{}{}
		}
	}()
	err := s.Model.Hold(h)
	j.held = err == nil
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
