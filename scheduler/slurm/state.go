package slurm

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sextant/internal/points"
	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// The files of an array in Options.Dir, each named by its token. The manifest is there, for good, before sbatch is called.
const (
	manifestSuffix = ".json"   // which job is which index
	idSuffix       = ".id"     // the array's number, when sbatch told it
	voidSuffix     = ".void"   // why sbatch refused it: none of its jobs was queued
	lostSuffix     = ".lost"   // the cluster never had it, as far as can be known: its jobs keep their names
	listSuffix     = ".list"   // read by the array's script
	scriptSuffix   = ".sbatch" // what sbatch got
)

// manifest is what must be known of an array to find its jobs again.
type manifest struct {
	Token    string    `json:"token"` // the name of its jobs
	Jobs     []string  `json:"jobs"`  // names, by index
	Weights  []float64 `json:"weights,omitempty"`
	Pool     string    `json:"pool,omitempty"`
	Lane     string    `json:"lane"` // token of the first array of the chain it is in
	Throttle int       `json:"throttle"`
	After    []string  `json:"after,omitempty"` // numbers of the arrays it waits for
	Gate     []string  `json:"gate,omitempty"`  // numbers of jobs and arrays that its own jobs are to follow
	Time     time.Time `json:"time"`
	Asked    asked     `json:"asked"`
}

// asked is what the array's jobs asked for.
type asked struct {
	GPUs    int           `json:"gpus,omitempty"`
	Procs   int           `json:"procs,omitempty"`
	Threads int           `json:"threads,omitempty"`
	Memory  int64         `json:"memory,omitempty"`
	Limit   time.Duration `json:"limit,omitempty"`
	Exclude []string      `json:"exclude,omitempty"`
}

// array is an array as this process knows it.
type array struct {
	manifest
	id       string // its number; "": not known
	void     bool   // refused, or its manifest cannot be read: none of its jobs may run
	lost     bool   // never found
	doomed   bool   // to be cancelled when it appears after all
	looked   bool   // a look at the queue has been taken since it was made or read
	elements []element
	live     int             // elements that have not ended, as far as is known
	running  int             // of them
	weight   float64         // of them
	throttle int             // as last set; 0: not known
	waiting  bool            // for the arrays before it
	missing  time.Time       // since when it has no number and is not found; zero: not looked for
	misses   int             // looks that did not find it
	unheard  bool            // nor did sacct answer, which may know it
	rest     *row            // how those of its elements ended that have no row of their own
	noted    bool            // its number is in its file
	ghosts   map[string]bool // numbers of arrays that have its name and must not run
}

// element is one job.
type element struct {
	status   scheduler.Status
	final    bool      // it has ended and how is known
	gone     bool      // not in the last look at the queue
	failed   bool      // it has failed, and its exit code is not known yet
	since    time.Time // when gone or failed was first seen
	look     int       // in which it was last seen
	asked    bool      // somebody wants to know of it
	cancel   bool      // it was cancelled
	unwanted bool      // it was cancelled before its number was known, or Slurm will never start it
	stuck    bool      // Slurm will never start it: a node could not, and it is held
	occupied bool      // it holds a place: it runs, or begins or ends to
	saved    fate      // what is in the array's file
}

// place is a job's place.
type place struct {
	*array
	index int
}

func (p place) element() *element { return &p.elements[p.index] }

func (p place) ref() scheduler.Ref {
	ref := scheduler.Ref{Name: p.Jobs[p.index]}
	if p.id != "" {
		ref.ID = fmt.Sprintf("%s_%d", p.id, p.index)
	}
	return ref
}

// inDoubt says that it is not known whether the cluster has the array.
func (a *array) inDoubt() bool { return a.id == "" && !a.void && !a.lost }

func newArray(m manifest) *array {
	a := &array{manifest: m, elements: make([]element, len(m.Jobs)), live: len(m.Jobs), throttle: m.Throttle, waiting: len(m.After) > 0}
	for i := range a.elements {
		a.elements[i].status = scheduler.Status{State: scheduler.Pending}
		a.weight += a.weightOf(i)
	}
	return a
}

func (a *array) weightOf(i int) float64 {
	if i < len(a.Weights) {
		return weightOf(a.Weights[i])
	}
	return 1
}

// encode is a manifest as it is written. Weights that JSON has no number for are left out.
func encode(m manifest) ([]byte, error) {
	m.Weights = slices.Clone(m.Weights)
	for i, w := range m.Weights {
		m.Weights[i] = weightOf(w)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("noting what is submitted: %w", err)
	}
	return append(data, '\n'), nil
}

// newToken is a name that no other array has.
func (o *Options) newToken() string {
	var b [6]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	if o.Tag == "" {
		return "sx-" + hex.EncodeToString(b[:])
	}
	return "sx-" + o.Tag + "-" + hex.EncodeToString(b[:])
}

func (s *Scheduler) path(token, suffix string) string {
	return filepath.Join(s.opt.Dir, token+suffix)
}

// load reads what earlier processes left. A manifest that cannot be read is taken for void: its jobs will be submitted again, so that what is
// left of them must go.
func (s *Scheduler) load() error {
	entries, err := os.ReadDir(s.opt.Dir)
	if err != nil {
		return fmt.Errorf("reading the scheduler's directory: %w", err)
	}
	here := make(map[string]bool, len(entries))
	for _, e := range entries {
		here[e.Name()] = true
	}
	var found []*array
	for _, e := range entries {
		token, ok := strings.CutSuffix(e.Name(), manifestSuffix)
		if !ok || !strings.HasPrefix(token, "sx-") {
			continue
		}
		a, err := s.loadArray(token, here)
		if err != nil {
			return err
		}
		found = append(found, a)
	}
	slices.SortStableFunc(found, func(a, b *array) int { return a.Time.Compare(b.Time) })
	for _, a := range found {
		s.add(a)
	}
	return nil
}

func (s *Scheduler) loadArray(token string, here map[string]bool) (*array, error) {
	data, err := os.ReadFile(s.path(token, manifestSuffix))
	if err != nil {
		return nil, fmt.Errorf("reading what was submitted: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil || m.Token != token || m.Lane == "" {
		m = manifest{Token: token, Lane: token, Time: time.Now()}
		a := newArray(m)
		a.void, a.doomed = true, true
		return a, nil
	}
	a := newArray(m)
	a.throttle = 0 // somebody may have changed it since
	a.void, a.lost = here[token+voidSuffix], here[token+lostSuffix]
	a.doomed = a.void || a.lost
	if here[token+idSuffix] {
		text, err := os.ReadFile(s.path(token, idSuffix))
		if err != nil {
			return nil, fmt.Errorf("reading what was submitted: %w", err)
		}
		a.id, a.noted = parseSubmitted(string(text))
	}
	if here[token+endsSuffix] {
		if err := s.restore(a); err != nil {
			return nil, fmt.Errorf("reading how jobs ended: %w", err)
		}
	}
	return a, nil
}

// add makes an array known.
func (s *Scheduler) add(a *array) {
	s.arrays = append(s.arrays, a)
	s.byToken[a.Token] = a
	if a.void {
		a.live = 0
		return
	}
	for i, name := range a.Jobs {
		if _, taken := s.byName[name]; !taken {
			s.byName[name] = place{a, i}
		}
	}
	if a.lost {
		s.giveUp(a)
	}
}

// voided marks an array as refused, for good, and frees its jobs' names.
func (s *Scheduler) voided(a *array, why error) error {
	a.void, a.doomed, a.live = true, true, 0
	for _, name := range a.Jobs {
		if p := s.byName[name]; p.array == a {
			delete(s.byName, name)
		}
	}
	err := s.durable(a.Token+voidSuffix, []byte(strings.Join(strings.Fields(why.Error()), " ")+"\n"))
	points.Reached("slurm:void-written")
	return err
}

// giveUp ends an array that was never found.
func (s *Scheduler) giveUp(a *array) {
	a.lost, a.doomed, a.live, a.running = true, true, 0, 0
	for i := range a.elements {
		if e := &a.elements[i]; !e.final {
			e.final = true
			e.status = scheduler.Status{State: scheduler.Lost, Reason: "Slurm does not know the job: its submission was never completed", Ended: time.Now()}
		}
	}
}

// durable writes a file of the directory so that it is there whatever happens next.
func (s *Scheduler) durable(name string, data []byte) error {
	path := filepath.Join(s.opt.Dir, name)
	err := batch.Replace(path, data, 0o644, true)
	if err != nil {
		return fmt.Errorf("noting what is submitted: %w", err)
	}
	d, err := os.Open(s.opt.Dir)
	if err != nil {
		return fmt.Errorf("noting what is submitted: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("noting what is submitted in %q: %w", s.opt.Dir, err)
	}
	return nil
}
