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
	"sync"
	"sync/atomic"
	"syscall"
)

// Store finds the good records of a run directory. It remembers which rows of which task each file claims, so that a question opens only
// the files that can answer it; the files themselves are read and verified at every question. One goroutine uses it at a time.
type Store struct {
	dir   Dir
	files map[string]*source // by path
	tasks map[string]index   // the good ones, by task
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
func NewStore(dir Dir) *Store {
	return &Store{dir: dir, files: map[string]*source{}, tasks: map[string]index{}}
}

// Refresh looks for new and changed files: of the shards named, or of all when none is. A file that vanishes meanwhile is none.
func (s *Store) Refresh(shards ...string) error {
	if len(shards) > 0 {
		list := make([]listed, len(shards))
		for i, shard := range shards {
			list[i] = listed{shard, true, true}
		}
		_, err := s.look(list)
		return err
	}
	list, err := s.list()
	if err != nil {
		return err
	}
	there, err := s.look(list)
	if err != nil {
		return err
	}
	for path, f := range s.files {
		if !there[path] {
			s.forget(f)
		}
	}
	return nil
}

// Discover looks at the files of all shards but those that skip says: one who knows which rows go by a name needs no look at the others.
func (s *Store) Discover(skip func(shard string) bool) error {
	list, err := s.list()
	if err != nil {
		return err
	}
	_, err = s.look(slices.DeleteFunc(list, func(l listed) bool { return skip(l.shard) }))
	return err
}

// listed is a shard with what it may have left.
type listed struct {
	shard            string
	result, attempts bool
}

// list lists every shard that has left anything.
func (s *Store) list() ([]listed, error) {
	results, err := s.dir.ResultNames()
	if err != nil {
		return nil, err
	}
	attempts, err := readDir(s.dir.Attempts())
	if err != nil {
		return nil, err
	}
	list := make([]listed, len(results), len(results)+len(attempts))
	at := make(map[string]int, len(results))
	for i, name := range results {
		list[i], at[name] = listed{shard: name, result: true}, i
	}
	for _, e := range attempts {
		if !e.IsDir() {
			continue
		}
		if i, ok := at[e.Name()]; ok {
			list[i].attempts = true
		} else {
			list = append(list, listed{shard: e.Name(), attempts: true})
		}
	}
	return list, nil
}

// ResultNames lists the shards that have a result file, by one look at one directory. Whether the files are good is not looked at.
func (d Dir) ResultNames() ([]string, error) {
	entries, err := readDir(d.Results())
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".jsonl"); ok && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names, nil
}

func readDir(path string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("looking into the run directory: %w", err)
	}
	return entries, nil
}

// gone says that a file is not there (any more). On NFS one that another machine replaced or removed while it was open reads as stale.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESTALE) }

// lookers is how many shards are looked at at once: on a network file system each takes its time.
const lookers = 16

// look takes up what the shards have left, and gives the paths of what is there.
func (s *Store) look(list []listed) (map[string]bool, error) {
	found, errs := make([][]source, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(lookers, len(list)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				found[i], errs[i] = s.find(list[i])
			}
		})
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, errs[i]
	}
	there := map[string]bool{}
	fresh := map[string][]*source{}
	for i := range found {
		for k := range found[i] {
			f := &found[i][k]
			there[f.path] = true
			old, known := s.files[f.path]
			if known && *old == *f {
				continue
			}
			if known {
				s.forget(old)
			}
			s.files[f.path] = f
			if f.bad == nil {
				fresh[f.header.Task] = append(fresh[f.header.Task], f)
			}
		}
	}
	for task, files := range fresh {
		if s.tasks[task] == nil {
			s.tasks[task] = index{}
		}
		s.tasks[task].add(files)
	}
	return there, nil
}

func (s *Store) forget(f *source) {
	delete(s.files, f.path)
	if f.bad == nil {
		s.tasks[f.header.Task].remove(f)
	}
}

// find looks at the files of one shard. It changes nothing in the store.
func (s *Store) find(l listed) (list []source, err error) {
	add := func(f source) error {
		there, err := s.open(&f)
		if there {
			list = append(list, f)
		}
		return err
	}
	if l.result {
		if err := add(source{path: s.dir.Result(l.shard), name: l.shard}); err != nil {
			return nil, err
		}
	}
	if !l.attempts {
		return list, nil
	}
	attempts, err := readDir(s.dir.join("attempts", l.shard))
	if err != nil {
		return nil, err
	}
	for _, a := range attempts {
		if n, err := strconv.Atoi(a.Name()); err == nil && n > 0 {
			if err := add(source{path: s.dir.Rows(l.shard, n), name: l.shard, attempt: n}); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// open reads the header of a file, unless it is known and unchanged. That of a checkpoint never changes. A file that is not there, or has no
// header yet, is no file.
func (s *Store) open(f *source) (there bool, err error) {
	old, known := s.files[f.path]
	if known && f.attempt > 0 && old.bad == nil {
		*f = *old
		return true, nil
	}
	info, err := os.Stat(f.path)
	if err == nil {
		f.size, f.time = info.Size(), info.ModTime().UnixNano()
		if known && old.size == f.size && old.time == f.time {
			*f = *old
			return true, nil
		}
		f.header, err = readHeader(f.path)
	}
	switch {
	case err == nil:
	case gone(err), errors.Is(err, io.EOF) && f.attempt > 0:
		return false, nil
	case errors.Is(err, io.EOF):
		f.bad = invalid(f.path, "the file is empty or torn within line 1")
	case errors.Is(err, ErrInvalid):
		f.bad = err
	case errors.Is(err, errLong):
		f.bad = invalid(f.path, "line 1: %v", err)
	default:
		return false, fmt.Errorf("looking into the run directory: %w", err)
	}
	return true, nil
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
func (s *Store) sources(q Query) []*source {
	list := s.tasks[q.Task].meeting(q.From, q.To)
	if q.Final {
		list = slices.DeleteFunc(list, func(f *source) bool { return f.attempt > 0 })
	}
	other := func(f *source) int {
		if f.header.Digest == q.Digest {
			return 0
		}
		return 1
	}
	slices.SortFunc(list, func(a, b *source) int {
		return cmp.Or(cmp.Compare(other(a), other(b)), cmp.Compare(min(a.attempt, 1), min(b.attempt, 1)),
			cmp.Compare(a.name, b.name), cmp.Compare(a.attempt, b.attempt))
	})
	return list
}

// load reads the good records. A file that is gone holds none.
func (f *source) load() (Header, []Record, error) {
	read := Read
	if f.attempt > 0 {
		read = ReadCheckpoint
	}
	h, records, err := read(f.path)
	if gone(err) {
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
