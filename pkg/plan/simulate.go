package plan

import (
	"container/heap"
	"math"
)

// slot is a place where one worker runs at a time.
type slot struct {
	free  float64 // when
	pool  int     // whose model is loaded; -1: none yet
	order int     // slots that are free at once are taken in this order
}

type slots []slot

func (s slots) Len() int { return len(s) }
func (s slots) Less(i, j int) bool {
	return s[i].free < s[j].free || s[i].free == s[j].free && s[i].order < s[j].order
}
func (s slots) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *slots) Push(x any)   { *s = append(*s, x.(slot)) }
func (s *slots) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

func newSlots(n int) slots {
	s := make(slots, n) // equal times in order: a heap already
	for i := range s {
		s[i] = slot{pool: -1, order: i}
	}
	return s
}

// play is a schedule in the making.
type play struct {
	*Forecast
	queues [][]int   // of each pool: numbers of jobs left
	ends   []float64 // of each job; infinite: it was not begun
}

func (f *Forecast) play() *play {
	p := &play{Forecast: f, queues: make([][]int, len(f.Pools)), ends: make([]float64, len(f.Jobs))}
	for i, j := range f.Jobs {
		pool := f.index[j.Pool]
		p.queues[pool] = append(p.queues[pool], i)
		p.ends[i] = math.Inf(1)
	}
	return p
}

// ready is when the jobs of a pool may begin: when all that they come after have ended. Infinite: one of those was not begun.
func (p *play) ready(pool int) float64 {
	at := 0.0
	for _, job := range p.Pools[pool].after {
		at = max(at, p.ends[job])
	}
	return at
}

// next is the pool with the longest job that may begin at a time; where none may, that of which one may first, and when.
func (p *play) next(now float64) (pool int, at float64) {
	best, first, soonest := -1, -1, math.Inf(1)
	for i, q := range p.queues {
		if len(q) == 0 {
			continue
		}
		at := p.ready(i)
		if at <= now && (best < 0 || q[0] < p.queues[best][0]) {
			best = i
		}
		if at < soonest || first < 0 {
			first, soonest = i, at
		}
	}
	if best >= 0 {
		return best, now
	}
	if math.IsInf(soonest, 1) {
		soonest = now // a plan in which jobs wait for each other
	}
	return first, max(soonest, now)
}

// take does the next job of a pool from a time on, and gives its end.
func (p *play) take(pool int, from float64) float64 {
	job := p.queues[pool][0]
	p.queues[pool] = p.queues[pool][1:]
	p.ends[job] = from + p.Jobs[job].Seconds
	return p.ends[job]
}

// drain plays workers that load once and do one job of their pool after another, longest first. A worker whose pool has none left ends,
// and the next one begins in its slot: of the pool with the longest job left that may begin. It tells how many workers each pool had.
func (f *Forecast) drain(workers int) (Schedule, []int) {
	var r Schedule
	started := make([]int, len(f.Pools))
	p := f.play()
	all := newSlots(min(workers, len(f.Jobs)))
	for range f.Jobs {
		s := &all[0]
		if s.pool < 0 || len(p.queues[s.pool]) == 0 {
			s.pool, s.free = p.next(s.free)
			load := f.Pools[s.pool].Load
			s.free += load
			r.Loads += load
			r.Workers++
			started[s.pool]++
		}
		s.free = p.take(s.pool, s.free)
		r.Makespan = max(r.Makespan, s.free)
		heap.Fix(&all, 0)
	}
	return r, started
}

// oneEach plays a worker for every job, started in their order as far as they may begin.
func (f *Forecast) oneEach(workers int) Schedule {
	r := Schedule{Workers: len(f.Jobs)}
	p := f.play()
	all := newSlots(min(workers, len(f.Jobs)))
	for range f.Jobs {
		s := &all[0]
		pool, at := p.next(s.free)
		load := f.Pools[pool].Load
		s.free = p.take(pool, at+load)
		r.Loads += load
		r.Makespan = max(r.Makespan, s.free)
		heap.Fix(&all, 0)
	}
	return r
}
