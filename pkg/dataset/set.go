package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"sextant/pkg/spec"
)

// Set is a dataset opened: its rows, and its prompt bound to them. It is not changed after Open and may be used by many goroutines.
type Set struct {
	d       spec.Dataset
	program *program
	test    *table
	shots   *shots
	files   []usedFile
	windows int // most windows of a rolling dataset, 0: all
}

// usedFile is a file as it was when it was read.
type usedFile struct {
	role string
	path string
	stat os.FileInfo
}

// Open reads the first limit rows of the dataset's test split (0: all) and what its examples need of the train split. A rolling dataset's
// rows are windows: its text is read whole, and the limit is on them (MaxWindows). Open checks that every row can be rendered: every
// column that is named is there, and the gold answer is one of the labels. Errors name the file, the row (from 0) and the line.
func Open(d spec.Dataset, limit int) (*Set, error) {
	s := &Set{d: d.WithDefaults()}
	if err := s.open(limit); err != nil {
		return nil, fmt.Errorf("dataset %s: %w", d.Abbr, err)
	}
	return s, nil
}

func (s *Set) open(limit int) (err error) {
	if len(s.d.Subsets) > 0 {
		return fmt.Errorf("it is a family of %d datasets: open one of them, as %s-%s", len(s.d.Subsets), s.d.Abbr, keys(s.d.Subsets)[0])
	}
	if limit < 0 {
		return fmt.Errorf("the limit is %d: it must be 0 (all rows) or more", limit)
	}
	if s.d.Mode != spec.Rolling && s.d.Answer == "" {
		return errors.New("answer is not set: it names the column with the right answer")
	}
	if s.d, err = brought(s.d); err != nil {
		return err
	}
	if err := s.stat(); err != nil {
		return err
	}
	if s.d.Mode == spec.Rolling {
		s.windows, limit = limit, 0
	}
	if s.test, err = readTable(s.d.Test, limit); err != nil {
		return err
	}
	if s.shots, err = openShots(s.d); err != nil {
		return err
	}
	head, err := decode(s.test.rows[0])
	if err != nil {
		return fmt.Errorf("%s: %w", s.test.at(0), err)
	}
	if s.program, err = newProgram(s.d, keys(head)); err != nil {
		return fmt.Errorf("%s: %w", s.test.path, err)
	}
	return s.checkRows()
}

func (s *Set) stat() error {
	use := func(role, path string) error {
		if path == "" {
			return nil
		}
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			remedy := "put it there, or set data_dir, or the dataset's own path"
			if strings.HasPrefix(role, "train") {
				remedy += `; few_shot.kind = "none" asks without examples`
			}
			return fmt.Errorf("%s file: %w: %s", role, err, remedy)
		}
		if err != nil {
			return fmt.Errorf("%s file: %w", role, err)
		}
		s.files = append(s.files, usedFile{role, path, st})
		return nil
	}
	err := errors.Join(use("test", s.d.Test.Path), use("test labels", s.d.Test.Labels))
	if s.d.Train != nil && s.d.FewShot.Kind != "none" {
		err = errors.Join(err, use("train", s.d.Train.Path), use("train labels", s.d.Train.Labels))
	}
	for _, name := range keys(s.d.Columns) {
		err = errors.Join(err, use("column "+name, s.d.Columns[name].File))
	}
	return err
}

// checkRows renders every row once that the sieve does not pass, and every row that may become an example.
func (s *Set) checkRows() error {
	sure := newSieve(s.program)
	err := eachRow(len(s.test.rows), func(row int) error {
		if sure.passes(s.test.rows[row]) {
			return nil
		}
		v, err := s.program.makers.view(s.test.rows[row])
		if err == nil {
			err = s.program.check(v)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.test.at(row), err)
		}
		return nil
	})
	if err != nil || s.shots == nil {
		return err
	}
	ids := s.shots.ids
	if s.shots.kind == "random" {
		ids = make([]int, len(s.shots.train.rows))
		for i := range ids {
			ids[i] = i
		}
	}
	return eachRow(len(ids), func(i int) error {
		_, err := s.example(ids[i], nil)
		return err
	})
}

// eachRow calls check for every row, on all processors, and gives the error of the first row that has one.
func eachRow(n int, check func(int) error) error {
	workers := min(runtime.GOMAXPROCS(0), 1+n/256)
	found := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := n * w / workers; i < n*(w+1)/workers && found[w] == nil; i++ {
				found[w] = check(i)
			}
		})
	}
	wg.Wait()
	if i := slices.IndexFunc(found, func(err error) bool { return err != nil }); i >= 0 {
		return found[i]
	}
	return nil
}

// MaxWindows is how many windows of a rolling dataset are wanted; 0: all.
func (s *Set) MaxWindows() int { return s.windows }

// Digest is the SHA-256, in hex, of the bytes of every file used, whatever the limit. A file that was changed since Open is an error.
func (s *Set) Digest() (string, error) {
	h := sha256.New()
	for _, f := range s.files {
		st, err := os.Stat(f.path)
		if err != nil {
			return "", fmt.Errorf("dataset %s: %w", s.d.Abbr, err)
		}
		if st.Size() != f.stat.Size() || !st.ModTime().Equal(f.stat.ModTime()) {
			return "", fmt.Errorf("dataset %s: %s was changed while it was used: run again", s.d.Abbr, f.path)
		}
		fmt.Fprintf(h, "%s %d\n", f.role, st.Size())
		if err := hashFile(h, f.path); err != nil {
			return "", fmt.Errorf("dataset %s: %w", s.d.Abbr, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(h io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(h, f)
	return err
}
