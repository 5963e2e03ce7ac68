package sweep

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestJournal keeps events over a torn last line, and refuses the journal of another directory.
func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watch.jsonl")
	add := func(want int, events ...Event) {
		t.Helper()
		j, past, err := OpenJournal(path, "/checkpoints")
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if len(past) != want {
			t.Fatalf("%d events, want %d: %v", len(past), want, past)
		}
		if err := j.Add(events...); err != nil {
			t.Fatal(err)
		}
	}
	add(0, Event{Event: evRefused, Name: "a", Files: "1"}, Event{Event: evRefused, Name: "b", Files: "1"})
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("no event\n{\"event\": \"done\", \"na"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	add(3, Event{Event: evSame, Name: "a", Files: "2"})
	add(4)
	if _, _, err := OpenJournal(path, "/elsewhere"); !errors.Is(err, ErrOther) {
		t.Errorf("another directory: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"event":"watch","version":99,"dir":"/checkpoints"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenJournal(path, "/checkpoints"); err == nil {
		t.Error("a journal of a later version is read")
	}
}

// FuzzJournal reads whatever a journal holds, and what it has read again.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"event":"begin","batch":1,"run":"r","members":[{"name":"a"}]}` + "\n" + `{"event":"done","batch":1,"name":"a"}` + "\n"))
	f.Add([]byte("{\n\n{\"event\":\"drop\",\"batch\":-1}\nx"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		events, whole := parse(raw)
		if whole > len(raw) || whole > 0 && raw[whole-1] != '\n' {
			t.Fatalf("%d of %d bytes are whole lines", whole, len(raw))
		}
		w := NewWatch(Rules{}, events)
		w.Unfinished()
		w.Standing()
		if again, n := parse(raw[:whole]); len(again) != len(events) || n != whole {
			t.Errorf("read again there are %d events in %d bytes, before %d in %d", len(again), n, len(events), whole)
		}
	})
}

// TestScan finds checkpoints, and sees each change of their files.
func TestScan(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"step1/config.json", "step2/params.json", ".hidden/config.json", "step3.tmp/config.json", "logs/out", "config.json"} {
		write(name, "{}")
	}
	for name, to := range map[string]string{"latest": "step1", "nowhere": "gone", "elsewhere": t.TempDir()} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	look := func() map[string]Seen {
		t.Helper()
		seen, others, err := Scan(dir, "DONE")
		if err != nil || others != 2 || len(seen) != 2 || seen[0].Name != "step1" || seen[1].Name != "step2" {
			t.Fatalf("%v, %d others, %v", seen, others, err)
		}
		return map[string]Seen{"step1": seen[0], "step2": seen[1]}
	}
	first := look()
	if first["step1"].Changed.IsZero() || first["step1"].Marked {
		t.Errorf("%+v", first["step1"])
	}
	write("step1/.model.safetensors.Xy12", "half")
	write("step2/deeper/state", "")
	second := look()
	if second["step1"].Files == first["step1"].Files || second["step2"].Files != first["step2"].Files {
		t.Error("a new file is not seen, or one that lies deeper is")
	}
	write("step2/DONE", "")
	if third := look(); !third["step2"].Marked || third["step2"].Files == second["step2"].Files {
		t.Errorf("with its marker it is %+v", third["step2"])
	}
	if _, _, err := Scan(filepath.Join(dir, "gone"), ""); err == nil {
		t.Error("a directory that is not there is read")
	}
}
