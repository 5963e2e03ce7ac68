package slurm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"sextant/scheduler"
)

// endsSuffix is a line of JSON for each thing that became of an array's jobs which Slurm forgets: how they ended, and that they were cancelled.
const endsSuffix = ".ends"

// ending is such a line. Of several of one job the last counts.
type ending struct {
	Index    int               `json:"i"`
	Cancel   bool              `json:"cancel,omitempty"`
	Unwanted bool              `json:"unwanted,omitempty"`
	Status   *scheduler.Status `json:"status,omitempty"` // terminal
}

// fate is what of an element its array's file holds.
type fate struct{ cancel, unwanted, final bool }

// save notes what became of an array's jobs since it last did so. A note that cannot be written is tried again by the next save, and one
// that is lost costs no more than asking Slurm again, so that neither is an error and nothing is synced.
func (s *Scheduler) save(a *array) {
	if a.void {
		return
	}
	var lines bytes.Buffer
	for i := range a.elements {
		e := &a.elements[i]
		if e.fate() == e.saved {
			continue
		}
		end := ending{Index: i, Cancel: e.cancel, Unwanted: e.unwanted}
		if e.final {
			end.Status = &e.status
		}
		line, err := json.Marshal(end)
		if err != nil {
			continue
		}
		lines.Write(append(line, '\n'))
	}
	if lines.Len() == 0 {
		return
	}
	f, err := os.OpenFile(s.path(a.Token, endsSuffix), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return
	}
	_, err = f.Write(append([]byte{'\n'}, lines.Bytes()...)) // a line that a dead process left torn ends here
	if errors.Join(err, f.Close()) != nil {
		return
	}
	for i := range a.elements {
		a.elements[i].saved = a.elements[i].fate()
	}
}

func (e *element) fate() fate { return fate{e.cancel, e.unwanted, e.final} }

// restore reads what save wrote. Lines that are torn, or of no job of the array, are left out.
func (s *Scheduler) restore(a *array) error {
	text, err := os.ReadFile(s.path(a.Token, endsSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range bytes.Lines(text) {
		end := ending{Index: -1}
		if json.Unmarshal(line, &end) != nil || end.Index < 0 || end.Index >= len(a.elements) {
			continue
		}
		e := &a.elements[end.Index]
		e.cancel, e.unwanted = end.Cancel, end.Unwanted
		if end.Status != nil && end.Status.State.Terminal() && end.Status.State != "" {
			e.status, e.final = *end.Status, true
		}
		e.saved = e.fate()
	}
	a.live, a.weight = 0, 0
	for i := range a.elements {
		if !a.elements[i].final {
			a.live++
			a.weight += a.weightOf(i)
		}
	}
	a.looked = a.live == 0 && a.id != "" // there is no more to learn
	return nil
}
