package plan

import "container/heap"

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

// drain plays workers that load once and do one job of their pool after another, longest first. A worker whose pool has none left ends,
// and the next one begins in its slot: of the pool with the longest job left. It tells how many workers each pool had.
func (f *Forecast) drain(workers int) (Schedule, []int) {
	var r Schedule
	started := make([]int, len(f.Pools))
	queues := make([][]int, len(f.Pools)) // numbers of jobs left
	pools := make([]int, len(f.Jobs))
	for i, j := range f.Jobs {
		pools[i] = f.index[j.Pool]
		queues[pools[i]] = append(queues[pools[i]], i)
	}
	done := make([]bool, len(f.Jobs))
	next := 0
	all := newSlots(min(workers, len(f.Jobs)))
	for left := len(f.Jobs); left > 0; left-- {
		s := &all[0]
		if s.pool < 0 || len(queues[s.pool]) == 0 {
			for done[next] {
				next++
			}
			s.pool = pools[next]
			s.free += f.Jobs[next].Load
			r.Loads += f.Jobs[next].Load
			r.Workers++
			started[s.pool]++
		}
		job := queues[s.pool][0]
		queues[s.pool], done[job] = queues[s.pool][1:], true
		s.free += f.Jobs[job].Seconds
		r.Makespan = max(r.Makespan, s.free)
		heap.Fix(&all, 0)
	}
	return r, started
}

// oneEach plays a worker for every job, started in their order.
func (f *Forecast) oneEach(workers int) Schedule {
	r := Schedule{Workers: len(f.Jobs)}
	all := newSlots(min(workers, len(f.Jobs)))
	for _, j := range f.Jobs {
		all[0].free += j.Load + j.Seconds
		r.Loads += j.Load
		r.Makespan = max(r.Makespan, all[0].free)
		heap.Fix(&all, 0)
	}
	return r
}
