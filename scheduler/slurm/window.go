package slurm

import (
	"errors"
	"time"

	"sextant/scheduler"
)

// window is what is known of a limit on queued jobs, which may be this user's, an account's or the cluster's. The cluster tells it only by
// refusing, so that what fitted is remembered, and asking is rare where little is to be gained.
type window struct {
	err     error     // with which the last array was refused; nil: none was, as far as is remembered
	at      time.Time // when
	full    int       // live jobs that fitted then, or more that have since
	size    int       // jobs that the next array may have; 0: as many as an array can have
	step    int       // by which size goes beyond full
	over    int       // live jobs that there would have been, had it been accepted
	refused bool      // by this submission
}

// hold is for how long no more is asked for than fitted when it was last refused.
const hold = 30 * time.Second

// slight is how many jobs are not worth an sbatch where so many are there.
func slight(live int) int { return max(live/8, 1) }

// open begins a submission of n jobs. The error says that the limit was reached of late, and that too few jobs have ended since. So few that
// they may fit all the same are asked for.
func (w *window) open(live, n int, now time.Time) error {
	w.refused = false
	if w.err == nil {
		return nil
	}
	w.step = slight(w.full)
	room := w.full - live
	if room < w.step && live+n >= w.over && now.Sub(w.at) < hold {
		return w.err
	}
	w.size = max(room, w.step)
	return nil
}

// accepted says what to ask for after an array that was accepted, which live counts: after a refusal half as much, to come near to the limit,
// until it is slight; else a little beyond what fitted, and more each time.
func (w *window) accepted(live, most int, now time.Time) error {
	switch {
	case w.err == nil:
		return nil
	case w.refused:
		w.full = live
		if w.size /= 2; w.size < slight(live) {
			return w.err
		}
		return nil
	case live < w.full:
		w.size = max(w.full-live, 1)
		return nil
	case now.Sub(w.at) < hold:
		w.full = live
		return w.err
	}
	w.full, w.size = live, w.step
	if w.step *= 2; w.size > most {
		*w = window{}
	}
	return nil
}

// refuse notes that n jobs more were refused, and gives how many to try; 0: it is not worth it.
func (w *window) refuse(n, live int, err error, now time.Time) int {
	w.err, w.at, w.full, w.over, w.size, w.refused = err, now, live, live+n, n/2, true
	if n/2 < slight(live) {
		return 0
	}
	return n / 2
}

// slow is how long a refusal may take that is worth another try at once: a controller whose queue is full answers after two minutes.
const slow = 20 * time.Second

// smaller says after how many jobs to cut an array that was refused; 0: it is no matter of size.
func (s *Scheduler) smaller(jobs []scheduler.Job, err error, took time.Duration) int {
	var clusters *refusal
	switch {
	case errors.Is(err, scheduler.ErrBusy) && errors.As(err, &clusters):
		n := s.window.refuse(len(jobs), s.liveJobs(), err, s.now())
		if took > slow {
			return 0
		}
		return n
	case errors.Is(err, scheduler.ErrUnsatisfiable):
		// The array asks for the longest limit of its jobs: those before that one are not to blame.
		longest := 0
		for i, j := range jobs {
			if l := jobs[longest].Limit; l > 0 && (j.Limit <= 0 || j.Limit > l) {
				longest = i
			}
		}
		return longest
	}
	return 0
}

// liveJobs is how many jobs have not ended, as far as is known.
func (s *Scheduler) liveJobs() int {
	n := 0
	for _, a := range s.arrays {
		n += a.live
	}
	return n
}

// limit is how many jobs an array may have.
func (s *Scheduler) limit() int {
	n := max(s.features.maxArraySize, 1)
	if s.window.size > 0 {
		n = min(n, s.window.size)
	}
	return n
}
