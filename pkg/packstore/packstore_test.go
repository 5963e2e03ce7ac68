package packstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sextant/internal/smalldisk"
)

// asMaker makes the test's process a maker that stops half way, in the directory that it names.
const asMaker = "SEXTANT_TEST_MAKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asMaker); dir != "" {
		halfAMaker(dir)
		return
	}
	smalldisk.Enter()
	os.Exit(m.Run())
}

const size = 1<<20 + 12345

var testKey = Key{Fingerprint: "0123456789abcdef0123", Layout: "panel16-1", Recipe: "rtn-i8", Table: "w [1, 2]", Size: size}

// pattern is the bytes of test packs.
func pattern(k Key) []byte {
	b := make([]byte, k.Size)
	for i := range b {
		b[i] = byte(i*7 + i>>11 + len(k.Table))
	}
	return b
}

func filling(k Key) Fill {
	return func(w io.WriterAt) error {
		b := pattern(k)
		for at := 0; at < len(b); at += 1 << 17 {
			if _, err := w.WriteAt(b[at:min(at+1<<17, len(b))], int64(at)); err != nil {
				return err
			}
		}
		return nil
	}
}

// never is a Fill that must not be called.
func never(io.WriterAt) error { return errors.New("filled again") }

func testStore(t *testing.T) *Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tmpfs")
	smalldisk.Mount(t, dir, "16m")
	return &Store{Dir: filepath.Join(dir, "packs"), Patience: 200 * time.Millisecond, Least: 1 << 20}
}

func get(t *testing.T, s *Store, k Key, fill Fill) *Pack {
	t.Helper()
	p, err := s.Get(context.Background(), k, fill)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if !bytes.Equal(p.Data, pattern(k)) {
		t.Fatal("the pack does not hold what was written")
	}
	return p
}

// files lists a store's directory.
func files(t *testing.T, s *Store) []string {
	t.Helper()
	list, err := os.ReadDir(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

func TestShared(t *testing.T) {
	s := testStore(t)
	a := get(t, s, testKey, filling(testKey))
	b := get(t, s, testKey, never)
	guest := get(t, &Store{Dir: s.Dir, Guest: true, Least: s.Least}, testKey, never)
	if !a.Shared || !a.Made || !b.Shared || b.Made || !guest.Shared {
		t.Errorf("packs %+v, %+v and %+v: want them shared, the first one made", a.Why, b.Why, guest.Why)
	}
	if got := files(t, s); len(got) != 1 || !strings.HasPrefix(got[0], "0123456789ab-panel16-1-rtn-i8-") {
		t.Errorf("files %q", got)
	}
	for i, p := range []*Pack{a, guest} {
		if err := p.Close(); err != nil || len(files(t, s)) != 1 {
			t.Errorf("close %d: %v, files %q", i, err, files(t, s))
		}
	}
	if err := errors.Join(b.Close(), b.Close()); err != nil || len(files(t, s)) != 0 {
		t.Errorf("the last close: %v, files %q", err, files(t, s))
	}
}

// TestKeys holds that what differs in anything is not shared.
func TestKeys(t *testing.T) {
	s := testStore(t)
	get(t, s, testKey, filling(testKey))
	for _, change := range []func(*Key){
		func(k *Key) { k.Fingerprint = "0123456789abcdef0124" }, func(k *Key) { k.Layout = "panel16-2" },
		func(k *Key) { k.Recipe = "" }, func(k *Key) { k.Table += "x" }, func(k *Key) { k.Size++ },
		func(k *Key) { k.Layout, k.Recipe = k.Layout+k.Recipe, "" },
	} {
		k := testKey
		change(&k)
		if k.name() == testKey.name() {
			t.Errorf("%+v has the file of %+v", k, testKey)
		}
		if _, err := s.Get(context.Background(), k, never); err == nil {
			t.Errorf("%+v is found", k)
		}
	}
	if got := files(t, s); len(got) != 1 {
		t.Errorf("files %q: those that failed should be gone", got)
	}
}

// TestPrivate lists when memory is a process's own.
func TestPrivate(t *testing.T) {
	small := testKey
	small.Size = 1000
	none := testKey
	none.Size = 0
	for _, c := range []struct {
		name string
		s    func(*testing.T) *Store
		k    Key
		why  string
	}{
		{"off", func(*testing.T) *Store { return nil }, testKey, "switched off"},
		{"small", testStore, small, "too few to share"},
		{"nothing", testStore, none, "too few to share"},
		{"a guest alone", func(t *testing.T) *Store { s := testStore(t); s.Guest = true; return s }, testKey, "no such file"},
		{"no parent", func(*testing.T) *Store { return &Store{Dir: "/nonexistent/x", Least: 1} }, testKey, "making a directory"},
		{"a disk", func(t *testing.T) *Store { return &Store{Dir: "/proc/self", Least: 1} }, testKey, "/proc/self"},
		{"little room", func(t *testing.T) *Store {
			s := testStore(t)
			smalldisk.Resize(t, filepath.Dir(s.Dir), "1100k")
			return s
		}, testKey, "bytes free: want"},
		{"for others", func(t *testing.T) *Store { return withDir(t, 0o755) }, testKey, "permissions 0755"},
		{"a link", func(t *testing.T) *Store {
			s := withDir(t, 0o700)
			link := s.Dir + "-link"
			if err := os.Symlink(s.Dir, link); err != nil {
				t.Fatal(err)
			}
			return &Store{Dir: link, Least: 1}
		}, testKey, "is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := get(t, c.s(t), c.k, filling(c.k))
			if p.Shared || !p.Made || !strings.Contains(p.Why, c.why) {
				t.Errorf("shared %v, made %v, %q: want a reason with %q", p.Shared, p.Made, p.Why, c.why)
			}
		})
	}
}

func withDir(t *testing.T, mode os.FileMode) *Store {
	t.Helper()
	s := testStore(t)
	if err := errors.Join(os.Mkdir(s.Dir, 0o700), os.Chmod(s.Dir, mode)); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFull fills the tmpfs while a pack is being made: it goes on in memory of its own, from the beginning.
func TestFull(t *testing.T) {
	s := testStore(t)
	calls := 0
	p := get(t, s, testKey, func(w io.WriterAt) error {
		if calls++; calls == 1 {
			if _, err := w.WriteAt(make([]byte, 1<<19), 0); err != nil {
				t.Error(err)
			}
			smalldisk.Resize(t, filepath.Dir(s.Dir), "600k")
		}
		return filling(testKey)(w)
	})
	if p.Shared || calls != 2 || !strings.Contains(p.Why, "no space") {
		t.Errorf("shared %v after %d calls, %q", p.Shared, calls, p.Why)
	}
	if got := files(t, s); len(got) != 0 {
		t.Errorf("files %q are left", got)
	}
}

func TestFillFails(t *testing.T) {
	s := testStore(t)
	for i, fill := range []Fill{
		never,
		func(w io.WriterAt) error { _, err := w.WriteAt([]byte{1}, size); return err },
		func(w io.WriterAt) error { _, err := w.WriteAt([]byte{1}, -1); return err },
		func(w io.WriterAt) error { _, err := w.WriteAt([]byte{1}, size-1); return err }, // the rest is missing
	} {
		if p, err := s.Get(context.Background(), testKey, fill); err == nil {
			t.Errorf("case %d gives %d bytes", i, len(p.Data))
		}
		if got := files(t, s); len(got) != 0 {
			t.Errorf("case %d: files %q are left", i, got)
		}
	}
	if _, err := s.Get(context.Background(), Key{Size: -1}, never); err == nil {
		t.Error("a negative size is accepted")
	}
}

// TestDamaged holds that nothing is taken that this package has not finished, for this user alone, and that its place is used again where
// nobody holds it.
func TestDamaged(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(path string) error
		shared bool // afterwards, anew
	}{
		{"empty", func(path string) error { return os.Truncate(path, 0) }, true},
		{"short", func(path string) error { return os.Truncate(path, size) }, true},
		{"long", func(path string) error { return os.Truncate(path, headerSize+size+1) }, true},
		{"with holes", func(path string) error {
			head, err := os.ReadFile(path)
			return errors.Join(err, os.Truncate(path, 0), os.WriteFile(path, head[:headerSize], 0o600), os.Truncate(path, headerSize+size))
		}, true},
		{"another magic", func(path string) error { return poke(path, 0) }, true},
		{"not complete", func(path string) error { return poke(path, len(magic)) }, true},
		{"another size", func(path string) error { return poke(path, len(magic)+len(whole)+8) }, true},
		{"another digest", func(path string) error { return poke(path, len(magic)+len(whole)+20) }, true},
		{"more in the header", func(path string) error { return poke(path, headerSize-1) }, true},
		{"written by others", func(path string) error { return os.Chmod(path, 0o620) }, false},
		{"read by others", func(path string) error { return os.Chmod(path, 0o604) }, false},
		{"a link", func(path string) error { return errors.Join(os.Rename(path, path+"x"), os.Symlink(path+"x", path)) }, false},
		{"a directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testStore(t)
			path := filepath.Join(s.Dir, testKey.name())
			leave(t, s, testKey)
			if err := c.damage(path); err != nil {
				t.Fatal(err)
			}
			p := get(t, s, testKey, filling(testKey))
			if !p.Made || p.Shared != c.shared {
				t.Errorf("made %v, shared %v, %q: want it made anew, shared %v", p.Made, p.Shared, p.Why, c.shared)
			}
		})
	}
}

// leave leaves a whole pack that nobody holds, as processes do that are killed.
func leave(t *testing.T, s *Store, k Key) {
	t.Helper()
	p := get(t, s, k, filling(k))
	if err := errors.Join(unix.Munmap(p.mapped), p.e.f.Close()); err != nil { // either of the two would hold the lock
		t.Fatal(err)
	}
	p.mapped, p.e = nil, nil
}

func poke(path string, at int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{'?'}, int64(at))
	return errors.Join(err, f.Close())
}

func TestSweep(t *testing.T) {
	s := testStore(t)
	old, held := testKey, testKey
	old.Table, held.Table = "old", "held"
	leave(t, s, old)
	get(t, s, held, filling(held))
	foreign := filepath.Join(s.Dir, "notes.txt")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	leave(t, s, testKey) // sweeps old
	p := get(t, s, testKey, never)
	if !p.Shared || p.Made {
		t.Error("a whole pack that nobody held is not used")
	}
	if got := strings.Join(files(t, s), " "); strings.Contains(got, old.name()) || !strings.Contains(got, held.name()) || !strings.Contains(got, "notes.txt") {
		t.Errorf("files %q: want those that are held, and what is not ours", got)
	}
}

// TestRaces has many come and go at once: all have the right bytes, and nothing is left.
func TestRaces(t *testing.T) {
	s := testStore(t)
	s.Patience = time.Minute
	keys := []Key{testKey, testKey}
	keys[1].Table += "another"
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for j := range 6 {
				k := keys[(i+j/3)%2]
				p, err := s.Get(context.Background(), k, filling(k))
				if err != nil || !bytes.Equal(p.Data, pattern(k)) {
					t.Errorf("%d: %v", i, err)
					return
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := files(t, s); len(got) != 0 {
		t.Errorf("files %q are left", got)
	}
}

func TestDefault(t *testing.T) {
	for value, want := range map[string]string{"": fmt.Sprintf("/dev/shm/sextant-%d", os.Geteuid()), "/x": "/x"} {
		if s := Default(func(string) string { return value }); s.Dir != want {
			t.Errorf("%q gives %q", value, s.Dir)
		}
	}
	if Default(func(string) string { return "off" }) != nil {
		t.Error("off is a store")
	}
}
