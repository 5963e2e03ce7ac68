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
)

// Cancel asks Slurm to end jobs: pending ones before running ones, so that none begins in the place of another; those get SIGTERM, and SIGKILL
// after the cluster's KillWait. Jobs that have ended, and jobs that nobody knows, are no error. One that wraps scheduler.ErrDown says that
// the controller does not answer and nothing may have been cancelled.
func (s *Scheduler) Cancel(ctx context.Context, refs []scheduler.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.soon()
	wanted := map[*array][]int{}
	var order []*array
	strays := map[string][]string{}
	for _, r := range refs {
		if a := s.stray(r); a != nil {
			strays[a.Token] = append(strays[a.Token], r.ID)
			continue
		}
		p, ok := s.byName[r.Name]
		if !ok || p.element().final || p.lost {
			continue
		}
		if wanted[p.array] == nil {
			order = append(order, p.array)
		}
		wanted[p.array] = append(wanted[p.array], p.index)
	}
	var waiting, running []target
	for token, ids := range strays {
		waiting = append(waiting, target{token, ids})
	}
	for _, a := range order {
		early, late := a.cancel(wanted[a])
		waiting, running = append(waiting, early...), append(running, late...)
	}
	return s.scancel(ctx, slices.Concat(waiting, running))
}

// cancel notes that elements are cancelled and gives those that wait, and those that may run.
func (a *array) cancel(indexes []int) (waiting, running []target) {
	for _, i := range indexes {
		a.elements[i].cancel, a.elements[i].unwanted = true, a.id == ""
	}
	switch {
	case a.id != "":
		early, late := a.targets(indexes)
		return []target{{a.Token, early}}, []target{{a.Token, late}}
	case len(indexes) >= unended(a):
		return []target{{token: a.Token}}, nil
	}
	return nil, nil // they are cancelled when they appear
}

// target is what one scancel ends: jobs of a name, and of these numbers. A number alone may be another's by now: a controller that was killed
// gives numbers again.
type target struct {
	token string
	ids   []string // none: all of that name
}

// stray is the array of a job that Live found under a number that is not its name's.
func (s *Scheduler) stray(r scheduler.Ref) *array {
	a := s.strays[r.ID]
	if p, ok := s.byName[r.Name]; a != nil && ok && p.array == a && a.id == arrayOf(r.ID) {
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

// targets names elements as scancel takes them: those that wait, and those that may run. All of an array that have not ended are the array.
func (a *array) targets(indexes []int) (waiting, running []string) {
	slices.Sort(indexes)
	indexes = slices.Compact(indexes)
	var early, late []int
	for _, i := range indexes {
		if a.elements[i].occupied {
			late = append(late, i)
		} else {
			early = append(early, i)
		}
	}
	switch {
	case len(indexes) >= unended(a) && len(late) == 0:
		return []string{a.id}, []string{}
	case len(indexes) >= unended(a):
		// Its pending elements go first; by then others may have begun.
		return ranges(a.id, early), []string{a.id}
	}
	return ranges(a.id, early), ranges(a.id, late)
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
			all = errors.Join(all, s.scancelOnce(ctx, slices.Concat([]string{"--name=" + t.token}, part)...))
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
	var e *commandError
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
