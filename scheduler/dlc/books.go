package dlc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sextant/scheduler"
)

// booksName is the file of the scheduler's books in Options.Dir.
const booksName = "jobs.jsonl"

// record is what the books hold of a job. Each line says what is new; later ones win.
type record struct {
	Name    string            `json:"name"`
	Display string            `json:"display,omitempty"` // its name at DLC
	Log     string            `json:"log,omitempty"`     // its own log
	Held    time.Time         `json:"held,omitzero"`     // since when it waits for its turn here
	Intent  time.Time         `json:"intent,omitzero"`   // when it was about to be created: from then on it may be there
	ID      string            `json:"id,omitempty"`      // DLC's
	Cancel  bool              `json:"cancel,omitempty"`  // it was asked to end
	Void    bool              `json:"void,omitempty"`    // DLC refused it: it is not there
	Final   *scheduler.Status `json:"final,omitempty"`   // how it ended
}

// read reads the books.
func (s *Scheduler) read() error {
	text, err := os.ReadFile(filepath.Join(s.opt.Dir, booksName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading which jobs were created: %w", err)
	}
	for line := range bytes.Lines(text) {
		var r record
		if json.Unmarshal(line, &r) != nil || r.Name == "" {
			continue // torn by a death, and then what it was to say has not been done
		}
		s.learn(r)
	}
	return nil
}

// open reads the books and goes on with them.
func (s *Scheduler) open() error {
	if err := s.read(); err != nil {
		return err
	}
	for name, j := range s.jobs {
		switch {
		case j.Final != nil:
			j.status = *j.Final
		case !j.created() && !s.opt.Watching:
			delete(s.jobs, name) // it was never created, and nobody will
		}
	}
	var err error
	if s.books, err = os.OpenFile(filepath.Join(s.opt.Dir, booksName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
		return fmt.Errorf("opening the books of the jobs: %w", err)
	}
	return nil
}

// learn takes a line of the books in.
func (s *Scheduler) learn(r record) {
	j := s.jobs[r.Name]
	if j == nil {
		j = &job{record: record{Name: r.Name, Display: displayName(r.Name)}, status: scheduler.Status{State: scheduler.Pending}}
		s.jobs[r.Name] = j
	}
	switch {
	case r.Void:
		delete(s.jobs, r.Name)
	case r.Final != nil && r.Final.State.Terminal():
		j.Final = r.Final
	case r.ID != "":
		j.ID = r.ID
	case !r.Intent.IsZero():
		j.Intent = r.Intent
	case !r.Held.IsZero():
		j.Held, j.Log = r.Held, r.Log
	}
	j.cancel = j.cancel || r.Cancel
}

// note adds a line to the books; with sync, so that it is there whatever happens next.
func (s *Scheduler) note(r record, sync bool) error {
	line, err := json.Marshal(r)
	if err == nil {
		_, err = s.books.Write(append(append([]byte{'\n'}, line...), '\n')) // a line that a dead process left torn ends here
	}
	if err == nil && sync {
		err = s.books.Sync()
	}
	if err != nil {
		return fmt.Errorf("noting what becomes of job %q: %w", r.Name, err)
	}
	return nil
}

// end notes how a job ended. A note that is lost costs no more than asking DLC again.
func (s *Scheduler) end(j *job, st scheduler.Status) {
	j.status, j.Final = st, &st
	_ = s.note(record{Name: j.Name, Final: &st}, false)
}

// Logs are the logs of all jobs by their names, from the files of a scheduler's directory alone: their own, or what was fetched of them.
func Logs(dir string) (map[string]string, error) {
	s := &Scheduler{opt: Options{Dir: dir}, jobs: map[string]*job{}}
	if err := s.read(); err != nil {
		return nil, err
	}
	logs := map[string]string{}
	for name, j := range s.jobs {
		logs[name] = j.Log
		if j.Final != nil && j.Final.Log != "" {
			logs[name] = j.Final.Log
		}
	}
	return logs, nil
}
