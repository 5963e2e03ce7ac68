package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"sextant/internal/s3lab"
)

// asReader is set where the test's program is to be a process that reads an object: "CACHE PROFILES ADDRESS NAME".
const asReader = "OBJSTORE_TEST_READER"

func TestMain(m *testing.M) {
	if what := os.Getenv(asReader); what != "" {
		read(what)
		return
	}
	os.Exit(m.Run())
}

// read is the other process: it says when the first bytes are there, and in the end how many it has fetched.
func read(what string) {
	f := strings.Fields(what)
	s := New(Options{CacheDir: f[0], Profiles: f[1]})
	d, err := s.Open(context.Background(), f[2])
	if err == nil {
		var o *Object
		if o, err = d.Object(f[3]); err == nil {
			o.Fetch(0, o.Size())
			err = o.Need(context.Background(), 0, 1)
			fmt.Println("begun")
			err = errors.Join(err, o.Need(context.Background(), 0, o.Size()))
			fmt.Println(s.Fetched(), bytes.Equal(o.Data(), noise(o.Size())))
		}
	}
	if err != nil {
		fmt.Println(err)
	}
}

// noise is so many bytes, always the same.
func noise(n int64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(b)
	return b
}

// lab is a server with some objects, a proxy before it, and stores that use it.
type lab struct {
	*s3lab.Server
	*s3lab.Proxy
	profiles string
}

const big = 9<<20 + 12345 // bytes of the largest object: two parts

func newLab(t *testing.T) *lab {
	t.Helper()
	s := s3lab.Start(t)
	p := s.Proxy(t)
	s.Put(t, "bkt", "m/big", noise(big))
	s.Put(t, "bkt", "m/small.json", []byte(`{"a": 1}`))
	s.Put(t, "bkt", "m/empty", nil)
	s.Put(t, "bkt", "m/sub/deep.txt", []byte("deep"))
	return &lab{s, p, s.Profiles(t, "p", p.URL)}
}

// store is a store that gives up soon.
func (l *lab) store(t *testing.T, cache string, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{CacheDir: cache, Profiles: l.profiles, Idle: 300 * time.Millisecond, Attempts: 4, Pause: time.Millisecond,
		Getenv: func(string) string { return "" }}
	for _, c := range change {
		c(&o)
	}
	s := New(o)
	t.Cleanup(s.Close)
	return s
}

func open(t *testing.T, s *Store, address string) *Dir {
	t.Helper()
	d, err := s.Open(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestReads(t *testing.T) {
	l := newLab(t)
	cache := t.TempDir() + "/c"
	s := l.store(t, cache)
	d := open(t, s, "p:s3://bkt/m")
	if n, _ := l.Gets(); n != 0 {
		t.Errorf("listing took %d reads of objects", n)
	}
	names, err := fs.Glob(d, "*")
	if err != nil || fmt.Sprint(names) != "[big empty small.json]" {
		t.Errorf("%q, %v", names, err)
	}
	for name, want := range map[string][]byte{"big": noise(big), "small.json": []byte(`{"a": 1}`), "empty": {}} {
		got, err := fs.ReadFile(d, name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := d.Open("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	n, sent := l.Gets()
	if sent != big+8 {
		t.Errorf("%d bytes were sent, of %d", sent, big+8)
	}
	again := l.store(t, cache)
	for _, s := range []*Store{s, again} {
		if got, err := open(t, s, "s3://bkt/m/").ReadFile("big"); err != nil || !bytes.Equal(got, noise(big)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if m, _ := l.Gets(); m != n {
		t.Errorf("the second reading took %d requests", m-n)
	}
	unread(t, open(t, l.store(t, t.TempDir()+"/c"), "s3://bkt/m/"))
}

var touched byte // so that reading is not left out

// unread holds that what was not fetched cannot be read by mistake, and that a range can be as soon as it was.
func unread(t *testing.T, d *Dir) {
	t.Helper()
	o, err := d.Object("big")
	if err != nil {
		t.Fatal(err)
	}
	touch := func(i int) (faulted bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { faulted = recover() != nil }()
		touched += o.Data()[i]
		return false
	}
	if !touch(5 << 20) {
		t.Error("what was not fetched can be read")
	}
	p := make([]byte, 100)
	if _, err := o.ReadAt(p, 5<<20-50); err != nil || !bytes.Equal(p, noise(big)[5<<20-50:5<<20+50]) {
		t.Error(err)
	}
	if touch(5<<20) || !touch(6<<20) {
		t.Error("another range can be read than that which was fetched")
	}
	if n := d.s.Fetched(); n > 2*blockSize {
		t.Errorf("100 bytes took %d", n)
	}
}

// TestFaults breaks answers in every way, once, often and always: what is read is right, or there is an error that says what is wrong.
func TestFaults(t *testing.T) {
	l := newLab(t)
	want := noise(big)
	once := func(at int) func(int) bool { return func(n int) bool { return n == at } }
	often := func(n int) bool { return n%2 == 0 }
	always := func(int) bool { return true }
	type fault struct {
		f    s3lab.Fault
		when func(int) bool
		how  string
		err  string // "": it is got over
	}
	var all []fault
	for _, f := range []s3lab.Fault{s3lab.Cut, s3lab.Reset, s3lab.ResetBody, s3lab.Slow, s3lab.Busy, s3lab.Broken, s3lab.Gateway, s3lab.WrongRange,
		s3lab.Whole, s3lab.WrongTag, s3lab.Truncated, s3lab.Silent, s3lab.Hang} {
		all = append(all, fault{f, once(0), "first", ""}, fault{f, often, "every other", ""})
	}
	all = append(all, fault{s3lab.Slow, always, "always", ""}, fault{s3lab.Cut, always, "always", "the answer ended at byte"}, fault{s3lab.Reset, always, "always", l.Proxy.URL[7:]},
		fault{s3lab.Busy, always, "always", "SlowDown"}, fault{s3lab.Broken, always, "always", "InternalError"},
		fault{s3lab.Gateway, always, "always", "502"}, fault{s3lab.WrongRange, always, "always", `the server sent "bytes `},
		fault{s3lab.Whole, always, "always", "sent the whole object for"}, fault{s3lab.WrongTag, always, "always", "sent another version"},
		fault{s3lab.Silent, always, "always", "nothing came for 300ms"})
	if len(all) < 30 {
		t.Fatalf("%d faults", len(all))
	}
	for _, f := range all {
		t.Run(string(f.f)+" "+f.how, func(t *testing.T) {
			t.Parallel()
			p := l.Server.Proxy(t)
			p.Fault = func(r *http.Request, n int) s3lab.Fault {
				if f.when(n) {
					return f.f
				}
				return s3lab.None
			}
			cache := t.TempDir() + "/c"
			profiles := l.Server.Profiles(t, "p", p.URL)
			s := l.store(t, cache, func(o *Options) { o.Profiles = profiles })
			got, err := open(t, s, "s3://bkt/m/").ReadFile("big")
			if p.Given()[f.f] == 0 {
				t.Error("the fault was not given")
			}
			noKeys(t, err)
			if f.err == "" && (err != nil || !bytes.Equal(got, want)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			fault := strings.Replace(f.err, l.Proxy.URL[7:], p.URL[7:], 1)
			if f.err != "" && (err == nil || !strings.Contains(err.Error(), fault) || !strings.Contains(err.Error(), "s3://bkt/m/big")) {
				t.Errorf("%v; want one that says %q", err, fault)
			}
			// Whatever came is good: another store takes it and fetches the rest.
			p.Heal()
			rest := l.store(t, cache, func(o *Options) { o.Profiles = profiles })
			if got, err := open(t, rest, "s3://bkt/m/").ReadFile("big"); err != nil || !bytes.Equal(got, want) {
				t.Errorf("what was kept is not of the object: %v", err)
			}
		})
	}
}
