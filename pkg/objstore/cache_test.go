package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sextant/internal/s3lab"
)

// TestSaysWhatIsWrong holds the errors that no retry mends.
func TestSaysWhatIsWrong(t *testing.T) {
	l := newLab(t)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	profile := func(access, secret, host string) func(*Options) {
		path := filepath.Join(t.TempDir(), "p.conf")
		text := fmt.Sprintf("[p]\nhost_base = %s\naccess_key = %s\nsecret_key = %s\n", host, access, secret)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return func(o *Options) { o.Profiles = path }
	}
	for _, c := range []struct {
		what, address string
		change        func(*Options)
		want          []string
	}{
		{"a bucket that is not there", "p:s3://nobucket/m/", nil, []string{"p:s3://nobucket/m/", `has no bucket "nobucket"`, `profile "p" of`}},
		{"nothing there", "p:s3://bkt/nothing/", nil, []string{"p:s3://bkt/nothing/", "has no objects there"}},
		{"the key is half a name", "p:s3://bkt/m/sma", nil, []string{"has no objects there"}},
		{"an unknown access key", "p:s3://bkt/m/", profile("AKwrong", l.Secret, l.Server.URL), []string{"does not know the access key of profile \"p\""}},
		{"a wrong secret key", "p:s3://bkt/m/", profile(l.Access, "SKwrong", l.Server.URL), []string{"the secret key of profile \"p\"", "is wrong"}},
		{"a wrong profile", "q:s3://bkt/m/", nil, []string{`no profile "q" in`, "which has p"}},
		{"no server", "p:s3://bkt/m/", profile(l.Access, l.Secret, "http://127.0.0.1:1"), []string{"127.0.0.1:1", "refused", "tried 4 times"}},
		{"https where http is spoken", "p:s3://bkt/m/", profile(l.Access, l.Secret, "https"+l.Server.URL[4:]), []string{"speaks http and not https: write its address as http://127"}},
		{"a certificate of nobody", "p:s3://bkt/m/", profile(l.Access, l.Secret, secure.URL), []string{"is not trusted here: ", "SSL_CERT_FILE"}},
		{"no bucket's name", "p:s3://b/m/", nil, []string{`no bucket can be called "b"`, "shorter than 3"}},
		{"no address", "s3:/b", nil, []string{"want s3://BUCKET/KEY/"}},
		{"a cache that is others' too", "p:s3://bkt/m/", func(o *Options) { o.CacheDir = "/tmp" }, []string{`"/tmp" is not a directory that is yours alone`}},
		{"a cache by a variable that is not set", "p:s3://bkt/m/", func(o *Options) { o.CacheDir = "${NOPE}/c" }, []string{"NOPE is not set on this machine"}},
		{"an odd limit", "p:s3://bkt/m/", func(o *Options) { o.CacheLimit = "much" }, []string{`"much": want a number of bytes`}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := l.store(t, t.TempDir()+"/c", func(o *Options) {
				if c.change != nil {
					c.change(o)
				}
			})
			_, err := s.Open(context.Background(), c.address)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want one that says %q", err, want)
				}
			}
			noKeys(t, err)
			if err != nil && (strings.Contains(err.Error(), l.Secret) || strings.Contains(err.Error(), l.Access)) {
				t.Errorf("the error tells a key: %v", err)
			}
		})
	}
}

// TestUnknownName holds that a server whose name is misspelt is not asked for minutes.
func TestUnknownName(t *testing.T) {
	c := &client{limits: limits{attempts: 100, pause: time.Millisecond}}
	misspelt := &net.DNSError{Err: "no such host", Name: "cehp.example", IsNotFound: true}
	err := c.retry(context.Background(), func() (bool, error) { return false, fmt.Errorf("asking: %w", misspelt) })
	if !errors.Is(err, misspelt) || !errors.Is(err, ErrPassing) || !strings.Contains(err.Error(), "no such host (tried 4 times)") {
		t.Error(err)
	}
}

// TestTells holds that who waits long is told why, once in a while, and without keys.
func TestTells(t *testing.T) {
	var texts []string
	Tell(func(text string) { texts = append(texts, text) })
	defer telling.Store(nil)
	c := &client{account: account{endpoint: "ceph:7480", access: "AKkey"}, limits: limits{attempts: 6, pause: time.Millisecond, silence: 2 * time.Millisecond}}
	err := c.retry(context.Background(), func() (bool, error) {
		time.Sleep(time.Millisecond)
		return false, errors.New("AKkey is refused")
	})
	if err == nil || len(texts) != 1 || !strings.HasPrefix(texts[0], "the object store ceph:7480: [key] is refused; tried ") {
		t.Errorf("%v, told %q", err, texts)
	}
}

// TestChanged holds that two versions of an object are never mixed.
func TestChanged(t *testing.T) {
	l := newLab(t)
	s := l.store(t, t.TempDir()+"/c")
	d := open(t, s, "p:s3://bkt/m/")
	o, err := d.Object("big")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Need(context.Background(), 0, 1); err != nil {
		t.Fatal(err)
	}
	l.Put(t, "bkt", "m/big", make([]byte, big))
	l.Server.Remove(t, "bkt", "m/small.json")
	if err := o.Need(context.Background(), 0, big); err == nil || !strings.Contains(err.Error(), "was changed on the server") {
		t.Error(err)
	}
	if _, err := d.ReadFile("small.json"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "any more") {
		t.Error(err)
	}
	if got, err := open(t, s, "p:s3://bkt/m/").ReadFile("big"); err != nil || !bytes.Equal(got, make([]byte, big)) {
		t.Errorf("the new version: %v", err)
	}
}

// TestKilled kills a process that fetches, and holds that the next one goes on where it stopped.
func TestKilled(t *testing.T) {
	l := newLab(t)
	cache := t.TempDir() + "/c"
	l.SetRate(16 << 20)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asReader+"="+strings.Join([]string{cache, l.profiles, "p:s3://bkt/m/", "big"}, " "))
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 5)
	if _, err := out.Read(said); err != nil || string(said) != "begun" {
		t.Fatalf("the reader says %q, %v", said, err)
	}
	time.Sleep(200 * time.Millisecond)
	_, before := l.Gets()
	_, _ = cmd.Process.Kill(), cmd.Wait()
	s := l.store(t, cache)
	got, err := open(t, s, "p:s3://bkt/m/").ReadFile("big")
	if err != nil || !bytes.Equal(got, noise(big)) {
		t.Fatal(err)
	}
	if before == 0 || s.Fetched() > big-before/3 {
		t.Errorf("%d bytes were sent to the one that was killed, of %d, and %d to the next", before, big, s.Fetched())
	}
}

// TestTogether has processes read the same object at the same time: they share the work.
func TestTogether(t *testing.T) {
	l := newLab(t)
	cache := t.TempDir() + "/c"
	l.SetRate(32 << 20)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), asReader+"="+strings.Join([]string{cache, l.profiles, "p:s3://bkt/m/", "big"}, " "))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasSuffix(string(out), " true\n") {
				t.Errorf("%s, %v", out, err)
			}
		})
	}
	wg.Wait()
	if _, sent := l.Gets(); sent > big {
		t.Errorf("%d bytes were sent, of %d", sent, big)
	}
}

// TestDamage changes the cache in every way that a crash, or a hand, might: what is read is the object all the same.
func TestDamage(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		what string
		hurt func(t *testing.T, dir string) error
	}{
		{"a byte", func(t *testing.T, dir string) error { return poke(dataOf(dir), 3<<20, []byte{1, 2, 3}) }},
		{"zeros", func(t *testing.T, dir string) error { return poke(dataOf(dir), 0, make([]byte, 1<<20)) }},
		{"data cut short", func(t *testing.T, dir string) error { return os.Truncate(dataOf(dir), 1000) }},
		{"no data", func(t *testing.T, dir string) error { return os.Remove(dataOf(dir)) }},
		{"a table cut short", func(t *testing.T, dir string) error { return os.Truncate(tableOf(dir), 5000) }},
		{"no table", func(t *testing.T, dir string) error { return os.Remove(tableOf(dir)) }},
		{"another table", func(t *testing.T, dir string) error { return poke(tableOf(dir), 0, []byte("other")) }},
		{"wild words", func(t *testing.T, dir string) error {
			return poke(tableOf(dir), tableHead, bytes.Repeat([]byte{0xa5}, 400))
		}},
		{"words that are not there", func(t *testing.T, dir string) error { return poke(tableOf(dir), tableHead+40, make([]byte, 40)) }},
		{"an empty entry", func(t *testing.T, dir string) error {
			return errors.Join(os.Remove(dataOf(dir)), os.Remove(tableOf(dir)))
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			cache := t.TempDir() + "/c"
			s := l.store(t, cache)
			d, err := s.Open(context.Background(), "p:s3://bkt/m/")
			if err != nil {
				t.Fatal(err)
			}
			o, err := d.Object("big")
			if err != nil {
				t.Fatal(err)
			}
			dir := o.e.dir
			if err := o.Need(context.Background(), 0, big); err != nil {
				t.Fatal(err)
			}
			d.Close()
			if err := c.hurt(t, dir); err != nil {
				t.Fatal(err)
			}
			if got, err := open(t, l.store(t, cache), "p:s3://bkt/m/").ReadFile("big"); err != nil || !bytes.Equal(got, noise(big)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func poke(path string, at int64, data []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, at)
	return errors.Join(err, f.Close())
}

// TestEviction fills a cache over its limit: the entry used longest ago goes, never one in use, and where nothing can go there is an error.
func TestEviction(t *testing.T) {
	s := s3lab.Start(t)
	l := &lab{Server: s, Proxy: s.Proxy(t)}
	l.profiles = s.Profiles(t, "p", l.Proxy.URL)
	const size = 1 << 20
	for i := range 4 {
		s.Put(t, "bkt", fmt.Sprintf("e/%d", i), noise(size))
	}
	cache := t.TempDir() + "/c"
	limit := func(o *Options) { o.CacheLimit = "3.5M" }
	whole := func(s *Store, i int) (*Dir, error) {
		d := open(t, s, "p:s3://bkt/e/")
		o, err := d.Object(fmt.Sprint(i))
		if err == nil {
			err = o.Whole()
		}
		if err == nil {
			err = o.Need(context.Background(), 0, size)
		}
		return d, err
	}
	entries := func() int {
		list, _ := os.ReadDir(cache + "/objects")
		return len(list)
	}
	first := l.store(t, cache, limit)
	using, err := whole(first, 0) // the oldest, and in use
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{1, 2} {
		d, err := whole(first, i)
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		time.Sleep(10 * time.Millisecond)
	}
	before, _ := l.Gets()
	d, err := whole(first, 3)
	if err != nil || entries() != 3 {
		t.Fatalf("%d entries, %v", entries(), err)
	}
	d.Close()
	for _, i := range []int{0, 2, 3} { // 1 was used longest ago, of those that nobody uses
		d, err := whole(first, i)
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
	if after, _ := l.Gets(); after != before+1 {
		t.Errorf("%d reads after the eviction, want that of the new object alone", after-before)
	}
	if o, err := using.Object("0"); err != nil || !bytes.Equal(o.Data(), noise(size)) {
		t.Error("what was in use was taken away")
	}
	small := l.store(t, cache, func(o *Options) { o.CacheLimit = "1.5M" })
	if _, err := whole(small, 1); err == nil || !strings.Contains(err.Error(), "raise the limit") {
		t.Error(err)
	}
}

// TestLocal has objects as files.
func TestLocal(t *testing.T) {
	l := newLab(t)
	cache := t.TempDir() + "/c"
	s := l.store(t, cache)
	ctx := context.Background()
	for _, c := range []struct {
		address string
		want    func(string) bool
		files   map[string]string // below the path; "" is the path itself
		absent  []string
	}{
		{"p:s3://bkt/m/small.json", nil, map[string]string{"": `{"a": 1}`}, nil},
		{"p:s3://bkt/m/", func(name string) bool { return strings.HasSuffix(name, ".json") }, map[string]string{"small.json": `{"a": 1}`}, []string{"big", "sub"}},
		{"p:s3://bkt/m/sub", nil, map[string]string{"deep.txt": "deep"}, nil},
		{"p:s3://bkt/m", nil, map[string]string{"small.json": `{"a": 1}`, "sub/deep.txt": "deep", "big": string(noise(big)), "empty": ""}, nil},
	} {
		path, err := s.Local(ctx, c.address, c.want)
		if err != nil {
			t.Fatalf("%s: %v", c.address, err)
		}
		a, _ := Parse(c.address)
		if base := filepath.Base(strings.TrimSuffix(a.Key, "/")); filepath.Base(path) != base {
			t.Errorf("%s is at %q", c.address, path)
		}
		for name, want := range c.files {
			if got, err := os.ReadFile(filepath.Join(path, name)); err != nil || string(got) != want {
				t.Errorf("%s %s: %d bytes, %v", c.address, name, len(got), err)
			}
		}
		for _, name := range c.absent {
			if _, err := os.Stat(filepath.Join(path, name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s has %s: %v", c.address, name, err)
			}
		}
	}
	if len(s.held) != 4 {
		t.Errorf("%d objects are held, of 4 that were lent, some twice", len(s.held))
	}
	if _, err := s.Local(ctx, "p:s3://bkt/m/small", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	n, _ := l.Gets()
	if _, err := l.store(t, cache).Local(ctx, "p:s3://bkt/m/small.json", nil); err != nil {
		t.Error(err)
	}
	if m, _ := l.Gets(); m != n {
		t.Error("what was there was read again")
	}
}

// TestInterrupted holds that who is told to stop waits for nothing any more, whatever it is at.
func TestInterrupted(t *testing.T) {
	l := newLab(t)
	cache := t.TempDir() + "/c"
	told := errors.New("told to stop")
	for what, wait := range map[string]func(s *Store, d *Dir) error{
		"a list": func(s *Store, _ *Dir) error {
			_, err := s.Open(context.Background(), "p:s3://bkt/m/sub/")
			return err
		},
		"a range": func(_ *Store, d *Dir) error {
			o, err := d.Object("big")
			if err == nil {
				err = o.Need(context.Background(), 0, big)
			}
			return err
		},
		"a file": func(s *Store, _ *Dir) error {
			_, err := s.Local(context.Background(), "p:s3://bkt/m/big", nil)
			return err
		},
		"the lock of the cache": func(_ *Store, d *Dir) error {
			lock, err := os.OpenFile(cache+"/lock", os.O_RDWR, 0)
			if err := errors.Join(err, flock(lock, unix.LOCK_EX)); err != nil {
				return err
			}
			defer lock.Close()
			_, err = d.Object("small.json")
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			Until(ctx)
			defer Until(context.Background())
			s := l.store(t, cache, func(o *Options) { o.Idle = time.Minute })
			d := open(t, s, "p:s3://bkt/m/")
			l.Freeze(true)
			defer l.Freeze(false)
			var stopped time.Time
			time.AfterFunc(200*time.Millisecond, func() { stopped = time.Now(); cancel(told) })
			if err := wait(s, d); !errors.Is(err, told) || time.Since(stopped) > 2*time.Second {
				t.Errorf("%v, %v after it was told to stop", err, time.Since(stopped))
			}
		})
	}
}

// TestDiskAtFault holds that a cache that does not keep what it is given is told, and not filled for ever.
func TestDiskAtFault(t *testing.T) {
	l := newLab(t)
	o, err := open(t, l.store(t, t.TempDir()+"/c"), "p:s3://bkt/m/").Object("big")
	for range mostDamaged + 1 {
		if err == nil {
			err = o.Need(context.Background(), 0, 1)
		}
		if err == nil {
			err = poke(dataOf(o.e.dir), 7, []byte{byte(^noise(8)[7])})
			o.checked[0].Store(false)
		}
	}
	if err != nil || !bytes.Equal(o.Data()[:7], noise(7)) {
		t.Fatal(err)
	}
	if err := o.Need(context.Background(), 0, 1); !errors.Is(err, ErrPassing) || !strings.Contains(err.Error(), "the disk is at fault") {
		t.Error(err)
	}
}

// TestStat looks for objects and what is like a directory.
func TestStat(t *testing.T) {
	l := newLab(t)
	Use(Options{CacheDir: t.TempDir() + "/c", Profiles: l.profiles})
	for path, there := range map[string]bool{"p:s3://bkt/m/big": true, "p:s3://bkt/m/": true, "p:s3://bkt/m": true, "p:s3://bkt/m/sub": true, "p:s3://bkt": true,
		"p:s3://bkt/m/bi": false, "p:s3://bkt/n/": false, l.profiles: true, l.profiles + "x": false} {
		if err := Stat(path); there != (err == nil) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n, _ := l.Gets(); n != 0 {
		t.Errorf("%d reads of objects", n)
	}
}

// TestClose holds that a store that is closed ends what waits for it.
func TestClose(t *testing.T) {
	l := newLab(t)
	l.SetRate(1 << 20)
	s := l.store(t, t.TempDir()+"/c")
	d := open(t, s, "p:s3://bkt/m/")
	o, err := d.Object("big")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := o.Need(ctx, 0, big); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	time.AfterFunc(50*time.Millisecond, s.Close)
	begun := time.Now()
	if err := o.Need(context.Background(), 0, big); !errors.Is(err, context.Canceled) || time.Since(begun) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}
