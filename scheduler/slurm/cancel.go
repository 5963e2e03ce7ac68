package slurm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"sextant/internal/points"
	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// Cancel asks Slurm to end jobs: pending ones before running ones, so that none begins in the place of another; those get SIGTERM, and SIGKILL
// after the cluster's KillWait. Jobs that have ended, and jobs that nobody knows, are no error. One that wraps scheduler.ErrDown says that
// the controller does not answer and nothing may have been cancelled.
//
// Cancel waits for a Submit that is under way, which a full queue can hold for two minutes an array: what that submits may be what is to be
// cancelled, and without it Cancel would miss it.
func (s *Scheduler) Cancel(ctx context.Context, refs []scheduler.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace.Soon()
	if s.unsure(refs) {
		if err := s.look(ctx); err != nil {
			return fmt.Errorf("cancelling jobs: %w", err)
		}
	}
	wanted, order := s.wanted(refs)
	var targets, running []target
	gone := map[string]bool{}
	for _, r := range refs {
		// Where there is a stray its whole array is one: an array that was given up, or has another's name.
		if a, id := s.stray(r), arrayOf(r.ID); a != nil && !gone[id] {
			gone[id] = true
			targets = append(targets, target{a.Token, []string{id}, false})
		}
	}
	for _, a := range order {
		early, late := a.cancel(wanted[a], s.looks)
		targets, running = append(targets, early...), append(running, late...)
		s.save(a)
	}
	return s.scancel(ctx, append(targets, running...))
}

// wanted gathers jobs that may live by their arrays, in order.
func (s *Scheduler) wanted(refs []scheduler.Ref) (map[*array][]int, []*array) {
	wanted := map[*array][]int{}
	var order []*array
	for _, r := range refs {
		p, ok := s.byName[r.Name]
		if !ok || p.element().final || p.lost || s.stray(r) != nil {
			continue
		}
		if wanted[p.array] == nil {
			order = append(order, p.array)
		}
		p.element().asked = true // so that a look is to show it
		wanted[p.array] = append(wanted[p.array], p.index)
	}
	for a, indexes := range wanted {
		slices.Sort(indexes)
		wanted[a] = slices.Compact(indexes)
	}
	return wanted, order
}

// unsure says that it takes a look at the queue to cancel jobs: some of an array, but not all, of which the last look is old. See target.
func (s *Scheduler) unsure(refs []scheduler.Ref) bool {
	fresh := !s.looked.IsZero() && s.lookErr == nil && s.now().Sub(s.looked) < lookEvery
	wanted, _ := s.wanted(refs)
	for a, indexes := range wanted {
		if len(indexes) < unended(a) && !(fresh && a.looked) {
			return true
		}
	}
	return slices.ContainsFunc(refs, func(r scheduler.Ref) bool { return s.stray(r) != nil && !s.stray(r).doomed })
}

// cancel notes that elements are cancelled and gives those that wait, and those that may run. Those of which the last look told nothing are
// cancelled when they appear.
func (a *array) cancel(indexes []int, look int) (waiting, running []target) {
	all := len(indexes) >= unended(a)
	var seen []int
	for _, i := range indexes {
		e := &a.elements[i]
		e.cancel = e.cancel || !e.gone
		if e.unwanted = a.id == "" || !all && e.look != look; !e.unwanted {
			seen = append(seen, i)
		}
	}
	switch {
	case a.id != "" && len(seen) > 0:
		return a.targets(seen)
	case a.id == "" && all:
		return []target{{a.Token, nil, false}}, nil
	}
	return nil, nil
}

// target is what one scancel ends. A number alone may be another's by now, for a controller that was killed gives numbers again, so that the
// array's name stands beside it: but where that array's own elements wait and some are named, a filter makes Slurm cancel all that wait. Those
// go by number alone, and only after a look that showed the number with the name.
type target struct {
	token string
	ids   []string // none: all of that name
	plain bool     // by number alone
}

// stray is the array of a job that Live found under a number that is not its name's.
func (s *Scheduler) stray(r scheduler.Ref) *array {
	a := s.strays[r.ID]
	if p, ok := s.byName[r.Name]; a != nil && ok && p.array == a && !a.doomed && a.id == arrayOf(r.ID) {
		return nil
	}
	return a
}

func unended(a *array) int {
	n := 0
	for i := range a.elements {
		if !a.elements[i].final {
			n++
		}
	}
	return n
}

// targets names elements, sorted, as scancel takes them: those that wait, and those that may run. All of an array that have not ended are the
// array.
func (a *array) targets(indexes []int) (waiting, running []target) {
	var early, late []int
	for _, i := range indexes {
		if a.elements[i].occupied {
			late = append(late, i)
		} else {
			early = append(early, i)
		}
	}
	all := len(indexes) >= unended(a)
	if all {
		running = []target{{a.Token, []string{a.id}, false}}
	} else if len(late) > 0 {
		running = []target{{a.Token, ranges(a.id, late), false}}
	}
	switch {
	case len(early) == 0 || all && len(late) == 0:
	case all:
		// Its pending elements go first, which the filter does; by then others may have begun.
		waiting = []target{{a.Token, ranges(a.id, early), false}}
	default:
		waiting = []target{{a.Token, ranges(a.id, early), true}}
	}
	return waiting, running
}

// ranges writes indexes, which are sorted, in Slurm's short form, in words of a length that it takes.
func ranges(id string, indexes []int) []string {
	words := []string{}
	var b strings.Builder
	for i := 0; i < len(indexes); {
		j := i
		for j+1 < len(indexes) && indexes[j+1] == indexes[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(indexes[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(indexes[j]))
		}
		i = j + 1
		if b.Len() > 1000 || i == len(indexes) {
			words = append(words, fmt.Sprintf("%s_[%s]", id, b.String()))
			b.Reset()
		}
	}
	return words
}

// atOnce is how many words a scancel gets.
const atOnce = 200

func (s *Scheduler) scancel(ctx context.Context, targets []target) error {
	var all error
	user := strconv.Itoa(os.Getuid())
	for _, t := range targets {
		if t.ids == nil {
			all = errors.Join(all, s.scancelOnce(ctx, "--name="+t.token, "-u", user))
		}
		for part := range slices.Chunk(t.ids, atOnce) {
			if errors.Is(all, scheduler.ErrDown) {
				return all // each try takes ten seconds
			}
			if !t.plain {
				part = append([]string{"--name=" + t.token}, part...)
			}
			all = errors.Join(all, s.scancelOnce(ctx, part...))
		}
	}
	return all
}

func (s *Scheduler) scancelOnce(ctx context.Context, args ...string) error {
	points.Reached("slurm:before-scancel")
	_, err := s.cli.finish(ctx, "scancel", args...)
	points.Reached("slurm:after-scancel")
	return cancelled(err)
}

// cancelled is the error of a scancel. That jobs have ended, or are not known any more, is none.
func cancelled(err error) error {
	if err == nil {
		return nil
	}
	var e *batch.CommandError
	if errors.As(err, &e) {
		other, known := false, false
		for line := range strings.Lines(strings.ToLower(e.Text)) {
			switch {
			case strings.Contains(line, "already completing or completed"), strings.Contains(line, "invalid job id"):
				known = true
			default:
				other = other || strings.TrimSpace(line) != ""
			}
		}
		if known && !other {
			return nil
		}
		if e.Code == 8 {
			return fmt.Errorf("cancelling jobs: %w: %w", scheduler.ErrDown, explain(err))
		}
	}
	return fmt.Errorf("cancelling jobs: %w", explain(err))
}
