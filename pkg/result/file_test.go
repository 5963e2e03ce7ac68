package result

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"sextant/internal/smalldisk"
)

func header(from, to int) Header {
	return Header{Version: Version, Task: "m/d", Digest: "0123456789abcdef", From: from, To: to}
}

func records(from, to int) []Record {
	var rs []Record
	for i := from; i < to; i++ {
		rs = append(rs, Record{Row: i, Digest: fmt.Sprintf("%016x", i), Labels: []string{"A", "B"}, NLL: []float64{float64(i) / 3, 1e-300}, Tokens: []int{3, 4}, Gold: []string{"<A> & \"sha256\":"}})
	}
	return rs
}

func writeFile(t *testing.T, from, to int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "results", "s.jsonl")
	if err := Write(path, header(from, to), records(from, to)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWriteRead(t *testing.T) {
	for _, r := range [][2]int{{0, 0}, {0, 1}, {5, 25}} {
		path := writeFile(t, r[0], r[1])
		h, got, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if h != header(r[0], r[1]) || !reflect.DeepEqual(got, records(r[0], r[1])) {
			t.Errorf("rows %v came back as %+v %+v", r, h, got)
		}
		if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
			t.Errorf("the directory holds %v, want the file alone", entries)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	nan := records(0, 2)
	nan[1].NLL[0] = math.NaN()
	for name, c := range map[string]struct {
		h    Header
		r    []Record
		want string
	}{
		"missing row":   {header(0, 3), records(0, 2), "2 records for the 3 rows"},
		"row too many":  {header(0, 1), records(0, 2), "2 records for the 1 rows"},
		"out of order":  {header(0, 2), append(records(1, 2), records(0, 1)...), "record 1 is of row 1, want row 0"},
		"not a number":  {header(0, 2), nan, "row 1: json: unsupported value: NaN"},
		"no digest":     {Header{Task: "t", To: 1}, records(0, 1), "names no task or no digest"},
		"range reverse": {header(3, 1), nil, "no range"},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, 0, 4)
			err := Write(path, c.h, c.r)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if _, got, err := Read(path); err != nil || len(got) != 4 {
				t.Errorf("the file that was there before is harmed: %d records, %v", len(got), err)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	good, err := os.ReadFile(writeFile(t, 0, 3))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	join := func(idx ...int) []byte {
		var b []byte
		for _, i := range idx {
			b = append(b, lines[i]...)
		}
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"emptied":           {nil, "the file is empty"},
		"header only":       {join(0), "truncated after 0 records: the footer is missing"},
		"truncated":         {join(0, 1, 2), "truncated after 2 records"},
		"torn":              {good[:len(good)-90], "torn"},
		"last newline gone": {good[:len(good)-1], "torn"},
		"flipped":           {bytes.Replace(good, []byte("1e-300"), []byte("1e-301"), 1), "checksum differs"},
		"doubled":           {append(bytes.Clone(good), good...), "more after the footer in line 5"},
		"row doubled":       {join(0, 1, 1, 2, 3, 4), "line 3 is of row 0"},
		"row lost":          {join(0, 1, 3, 4), "line 3 is of row 2"},
		"rows lost at end":  {join(0, 1, 4), "checksum differs"},
		"foreign json":      {[]byte("{\"a\":1}\n"), "format version 0"},
		"foreign text":      {[]byte("hello\n"), "line 1 is no header"},
		"binary":            {bytes.Repeat([]byte{0}, 1<<16), "torn"},
		"newer":             {bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1), "format version 2, this program knows version 1"},
		"checkpoint":        {join(0, 1, 2, 3), "footer is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, c.data, 0o666); err != nil {
				t.Fatal(err)
			}
			_, got, err := Read(path)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if got != nil {
				t.Errorf("%d records of a bad file came back", len(got))
			}
		})
	}
}

// Any change of a byte is noticed.
func TestFlips(t *testing.T) {
	good, err := os.ReadFile(writeFile(t, 2, 6))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(good)
		i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		b[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "xor"))
		if _, _, err := read("f", bytes.NewReader(b)); !errors.Is(err, ErrInvalid) && !sameFooter(good, b) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, len(good)-1).Draw(t, "length")
		if _, _, err := read("f", bytes.NewReader(good[:n])); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	})
}

// sameFooter says that the change did not touch what the footer means (the case of a key's letter, which JSON in Go does not tell apart).
func sameFooter(a, b []byte) bool {
	last := func(b []byte) []byte { l := bytes.SplitAfter(b, []byte("\n")); return l[len(l)-2] }
	fa, _ := parseFooter(last(a))
	fb, ok := parseFooter(last(b))
	return ok && fa == fb
}

func TestMain(m *testing.M) {
	smalldisk.Enter()
	os.Exit(m.Run())
}

func TestDiskFull(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := &Checkpoint{f: f, h: header(0, 1)}
	if err := c.Append(records(0, 1)[0]); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("checkpoint: %v, want ENOSPC", err)
	}
}

// On a file system of 64 KiB a result that does not fit leaves the old one whole and no temporary file.
func TestDiskFullCommit(t *testing.T) {
	dir := t.TempDir()
	smalldisk.Mount(t, dir, "64k")
	path := filepath.Join(dir, "s.jsonl")
	if err := Write(path, header(0, 3), records(0, 3)); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, header(0, 3000), records(0, 3000)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("error %v, want ENOSPC", err)
	}
	if _, got, err := Read(path); err != nil || len(got) != 3 {
		t.Errorf("the old file: %d records, %v", len(got), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := writeBody(&b, header(0, 2), records(0, 2)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("{\"version\":1,\"task\":\"t\",\"digest\":\"d\",\"from\":0,\"to\":0}\n{\"count\":0,\"sha256\":\"x\"}\n"))
	f.Add([]byte("{\"version\":1,\"task\":\"t\",\"digest\":\"d\",\"from\":0,\"to\":9}\n{\"row\":3,\"digest\":\"x\"}\n{\"ro"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, rs, err := read("f", bytes.NewReader(data)); err == nil {
			if err := complete(h, rs); err != nil {
				t.Fatalf("accepted although %v", err)
			}
			var again bytes.Buffer
			if err := writeBody(&again, h, rs); err != nil {
				t.Fatal(err)
			}
		}
		h, rs, _ := readCheckpoint("f", bytes.NewReader(data))
		for _, r := range rs {
			if r.Row < h.From || r.Row >= h.To {
				t.Fatalf("row %d outside [%d,%d)", r.Row, h.From, h.To)
			}
		}
	})
}
