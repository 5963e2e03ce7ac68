package goldens

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// updating says whether the test was called with -update, a flag that the test's package declares.
func updating() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

// Whole holds a file that is made by the program to what it is now. With -update the file is written.
func Whole(t testing.TB, path, want string) {
	t.Helper()
	if updating() {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	differs(t, path, string(got), want)
}

// Part does so with the part of a file between the lines "<!-- NAME: made by the tests -->" and "<!-- end of NAME -->".
func Part(t testing.TB, path, name, want string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+": made by the tests -->\n", "<!-- end of "+name+" -->\n"
	head, rest, ok := strings.Cut(string(raw), begin)
	part, tail, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s lacks the lines %q and %q", path, begin, end)
	}
	want = "\n" + want + "\n"
	if !updating() {
		differs(t, path, part, want)
		return
	}
	if err := os.WriteFile(path, []byte(head+begin+want+end+tail), 0o666); err != nil {
		t.Fatal(err)
	}
}

// Kept holds a list to the lines of a file, which only grows: with -update what is new is added to it, and nothing is taken away.
func Kept(t testing.TB, path string, lines []string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !(updating() && os.IsNotExist(err)) {
		t.Fatal(err)
	}
	var old []string
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if old = append(old, line); !slices.Contains(lines, line) {
			t.Errorf("%q is promised in %s and is gone, or not as it was", line, path)
		}
	}
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(old, lines))))
	if len(all) == len(old) || t.Failed() {
		return
	}
	if !updating() {
		t.Errorf("%s lacks something new; make docs adds it", path)
		return
	}
	if err := os.WriteFile(path, []byte(strings.Join(all, "\n")+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
}

// differs tells the first line that is not as it is made.
func differs(t testing.TB, path, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < min(len(a), len(b))-1 && a[i] == b[i] {
		i++
	}
	t.Errorf("%s is not what the program makes of it; make docs writes it anew. It has\n  %s\nin the place of\n  %s", path, a[i], b[i])
}
