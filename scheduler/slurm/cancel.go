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
	var strays, tokens []string
	for _, r := range refs {
		if id, ok := s.stray(r); ok {
			strays = append(strays, id)
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
	waiting, running := strays, []string(nil)
	for _, a := range order {
		if a.id == "" {
			for _, i := range wanted[a] {
				a.elements[i].unwanted = true // should it appear
			}
			if len(wanted[a]) >= unended(a) {
				tokens = append(tokens, a.Token)
			}
			continue
		}
		early, late := a.targets(wanted[a])
		waiting, running = append(waiting, early...), append(running, late...)
	}
	for _, a := range order {
		for _, i := range wanted[a] {
			a.elements[i].cancel = true
		}
	}
	err := s.scancel(ctx, waiting)
	for _, token := range tokens {
		err = errors.Join(err, s.scancelNamed(ctx, token))
	}
	return errors.Join(err, s.scancel(ctx, running))
}

// stray is the number of a job that Live found under a number that is not its name's.
func (s *Scheduler) stray(r scheduler.Ref) (string, bool) {
	id, _, _ := strings.Cut(r.ID, "_")
	a := s.strays[id]
	if a == nil {
		return "", false
	}
	if p, ok := s.byName[r.Name]; ok && p.array == a && a.id == id {
		return "", false
	}
	return r.ID, true
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
		return []string{a.id}, nil
	case len(indexes) >= unended(a):
		// Its pending elements go first; by then others may have begun.
		return ranges(a.id, early), []string{a.id}
	}
	return ranges(a.id, early), ranges(a.id, late)
}

// ranges writes indexes, which are sorted, in Slurm's short form, in words of a length that it takes.
func ranges(id string, indexes []int) []string {
	var words []string
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

func (s *Scheduler) scancel(ctx context.Context, ids []string) error {
	var all error
	for part := range slices.Chunk(ids, atOnce) {
		points.Reached("slurm:before-scancel")
		_, err := s.cli.finish(ctx, "scancel", part...)
		points.Reached("slurm:after-scancel")
		all = errors.Join(all, cancelled(err))
	}
	return all
}

// scancelNamed cancels an array whose number is not known.
func (s *Scheduler) scancelNamed(ctx context.Context, token string) error {
	_, err := s.cli.finish(ctx, "scancel", "--name="+token, "-u", strconv.Itoa(os.Getuid()))
	return cancelled(err)
}

// cancelled is the error of a scancel. That jobs have ended, or are not known any more, is none.
func cancelled(err error) error {
	if err == nil {
		return nil
	}
	var e *commandError
	if errors.As(err, &e) {
		text := strings.ToLower(e.Text)
		if strings.Contains(text, "already completing or completed") || strings.Contains(text, "invalid job id") {
			return nil
		}
		if e.Code == 8 {
			return fmt.Errorf("cancelling jobs: %w: %w", scheduler.ErrDown, explain(err))
		}
	}
	return fmt.Errorf("cancelling jobs: %w", explain(err))
}
