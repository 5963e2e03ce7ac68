package slurm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sextant/internal/points"
	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// berth is where new arrays of a pool go: a lane, and what they may run there.
type berth struct {
	lane   string // "": a new one, named by its first array
	room   int    // elements that may run at once beside what is there
	cap    int    // that an array may run after those before it
	weight float64
}

// take counts an array that was submitted.
func (b *berth) take(a *array) {
	if b == nil || len(a.Gate) > 0 {
		return
	}
	b.lane = a.Lane
	if !a.waiting {
		b.room -= min(b.room, a.throttle)
	}
}

// moor gives an array of n jobs the arrays it must wait for and its throttle. Where the site lets nobody change jobs, no array waits for others:
// it could not be let go when most of those have ended, and few of the workers would run. More are taken when there is room, as many as can
// begin at once; the price is that nothing but what is queued runs when nobody watches.
func (s *Scheduler) moor(ctx context.Context, b *berth, n int) (after []string, throttle int, err error) {
	if b.room > 0 {
		return nil, min(b.room, n), nil
	}
	for _, a := range s.arrays {
		switch {
		case a.Lane != b.lane || a.live == 0 || a.void || a.lost:
		case a.id == "":
			return nil, 0, fmt.Errorf("%w: it is not known yet whether an earlier submission is complete", scheduler.ErrBusy)
		default:
			after = append(after, a.id)
		}
	}
	if len(after) == 0 {
		return nil, 0, fmt.Errorf("%w: all workers are in use", scheduler.ErrBusy)
	}
	if s.tryChange(ctx); s.changes == refusedChanges {
		return nil, 0, fmt.Errorf("%w: all workers are in use, and this cluster does not let waiting jobs be changed, so that none are queued "+
			"behind others", scheduler.ErrBusy)
	}
	return after, max(min(b.cap, n), 1), nil
}

// gate gives the numbers of what jobs are to follow and has not ended: arrays, where all is meant that is left of them.
func (s *Scheduler) gate(after []scheduler.Ref) []string {
	wanted := map[*array][]int{}
	var order []*array
	for _, r := range after {
		p, ok := s.byName[r.Name]
		if !ok || p.id == "" || p.element().final {
			continue
		}
		if wanted[p.array] == nil {
			order = append(order, p.array)
		}
		wanted[p.array] = append(wanted[p.array], p.index)
	}
	var ids []string
	for _, a := range order {
		if len(wanted[a]) >= unended(a) {
			ids = append(ids, a.id)
			continue
		}
		for _, i := range wanted[a] {
			ids = append(ids, fmt.Sprintf("%s_%d", a.id, i))
		}
	}
	return ids
}

// byAfter parts jobs that follow different ones.
func byAfter(jobs []scheduler.Job) [][]scheduler.Job {
	var parts [][]scheduler.Job
	for _, j := range jobs {
		i := slices.IndexFunc(parts, func(p []scheduler.Job) bool { return slices.Equal(p[0].After, j.After) })
		if i < 0 {
			i = len(parts)
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], j)
	}
	return parts
}

// loads are the live arrays as the throttle sees them.
func (s *Scheduler) loads() ([]load, []*array) {
	live := map[string]bool{}
	for _, a := range s.arrays {
		if a.live > 0 && a.id != "" {
			live[a.id] = true
		}
	}
	var loads []load
	var arrays []*array
	for _, a := range s.arrays {
		if a.live == 0 || a.void || a.lost || a.running == 0 && slices.ContainsFunc(a.Gate, func(id string) bool { return live[arrayOf(id)] }) {
			continue
		}
		a.waiting = a.waiting && a.running == 0 && slices.ContainsFunc(a.After, func(id string) bool { return live[id] })
		arrays = append(arrays, a)
		loads = append(loads, load{lane: a.Lane, weight: a.weight, live: a.live, running: a.running, throttle: a.throttle, waiting: a.waiting})
	}
	return loads, arrays
}

// berths finds each pool of new jobs its lane: the pool's own when it has one, a new one when there is room, else one that ends early.
func (s *Scheduler) berths(ctx context.Context, jobs []scheduler.Job) map[string]*berth {
	loads, arrays := s.loads()
	lanes := map[string]string{}
	for _, a := range arrays {
		lanes[a.Pool] = a.Lane
	}
	there := len(loads)
	at := map[string]int{}
	var pools []string
	for _, j := range jobs {
		i, ok := at[j.Pool]
		if !ok {
			i = len(loads)
			at[j.Pool] = i
			pools = append(pools, j.Pool)
			lane := lanes[j.Pool]
			if lane == "" {
				lane = "new " + j.Pool
			}
			loads = append(loads, load{lane: lane, waiting: true, fresh: true})
		}
		loads[i].live++
		loads[i].weight += weightOf(j.Weight)
	}
	settings := allot(s.opt.Workers, loads)
	s.tell(ctx, arrays, settings[:there])
	return s.settle(pools, lanes, loads, settings, at)
}

// settle turns what was allotted into berths.
func (s *Scheduler) settle(pools []string, lanes map[string]string, loads []load, settings []setting, at map[string]int) map[string]*berth {
	now, arrays := s.loads()
	sums, order := chains(now)
	var all []*berth
	byLane := map[string]*berth{}
	for k, l := range sums {
		b := &berth{lane: arrays[order[k][0]].Lane, cap: max(l.reserve, 1), weight: l.weight}
		byLane[b.lane] = b
		all = append(all, b)
	}
	berths := make(map[string]*berth, len(pools))
	for _, pool := range pools {
		l, set := loads[at[pool]], settings[at[pool]]
		b := byLane[lanes[pool]]
		switch {
		case b == nil && !set.release && len(all) > 0:
			b = slices.MinFunc(all, func(a, b *berth) int {
				return compare(a.weight/float64(a.cap), b.weight/float64(b.cap))
			})
		case b == nil:
			b = &berth{}
			all = append(all, b)
		}
		if set.release {
			b.room += set.throttle
			b.cap += set.throttle
		}
		b.cap = max(b.cap, 1)
		b.weight += l.weight
		berths[pool] = b
	}
	return berths
}

// arrayOf is the number of an element's array.
func arrayOf(id string) string {
	array, _, _ := strings.Cut(id, "_")
	return array
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func weightOf(w float64) float64 {
	if w <= 0 {
		return 1
	}
	return sane(w)
}

// tells is how many arrays are told something new at once; the others the next time.
const tells = 16

// balance gives room that has become free to those that can use it.
func (s *Scheduler) balance(ctx context.Context) {
	loads, arrays := s.loads()
	s.tell(ctx, arrays, allot(s.opt.Workers, loads))
}

// tell gives arrays their throttles, where they differ: those that get less before those that get more. What cannot be told is tried again
// after the next look.
func (s *Scheduler) tell(ctx context.Context, arrays []*array, settings []setting) {
	told := 0
	for _, raise := range []bool{false, true} {
		for i, a := range arrays {
			set := settings[i]
			more := set.release || a.throttle > 0 && set.throttle > a.throttle
			if a.id == "" || more != raise || set.throttle == a.throttle && !set.release || set.throttle < 1 {
				continue
			}
			if told++; told > tells {
				return
			}
			args := []string{"update", "jobid=" + a.id, "ArrayTaskThrottle=" + strconv.Itoa(set.throttle)}
			if set.release {
				args = append(args, "Dependency=")
			}
			if !s.update(ctx, args) {
				if !raise || s.changes == refusedChanges {
					return // what this array should give up is not free
				}
				continue
			}
			a.throttle = set.throttle
			a.waiting = a.waiting && !set.release
			points.Reached("slurm:throttle-told")
		}
	}
}

// changes says whether this user may change jobs of his: some sites refuse it.
type changes int

const (
	unknownChanges changes = iota
	allowedChanges
	refusedChanges
)

// forbidden is what is said to who may not change a job.
var forbidden = regexp.MustCompile(`(?i)denied|not permitted|invalid user id|disabled|prohibited|not allowed`)

// update runs scontrol update and says whether it had its effect. On an array of which some elements have ended it complains of those.
func (s *Scheduler) update(ctx context.Context, args []string) bool {
	_, err := s.cli.finish(ctx, "scontrol", args...)
	var e *batch.CommandError
	ok := err == nil
	if errors.As(err, &e) && e.Code == 1 {
		text := e.Text
		ok = strings.Contains(text, "No error") || strings.Contains(text, "no longer pending") || strings.Contains(text, "already completing")
		if !ok && forbidden.MatchString(text) {
			s.changes = refusedChanges
		}
	}
	if ok {
		s.changes = allowedChanges
	}
	return ok
}

// tryChange finds out whether jobs may be changed, where it is not known, by telling an array the throttle that it has.
func (s *Scheduler) tryChange(ctx context.Context) {
	for _, a := range s.arrays {
		if s.changes == unknownChanges && a.live > 0 && a.id != "" && a.throttle > 0 && !a.void && !a.lost {
			s.update(ctx, []string{"update", "jobid=" + a.id, "ArrayTaskThrottle=" + strconv.Itoa(a.throttle)})
			return
		}
	}
}

// most is how many jobs an array at a berth may have.
func (s *Scheduler) most(b *berth, first scheduler.Job) int {
	n := s.limit()
	if s.changes == refusedChanges && b != nil && b.room < s.opt.Workers && len(s.gate(first.After)) == 0 {
		n = max(min(n, b.room), 1)
	}
	return n
}

// avoid tells live arrays of nodes that new jobs are not to run on.
func (s *Scheduler) avoid(ctx context.Context, jobs []scheduler.Job) {
	bad := map[string]bool{}
	for _, j := range jobs {
		for _, n := range j.Exclude {
			bad[n] = true
		}
	}
	for _, a := range s.arrays {
		if len(bad) == 0 || a.id == "" || a.live <= a.running || a.void || a.lost {
			continue
		}
		had := len(a.Asked.Exclude)
		nodes := slices.Clone(a.Asked.Exclude)
		for n := range bad {
			if !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
		}
		if len(nodes) == had {
			continue
		}
		slices.Sort(nodes)
		names := strings.Join(nodes, ",")
		if s.opt.Ask.Exclude != "" {
			names = s.opt.Ask.Exclude + "," + names
		}
		if s.update(ctx, []string{"update", "jobid=" + a.id, "ExcNodeList=" + names}) {
			a.Asked.Exclude = nodes
		} else if s.changes == refusedChanges {
			return
		}
	}
}
