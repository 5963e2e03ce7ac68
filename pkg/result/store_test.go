package result

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func checkpoint(t testing.TB, dir Dir, shard string, n int, h Header, rs []Record) {
	t.Helper()
	c, err := CreateCheckpoint(dir.Rows(shard, n), h)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		if err := c.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
}

func TestCheckpoint(t *testing.T) {
	rows := records(10, 14)
	for name, c := range map[string]struct {
		tail string
		want string
	}{
		"whole":            {"", ""},
		"torn":             {`{"row":13,"digest":"x","nll":[1`, ""},
		"torn, valid":      {`{"row":13,"digest":"x"}`, ""},
		"a second header":  {`{"version":1,"task":"m/d","digest":"x","from":0,"to":9}` + "\n", "line 6 is a second header"},
		"garbage":          {"\x00\x00\n" + `{"row":13,"digest":"x"}` + "\n", "line 6 is no record"},
		"row of elsewhere": {`{"row":20,"digest":"x"}` + "\n" + `{"row":13,"digest":"x"}` + "\n", "line 6 is of row 20"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := Dir(t.TempDir())
			checkpoint(t, dir, "s", 1, header(10, 20), rows)
			appendTo(t, dir.Rows("s", 1), c.tail)
			h, got, err := ReadCheckpoint(dir.Rows("s", 1))
			if h != header(10, 20) || !reflect.DeepEqual(got, rows) {
				t.Errorf("got %+v %+v", h, got)
			}
			if (c.want == "") != (err == nil) || err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	dir := Dir(t.TempDir())
	checkpoint(t, dir, "s", 1, header(0, 1), nil)
	if _, err := CreateCheckpoint(dir.Rows("s", 1), header(0, 1)); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second writer of one checkpoint: %v", err)
	}
	if err := os.WriteFile(dir.Rows("s", 1), []byte(`{"version":1,"ta`), 0o666); err != nil {
		t.Fatal(err)
	}
	if h, got, err := ReadCheckpoint(dir.Rows("s", 1)); h != (Header{}) || got != nil || err != nil {
		t.Errorf("torn header: %+v %v %v", h, got, err)
	}
}

func TestCollect(t *testing.T) {
	dir := Dir(t.TempDir())
	tag := func(rs []Record, text string) []Record {
		for i := range rs {
			rs[i].Text = text
		}
		return rs
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(Write(dir.Result("b"), header(0, 4), tag(records(0, 4), "result b")))
	must(Write(dir.Result("a"), header(2, 6), tag(records(2, 6), "result a")))
	checkpoint(t, dir, "c", 10, header(4, 12), tag(records(4, 9), "c/10"))
	checkpoint(t, dir, "c", 2, header(4, 12), tag(records(8, 10), "c/2"))
	other := header(0, 20)
	other.Digest = "ffff"
	must(Write(dir.Result("0old"), Header{Task: "m/d", Digest: "ffff", From: 0, To: 12}, tag(records(0, 12), "old")))
	must(Write(dir.Result("else"), Header{Task: "m/e", Digest: header(0, 1).Digest, From: 0, To: 20}, records(0, 20)))
	must(os.WriteFile(dir.Result("bad"), []byte("x\n"), 0o666))
	must(os.WriteFile(dir.Result(".tmp"), []byte("x"), 0o666))
	must(Write(dir.Result("cut"), header(12, 20), records(12, 20)))
	must(os.Truncate(dir.Result("cut"), 400))
	checkpoint(t, dir, "old", 1, other, tag(records(14, 15), "old"))

	s := NewStore(dir)
	must(s.Refresh())
	if bad := s.Bad(); len(bad) != 1 || !errors.Is(bad[0], ErrInvalid) || !strings.Contains(bad[0].Error(), "bad.jsonl") {
		t.Errorf("bad files: %v", bad)
	}
	q := Query{Task: "m/d", Digest: header(0, 1).Digest, From: 0, To: 16}
	rows, err := s.Collect(q)
	must(err)
	var got []string
	for _, r := range rows.Records {
		got = append(got, r.Text)
	}
	want := []string{"result b", "result b", "result a", "result a", "result a", "result a", "c/10", "c/10", "c/2", "c/2"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("records of\n%q, want\n%q", got, want)
	}
	if rows.Stale != 3 || rows.Complete() || !reflect.DeepEqual(rows.Missing(), []int{10, 11, 12, 13, 14, 15}) {
		t.Errorf("stale %d (want 3), missing %v", rows.Stale, rows.Missing())
	}
	if len(rows.Bad) != 1 || !strings.Contains(rows.Bad[0].Error(), "cut.jsonl") {
		t.Errorf("bad: %v", rows.Bad)
	}
	q.Same = func(r Record) bool { return r.Row != 11 }
	rows, err = s.Collect(q)
	must(err)
	if rows.Stale != 1 || !reflect.DeepEqual(rows.Missing(), []int{11, 12, 13, 15}) {
		t.Errorf("by row digest: stale %d, missing %v", rows.Stale, rows.Missing())
	}
	q.Final, q.To, q.Same = true, 12, nil
	rows, err = s.Collect(q)
	must(err)
	if len(rows.Records) != 6 {
		t.Errorf("%d rows in result files, want 6", len(rows.Records))
	}
}

func TestRefreshSeesNewFiles(t *testing.T) {
	dir := Dir(t.TempDir())
	s := NewStore(dir)
	q := Query{Task: "m/d", Digest: header(0, 1).Digest, From: 0, To: 4}
	for i, step := range []func(){
		func() {},
		func() { checkpoint(t, dir, "s", 1, header(0, 4), records(0, 2)) },
		func() { appendTo(t, dir.Rows("s", 1), `{"row":3,"digest":"x"}`+"\n") },
		func() {
			if err := Write(dir.Result("s"), header(0, 4), records(0, 4)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		step()
		if err := s.Refresh("s"); err != nil {
			t.Fatal(err)
		}
		rows, err := s.Collect(q)
		if err != nil || len(rows.Records) != []int{0, 2, 3, 4}[i] {
			t.Errorf("step %d: %d rows, %v", i, len(rows.Records), err)
		}
	}
	if n, err := dir.LastAttempt("s"); n != 1 || err != nil {
		t.Errorf("last attempt %d, %v", n, err)
	}
	if n, err := dir.LastAttempt("none"); n != 0 || err != nil {
		t.Errorf("last attempt of none: %d, %v", n, err)
	}
}

// Whatever way the rows of a task lie over files, every row is found once and the same record each time.
func TestCollectProperty(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		tmp, err := os.MkdirTemp(root, "")
		if err != nil {
			rt.Fatal(err)
		}
		dir := Dir(tmp)
		have := map[int]bool{}
		for i := range rapid.IntRange(0, 6).Draw(rt, "files") {
			from := rapid.IntRange(0, 20).Draw(rt, "from")
			to := rapid.IntRange(from, 24).Draw(rt, "to")
			for row := from; row < to; row++ {
				have[row] = true
			}
			if name := string(rune('a' + i)); rapid.Bool().Draw(rt, "final") {
				if err := Write(dir.Result(name), header(from, to), records(from, to)); err != nil {
					rt.Fatal(err)
				}
			} else {
				checkpoint(t, dir, name, 1, header(from, to), records(from, to))
			}
		}
		q := Query{Task: "m/d", Digest: header(0, 1).Digest, From: rapid.IntRange(0, 12).Draw(rt, "ask"), To: 24}
		rows, err := Collect(dir, q)
		if err != nil {
			rt.Fatal(err)
		}
		seen := len(rows.Missing())
		for _, r := range rows.Records {
			if !have[r.Row] || r.Row < q.From || r.Digest != records(r.Row, r.Row+1)[0].Digest {
				rt.Fatalf("row %d was made up", r.Row)
			}
			seen++
		}
		if seen != q.To-q.From {
			rt.Fatalf("%d rows answered for, want %d", seen, q.To-q.From)
		}
		if err := os.RemoveAll(filepath.Clean(tmp)); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestIndexProperty holds the index against a look at every file, while files come and go.
func TestIndexProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x, all := index{}, []*source{}
		for i := range rapid.IntRange(0, 8).Draw(rt, "steps") {
			var more []*source
			for k := range rapid.IntRange(0, 4).Draw(rt, "files") {
				from := rapid.IntRange(0, 40).Draw(rt, "from")
				h := Header{From: from, To: from + rapid.SampledFrom([]int{0, 1, 2, 3, 7, 8, 30}).Draw(rt, "rows")}
				more = append(more, &source{path: fmt.Sprint(i, " ", k), header: h})
			}
			x.add(more)
			all = append(all, more...)
			if len(all) > 0 && rapid.Bool().Draw(rt, "remove") {
				k := rapid.IntRange(0, len(all)-1).Draw(rt, "which")
				x.remove(all[k])
				all = slices.Delete(all, k, k+1)
			}
		}
		from := rapid.IntRange(0, 40).Draw(rt, "ask from")
		to := from + rapid.IntRange(0, 20).Draw(rt, "ask rows")
		var got, want []string
		for _, f := range x.meeting(from, to) {
			got = append(got, f.path)
		}
		for _, f := range all {
			if f.header.From < to && from < f.header.To {
				want = append(want, f.path)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			rt.Fatalf("rows [%d,%d) are in %q, want %q", from, to, got, want)
		}
	})
}

// TestRefreshForgets follows files that vanish, change their task, or are no files at all.
func TestRefreshForgets(t *testing.T) {
	dir := Dir(t.TempDir())
	other := header(0, 4)
	other.Task = "m/other"
	s := NewStore(dir)
	count := func(task string) int {
		t.Helper()
		if err := s.Refresh(); err != nil {
			t.Fatal(err)
		}
		rows, err := s.Collect(Query{Task: task, Digest: header(0, 1).Digest, From: 0, To: 8})
		if err != nil {
			t.Fatal(err)
		}
		return len(rows.Records)
	}
	for i, step := range []struct {
		do           func() error
		mine, theirs int
	}{
		{func() error { return Write(dir.Result("a"), header(0, 4), records(0, 4)) }, 4, 0},
		{func() error { return Write(dir.Result("b"), header(2, 8), records(2, 8)) }, 8, 0},
		{func() error { return Write(dir.Result("b"), other, records(0, 4)) }, 4, 4},
		{func() error { return os.Remove(dir.Result("a")) }, 0, 4},
		{func() error { return os.MkdirAll(dir.Attempts(), 0o777) }, 0, 4},
		{func() error { return os.WriteFile(filepath.Join(dir.Attempts(), ".nfs01"), nil, 0o666) }, 0, 4},
		{func() error { return os.WriteFile(dir.Result("b"), []byte("x\n"), 0o666) }, 0, 0},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if mine, theirs := count("m/d"), count("m/other"); mine != step.mine || theirs != step.theirs {
			t.Errorf("step %d: %d and %d rows, want %d and %d", i, mine, theirs, step.mine, step.theirs)
		}
	}
	if names, err := dir.ResultNames(); err != nil || !slices.Equal(names, []string{"b"}) || len(s.Bad()) != 1 {
		t.Errorf("results %q (%v), bad %v", names, err, s.Bad())
	}
}

// TestDiscover skips what the caller knows, and what is asked for by name is there all the same.
func TestDiscover(t *testing.T) {
	dir := Dir(t.TempDir())
	for i, name := range []string{"new-0", "new-4", "old"} {
		h := header(4*i, 4*i+4)
		if err := Write(dir.Result(name), h, records(h.From, h.To)); err != nil {
			t.Fatal(err)
		}
	}
	s := NewStore(dir)
	if err := s.Discover(func(shard string) bool { return strings.HasPrefix(shard, "new") }); err != nil {
		t.Fatal(err)
	}
	q := Query{Task: "m/d", Digest: header(0, 1).Digest, To: 12}
	for _, want := range []int{4, 8} {
		rows, err := s.Collect(q)
		if err != nil || len(rows.Records) != want {
			t.Errorf("%d rows (%v), want %d", len(rows.Records), err, want)
		}
		if err := s.Refresh("new-4"); err != nil {
			t.Fatal(err)
		}
	}
}
