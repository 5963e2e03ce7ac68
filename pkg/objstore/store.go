package objstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Names of the environment's variables, which go before Options.
const (
	ProfilesVariable = "SEXTANT_S3_PROFILES"
	CacheVariable    = "SEXTANT_CACHE_DIR"
	LimitVariable    = "SEXTANT_CACHE_LIMIT"
)

// Options say where keys and the cache are. In both paths ~/ is the home directory and ${NAME} the environment's, of the machine they are used on.
type Options struct {
	Profiles   string // the file of profiles; default DefaultProfiles
	CacheDir   string // default: sextant-cache-UID in TMPDIR, or in /tmp. Its file system is the node's own
	CacheLimit string // as ParseBytes reads it; "": what the file system has

	Idle     time.Duration       // after which a request that brings nothing is given up; default 30 s
	Attempts int                 // of a request that brings nothing; default 12
	Pause    time.Duration       // before the second one; default 100 ms, doubled for each that follows
	Getenv   func(string) string // default os.Getenv
}

// Store opens objects, through one cache. All methods may be called by several goroutines at once.
type Store struct {
	o    Options
	ctx  context.Context // ends what is fetched
	stop context.CancelFunc
	work sync.WaitGroup

	prepare func() error // opens the cache, once
	cache   cache

	mu      sync.Mutex
	clients map[string]*client // by profile
	q       queue
	beside  map[string]map[string]stat // objects by their keys, of directories by their addresses
	held    map[string]*entry          // by their directories, whole, and lent out as paths
	fetched int64                      // bytes
}

// New makes a store. Nothing is read, and no directory is made, before something is opened.
func New(o Options) *Store {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	o.Profiles = cmp.Or(o.Getenv(ProfilesVariable), o.Profiles, DefaultProfiles)
	o.CacheDir = cmp.Or(o.Getenv(CacheVariable), o.CacheDir,
		filepath.Join(cmp.Or(o.Getenv("TMPDIR"), "/tmp"), fmt.Sprintf("sextant-cache-%d", os.Geteuid())))
	o.CacheLimit = cmp.Or(o.Getenv(LimitVariable), o.CacheLimit)
	o.Idle, o.Attempts, o.Pause = cmp.Or(o.Idle, 30*time.Second), cmp.Or(o.Attempts, 12), cmp.Or(o.Pause, 100*time.Millisecond)
	s := &Store{o: o, clients: map[string]*client{}, beside: map[string]map[string]stat{}, held: map[string]*entry{}, q: queue{changed: make(chan struct{})}}
	s.ctx, s.stop = context.WithCancel(*ending.Load())
	s.prepare = sync.OnceValue(s.openCache)
	return s
}

// ending is the context of Until.
var ending atomic.Pointer[context.Context]

func init() { Until(context.Background()) }

// Until says that whatever stores wait for ends with ctx, with its cause: those that are made from here on. A program says so when it begins, for what
// reads models and datasets by their addresses has no context of its own.
func Until(ctx context.Context) { ending.Store(&ctx) }

// telling is the function of Tell.
var telling atomic.Pointer[func(string)]

// Tell has f told, now and then, what is asked for again and why: who waits for a store that does not answer is to know that.
func Tell(f func(text string)) { telling.Store(&f) }

// until is ctx, which ends with the store too.
func (s *Store) until(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

var current atomic.Pointer[Store]

// Use makes the store of the process, of which models, tokenizers and datasets are opened by their addresses. The one that is there stays where it is
// as o would have it.
func Use(o Options) {
	next := New(o)
	if was := current.Load(); was == nil || was.o.Profiles != next.o.Profiles || was.o.CacheDir != next.o.CacheDir || was.o.CacheLimit != next.o.CacheLimit {
		current.Store(next)
	}
}

// Default is the store of the process: that of Use, else one by the environment.
func Default() *Store {
	if current.Load() == nil {
		current.CompareAndSwap(nil, New(Options{}))
	}
	return current.Load()
}

// Close ends what is fetched and lets go of what was lent out. Objects are to be closed before.
func (s *Store) Close() {
	s.mu.Lock()
	s.stop() // from here on no fetcher is started
	s.mu.Unlock()
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.held {
		e.close()
	}
	clear(s.held)
}

// Fetched is how many bytes of objects were received.
func (s *Store) Fetched() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched
}

func (s *Store) openCache() (err error) {
	if s.cache.dir, err = s.expand(s.o.CacheDir); err != nil {
		return fmt.Errorf("the cache's directory: %w", err)
	}
	if s.o.CacheLimit != "" {
		if s.cache.limit, err = ParseBytes(s.o.CacheLimit); err != nil {
			return fmt.Errorf("the cache's limit: %w", err)
		}
	}
	if err := s.cache.open(); err != nil {
		return err
	}
	return s.cache.locked(s.ctx, s.cache.sweepViews)
}

// expand makes a path of this machine.
func (s *Store) expand(path string) (string, error) {
	var missing error
	path = os.Expand(path, func(name string) string {
		value := s.o.Getenv(name)
		if value == "" {
			missing = fmt.Errorf("%q: %s is not set on this machine", path, name)
		}
		return value
	})
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding ~: %w", err)
		}
		path = filepath.Join(home, rest)
	}
	if missing == nil && !filepath.IsAbs(path) {
		missing = fmt.Errorf("%q is not absolute", path)
	}
	return path, missing
}

// client gives the client of a profile.
func (s *Store) client(profile string) (*client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[profile]; c != nil {
		return c, nil
	}
	file, err := s.expand(s.o.Profiles)
	if err != nil {
		return nil, fmt.Errorf("the file of profiles: %w", err)
	}
	a, err := profiles{file: file, getenv: s.o.Getenv}.find(profile)
	if err != nil {
		return nil, err
	}
	c, err := newClient(a, limits{s.o.Idle, s.o.Attempts, s.o.Pause, 3 * time.Second})
	if err != nil {
		return nil, err
	}
	s.clients[profile] = c
	return c, nil
}

// object opens an object in the cache.
func (s *Store) object(c *client, bucket string, st stat) (*Object, error) {
	name, about := id(c, bucket, st)
	o := &Object{s: s, c: c, bucket: bucket, stat: st}
	err := s.cache.locked(s.ctx, func() (err error) {
		o.e, err = openEntry(filepath.Join(s.cache.dir, "objects", name), about, st.size)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.address(), err)
	}
	o.busy, o.checked, o.damaged = make([]bool, o.e.blocks()), make([]atomic.Bool, o.e.blocks()), map[int]int{}
	o.ctx, o.cancel = context.WithCancel(s.ctx)
	return o, nil
}

// ParseBytes reads a number of bytes: "500G", "1.5TiB", "800GB". K, M, G and T are powers of 1024, whatever follows them.
func ParseBytes(s string) (int64, error) {
	number := strings.TrimRight(strings.ToUpper(strings.TrimSpace(s)), "IB")
	shift := 0
	if n := len(number); n > 0 {
		if i := strings.IndexByte("KMGT", number[n-1]); i >= 0 {
			number, shift = number[:n-1], 10*(i+1)
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(v > 0) || math.Ldexp(v, shift) >= 1<<62 {
		return 0, errors.New(strconv.Quote(s) + ": want a number of bytes, as 500G")
	}
	return int64(math.Ldexp(v, shift)), nil
}
