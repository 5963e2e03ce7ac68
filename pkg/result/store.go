package result

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Store finds the good records of a run directory. It remembers which rows of which task each file claims, so that a question opens only
// the files that can answer it; the files themselves are read and verified at every question. One goroutine uses it at a time.
type Store struct {
	dir   Dir
	files map[string]source // by path
}

// source is a file of records.
type source struct {
	path       string
	name       string // the shard's
	attempt    int    // 0: a result file
	header     Header
	size, time int64
	bad        error // why the header cannot be used
}

// NewStore makes a store of a run directory. It knows no file before Refresh.
func NewStore(dir Dir) *Store { return &Store{dir: dir, files: map[string]source{}} }

// Refresh looks for new and changed files: of the shards named, or of all when none is.
func (s *Store) Refresh(shards ...string) error {
	if len(shards) == 0 {
		s.files = map[string]source{}
		var err error
		if shards, err = s.names(); err != nil {
			return err
		}
	}
	for _, shard := range shards {
		if err := s.note(source{path: s.dir.Result(shard), name: shard}); err != nil {
			return err
		}
		attempts, err := readDir(s.dir.join("attempts", shard))
		if err != nil {
			return err
		}
		for _, a := range attempts {
			if n, err := strconv.Atoi(a.Name()); err == nil && n > 0 {
				if err := s.note(source{path: s.dir.Rows(shard, n), name: shard, attempt: n}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// names lists every shard that has left anything.
func (s *Store) names() ([]string, error) {
	results, err := readDir(s.dir.Results())
	if err != nil {
		return nil, err
	}
	attempts, err := readDir(s.dir.Attempts())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range results {
		if name, ok := strings.CutSuffix(e.Name(), ".jsonl"); ok && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	for _, e := range attempts {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func readDir(path string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for records: %w", err)
	}
	return entries, nil
}

// note takes up a file, unless it is known and unchanged. A file that is not there, or has no header yet, is no file.
func (s *Store) note(f source) error {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		delete(s.files, f.path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for records: %w", err)
	}
	f.size, f.time = info.Size(), info.ModTime().UnixNano()
	if old, ok := s.files[f.path]; ok && old.size == f.size && old.time == f.time {
		return nil
	}
	f.header, err = readHeader(f.path)
	switch {
	case errors.Is(err, io.EOF) && f.attempt > 0:
		return nil
	case errors.Is(err, io.EOF):
		f.bad = invalid(f.path, "the file is empty or torn within line 1")
	case errors.Is(err, ErrInvalid):
		f.bad = err
	case errors.Is(err, errLong):
		f.bad = invalid(f.path, "line 1: %v", err)
	case err != nil:
		return fmt.Errorf("looking for records: %w", err)
	}
	s.files[f.path] = f
	return nil
}

// Query asks for the records of rows [From,To) of a task.
type Query struct {
	Task, Digest string
	From, To     int
	// Same decides on a record whose file has another task digest: does the row's own digest still hold? nil: none does.
	Same func(Record) bool
	// Final asks result files only, not the checkpoints of attempts.
	Final bool
}

// Rows is the answer to a Query.
type Rows struct {
	Records []Record // of distinct rows, ascending
	Stale   int      // rows whose only records were made under another digest
	Bad     []error  // files, or parts of files, that were not used; each wraps ErrInvalid
	q       Query
}

// Complete says whether every row asked for is there.
func (r *Rows) Complete() bool { return len(r.Records) == r.q.To-r.q.From }

// Missing lists the rows asked for that are not there, ascending.
func (r *Rows) Missing() []int {
	missing := make([]int, 0, r.q.To-r.q.From-len(r.Records))
	i := 0
	for row := r.q.From; row < r.q.To; row++ {
		if i < len(r.Records) && r.Records[i].Row == row {
			i++
			continue
		}
		missing = append(missing, row)
	}
	return missing
}

// Collect answers a query with the union of what result files and checkpoints hold. Of several records of a row the first wins, in this
// order: files of the very task digest, result files, shard name, attempt. Memory: the answer and one file.
func (s *Store) Collect(q Query) (*Rows, error) {
	rows := &Rows{q: q}
	found := make([]*Record, max(q.To-q.From, 0))
	stale := map[int]bool{}
	n := 0
	for _, f := range s.sources(q) {
		if n == len(found) {
			break
		}
		h, records, err := f.load()
		if err != nil {
			rows.Bad = append(rows.Bad, err)
		}
		if err != nil && !errors.Is(err, ErrInvalid) {
			return nil, err
		}
		for _, r := range records {
			switch {
			case h.Task != q.Task || r.Row < q.From || r.Row >= q.To || found[r.Row-q.From] != nil:
			case h.Digest == q.Digest || q.Same != nil && q.Same(r):
				kept := r // not records[i]: it would hold the whole file in memory
				found[r.Row-q.From] = &kept
				n++
			default:
				stale[r.Row] = true
			}
		}
	}
	rows.Records = make([]Record, 0, n)
	for i, r := range found {
		if r != nil {
			rows.Records = append(rows.Records, *r)
		} else if stale[q.From+i] {
			rows.Stale++
		}
	}
	return rows, nil
}

// sources lists the files that may answer, in the order of trust.
func (s *Store) sources(q Query) []source {
	var list []source
	for _, f := range s.files {
		if f.bad == nil && f.header.Task == q.Task && f.header.From < q.To && q.From < f.header.To && !(q.Final && f.attempt > 0) {
			list = append(list, f)
		}
	}
	other := func(f source) int {
		if f.header.Digest == q.Digest {
			return 0
		}
		return 1
	}
	slices.SortFunc(list, func(a, b source) int {
		return cmp.Or(cmp.Compare(other(a), other(b)), cmp.Compare(min(a.attempt, 1), min(b.attempt, 1)),
			cmp.Compare(a.name, b.name), cmp.Compare(a.attempt, b.attempt))
	})
	return list
}

// load reads the good records. A file that is gone holds none.
func (f source) load() (Header, []Record, error) {
	read := Read
	if f.attempt > 0 {
		read = ReadCheckpoint
	}
	h, records, err := read(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Header{}, nil, nil
	}
	return h, records, err
}

// Bad lists the files of results and attempts whose first line already shows that they are none, in a fixed order.
func (s *Store) Bad() []error {
	var bad []error
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		if err := s.files[path].bad; err != nil {
			bad = append(bad, err)
		}
	}
	return bad
}

// LastAttempt is the highest number of an attempt of a job or shard, 0 when there is none.
func (d Dir) LastAttempt(id string) (int, error) {
	entries, err := readDir(filepath.Join(d.Attempts(), id))
	last := 0
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			last = max(last, n)
		}
	}
	return last, err
}

// Collect answers one query from a run directory. Use a Store for more than one.
func Collect(dir Dir, q Query) (*Rows, error) {
	s := NewStore(dir)
	if err := s.Refresh(); err != nil {
		return nil, err
	}
	return s.Collect(q)
}
