package sweep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// The events of a watch.
const (
	evWatch   = "watch"         // the journal's first: of which directory it is
	evBegin   = "begin"         // a batch is about to be made; before anything is in its run directory
	evDrop    = "drop"          // nothing of it was made
	evDone    = string(Done)    // a checkpoint of a batch has all its scores
	evFailed  = string(Failed)  // or lacks some, for Reason
	evRefused = string(Refused) // a checkpoint with these files cannot be evaluated, for Reason
	evSame    = "same"          // a checkpoint that was evaluated has other files, and nothing is to be done
	version   = 1               // of the journal
)

// Event is one line of a watch's journal.
type Event struct {
	Time     time.Time `json:"time"`
	Event    string    `json:"event"`
	Version  int       `json:"version,omitempty"`  // watch
	Dir      string    `json:"dir,omitempty"`      // watch: the directory, absolute
	Batch    int       `json:"batch,omitempty"`    // begin, drop, done, failed: its number, from 1
	Run      string    `json:"run,omitempty"`      // begin: its run directory's name, below the work directory
	Question string    `json:"question,omitempty"` // begin: digest of what is asked
	Members  []Member  `json:"members,omitempty"`  // begin
	Name     string    `json:"name,omitempty"`     // of a checkpoint
	Files    string    `json:"files,omitempty"`    // refused, same
	Reason   string    `json:"reason,omitempty"`   // failed, refused
}

// Journal is a watch's memory, a file to which events are appended, each on disk before what it announces is done.
type Journal struct{ f *os.File }

// ErrOther says that a journal is not of the directory that is to be watched.
var ErrOther = errors.New("it is the journal of another watch")

// OpenJournal opens or makes the journal of a watch of dir, an absolute path, and gives its events. A last line that was torn when its writer
// died is cut off; lines that are no event are passed over. The caller holds the lock.
func OpenJournal(path, dir string) (*Journal, []Event, error) {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("opening the watch's journal: %w", err)
	}
	events, whole := parse(raw)
	if err := belongs(events, dir); err != nil {
		return nil, nil, fmt.Errorf("opening the watch's journal %q: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the watch's journal: %w", err)
	}
	j := &Journal{f}
	if err = f.Truncate(int64(whole)); err == nil && len(events) == 0 {
		err = j.Add(Event{Event: evWatch, Version: version, Dir: dir})
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("opening the watch's journal: %w", err)
	}
	return j, events, nil
}

// belongs says whether events are of a watch of dir.
func belongs(events []Event, dir string) error {
	for _, e := range events {
		switch {
		case e.Event != evWatch:
		case e.Version > version:
			return fmt.Errorf("its format version is %d, this program knows version %d: use the newer submit that made it", e.Version, version)
		case e.Dir != dir:
			return fmt.Errorf("%w, of %q, and a work directory has one leaderboard: give this watch another with -w DIR", ErrOther, e.Dir)
		}
	}
	return nil
}

// parse reads the lines of a journal, and says how many bytes are whole lines.
func parse(raw []byte) (events []Event, whole int) {
	whole = bytes.LastIndexByte(raw, '\n') + 1
	for line := range bytes.Lines(raw[:whole]) {
		var e Event
		if json.Unmarshal(line, &e) == nil && e.Event != "" {
			events = append(events, e)
		}
	}
	return events, whole
}

// Add appends events and forces them to disk. Torn by a full disk, they are cut off again.
func (j *Journal) Add(events ...Event) error {
	var b []byte
	for _, e := range events {
		e.Time = time.Now().Round(time.Millisecond)
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("the watch's journal: %w", err)
		}
		b = append(append(b, line...), '\n')
	}
	end, err := j.f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = j.f.Write(b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the watch's journal: %w", err), j.f.Truncate(end))
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("the watch's journal: %w", err)
	}
	return nil
}

// Close lets go of the file.
func (j *Journal) Close() error { return j.f.Close() }
