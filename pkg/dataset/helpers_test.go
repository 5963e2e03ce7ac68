package dataset

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sextant/pkg/spec"
)

var update = flag.Bool("update", false, "write the golden files")

// write makes a file in a directory of the test's own and gives its path.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// rowsOf reads a file and gives its rows as JSON with sorted keys.
func rowsOf(f spec.Files, limit int) ([]string, error) {
	t, err := readTable(f, limit)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, raw := range t.rows {
		row, err := canonical(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, string(row))
	}
	return out, nil
}

// entry is a dataset written in TOML as a user would, its test file in the place of TEST and its train file in that of TRAIN.
func entry(t testing.TB, toml, test, train string) spec.Dataset {
	t.Helper()
	files := ""
	if train != "" {
		files = "train = { path = '" + write(t, "train.jsonl", train) + "' }\n"
	}
	files += "test = { path = '" + write(t, "test.jsonl", test) + "' }\n"
	d, err := spec.DecodeDataset("sample", []byte(files+toml))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// catalogOnce reads the catalog for all tests.
var catalogOnce = sync.OnceValues(NewCatalog)

func builtIn(t testing.TB) *Catalog {
	t.Helper()
	c, err := catalogOnce()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t testing.TB, d spec.Dataset) *Set {
	t.Helper()
	s, err := Open(d, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func item(t testing.TB, s *Set, row int, roles *Roles) *Item {
	t.Helper()
	it, err := s.Item(row, roles)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// wantError fails unless err holds every part.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q:\n%v", part, err)
		}
	}
}
