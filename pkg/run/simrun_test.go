package run

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// simShape is the shape of a simulated run's plan.
type simShape struct {
	models, rows int
	limit        int // cost units of a job
	workers      int
	retry        int
	drain        bool
}

func (sh simShape) plan() *plan.Plan {
	s := spec.Spec{
		Datasets: []spec.Dataset{{Abbr: "ppl", Mode: spec.PPL}, {Abbr: "gen", Mode: spec.Gen}},
		Infer:    spec.Infer{Scheduler: "slurm", MaxPartitionSize: sh.limit, MaxNumWorkers: sh.workers, GenTaskCoef: 3, Retry: sh.retry},
		Slurm:    spec.Slurm{Worker: "/opt/worker", OneShardPerJob: !sh.drain, Mem: "8G"},
	}
	var in plan.Inputs
	for m := range sh.models {
		abbr := fmt.Sprint("m", m)
		s.Models = append(s.Models, spec.Model{Abbr: abbr, RunCfg: spec.RunCfg{NumProcs: 1}})
		in.Variants = append(in.Variants, plan.Variant{ID: abbr, Model: abbr, Fingerprint: "f"})
		for _, d := range s.Datasets {
			in.Tasks = append(in.Tasks, plan.TaskInput{Variant: abbr, Dataset: d.Abbr, Rows: sh.rows, Labels: 1, Data: "d"})
		}
	}
	p, err := plan.Make(s, in)
	if err != nil {
		panic(err)
	}
	return p
}

// simRun is a run directory and a cluster, over any number of submits.
type simRun struct {
	simShape
	*simCluster
	work    string
	reached map[string]int
	out     *Outcome
	err     error
	died    string // where the last submit died, "" when it did not
	bad     []string
}

func newSimRun(shape simShape, c simConfig, seed uint64) *simRun {
	work, err := os.MkdirTemp("", "sim")
	if err != nil {
		panic(err)
	}
	time.Sleep(time.Until(realNow)) // the files have the time of the real world
	s := &simRun{simShape: shape, simCluster: newSim(c, seed), work: work, reached: map[string]int{}}
	s.simCluster.plan = shape.plan()
	return s
}

// realNow is about now, also in a bubble.
var realNow = time.Now()

func (s *simRun) wrong(format string, args ...any) {
	s.bad = append(s.bad, fmt.Sprintf(format, args...))
}

// submit is a whole submit. It may die.
func (s *simRun) submit(ctx context.Context, o Options, observe func(Event)) {
	o.Window = s.window
	s.most = s.now + 6000
	s.out, s.err, s.died = nil, nil, ""
	undo := hang(s.hook(s.reached))
	defer undo()
	var r *Run
	defer func() {
		s.publish(true)
		s.most = 0
		switch p := recover().(type) {
		case nil:
		case simDeath:
			s.died = p.at
		case simStuck:
			s.wrong("no end after %d steps: %s", p.steps, s.where())
			s.err = errors.New("stuck")
		default:
			panic(p)
		}
		if r != nil {
			r.Close()
		} else if s.died != "" {
			s.unlock()
		}
	}()
	var err error
	if r, err = Open(s.work, s.simCluster.plan, o); err != nil {
		s.err = err
		return
	}
	s.out, s.err = Execute(ctx, r, s.simCluster, observe)
}

// unlock gives a dead submit's lock back that died within Open, as the kernel would: the file is closed when it is collected.
func (s *simRun) unlock() {
	runs, _ := runsIn(s.work)
	for _, dir := range runs {
		_ = os.Remove(result.Dir(dir).Lock())
	}
}

func (s *simRun) where() string {
	var b strings.Builder
	for _, h := range s.hands {
		if !h.status().State.Terminal() {
			fmt.Fprintf(&b, " %s %s(%d) told %s", h.job.Name, h.status().State, h.restart, h.history[h.told].State)
		}
	}
	return b.String()
}

// left lists hands that a submit should not have left.
func (s *simRun) left() []string {
	var list []string
	for _, h := range s.hands {
		if !h.status().State.Terminal() && h.hidden <= s.now {
			list = append(list, h.job.Name)
		}
	}
	return list
}

// gathered checks the records, but for shards that were given up.
func (s *simRun) gathered(failed map[string]bool) {
	r, err := Open(s.work, s.simCluster.plan, Options{GoOn: true})
	if err != nil {
		s.wrong("opening to gather: %v", err)
		return
	}
	defer r.Close()
	g, err := r.Gather()
	if err != nil {
		s.wrong("gathering: %v", err)
		return
	}
	all := want(r.Plan)
	if len(failed) == 0 {
		if !reflect.DeepEqual(g.Records, all) {
			s.wrong("the records are not those wanted: missing %v", g.Missing)
		}
		return
	}
	for _, t := range r.Plan.Tasks {
		there := map[int]bool{}
		for _, rec := range g.Records[t.ID] {
			there[rec.Row] = true
			if !reflect.DeepEqual(rec, all[t.ID][rec.Row]) {
				s.wrong("row %d of %s is wrong", rec.Row, t.ID)
			}
		}
		for _, sh := range r.Plan.Shards {
			for row := sh.From; row < sh.To && sh.Task == t.ID && !failed[sh.ID]; row++ {
				if !there[row] {
					s.wrong("row %d of %s is missing, and its shard was not given up", row, t.ID)
				}
			}
		}
	}
}

func (s *simRun) failed() map[string]bool {
	m := map[string]bool{}
	for _, f := range s.out.Failures {
		m[f.Shard] = true
	}
	return m
}

// damage spoils some result files and checkpoints.
func (s *simRun) damage() {
	files, _ := filepath.Glob(filepath.Join(s.work, "*", "results", "*.jsonl"))
	more, _ := filepath.Glob(filepath.Join(s.work, "*", "attempts", "*", "*", "rows.jsonl"))
	for _, path := range append(files, more...) {
		if s.rng.Float64() > s.faults["damage"] {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			continue
		}
		switch s.rng.IntN(5) {
		case 0:
			b = nil
		case 1:
			b = b[:s.rng.IntN(len(b))]
		case 2:
			if filepath.Base(path) != "rows.jsonl" { // a checkpoint has no digest: a flip may go unseen
				b[s.rng.IntN(len(b))] ^= 1
			}
		case 3:
			b = append(b, b...)
		case 4:
			_ = os.Remove(path)
			continue
		}
		if err := os.WriteFile(path, b, 0o666); err != nil {
			panic(err)
		}
	}
}

// unchanged checks that looking changes nothing, and that what is told adds up.
func (s *simRun) look() {
	runs, _ := runsIn(s.work)
	if len(runs) == 0 || !exists(result.Dir(runs[0]).Plan()) {
		return
	}
	before := treeOf(s.work)
	st, err := Look(context.Background(), runs[0], s.peek)
	if err != nil {
		s.wrong("looking: %v", err)
		return
	}
	cover, err := Cover(runs[0], st.Plan)
	if err != nil || !reflect.DeepEqual(cover, st.Tasks) {
		s.wrong("cover %v, look %v, %v", cover, st.Tasks, err)
	}
	if dir, found, err := Find(s.work, st.Plan, ""); dir != runs[0] || !found || err != nil {
		s.wrong("find %q, %v, %v", dir, found, err)
	}
	if after := treeOf(s.work); after != before {
		s.wrong("looking has changed the directory")
	}
	names := map[string]bool{}
	for _, w := range st.Workers {
		if names[w.Ref.Name] {
			s.wrong("worker %s is told twice", w.Ref.Name)
		}
		names[w.Ref.Name] = true
	}
	for _, sh := range st.Plan.Shards {
		state, ticket := st.Shards[sh.ID], st.Tickets[sh.ID]
		if state == "" || (state == ShardRunning || state == ShardQueued) != (ticket.Job != "") || (state == ShardFailed) != (st.Reasons[sh.ID] != "") && state != ShardDone && ticket.Job == "" {
			s.wrong("shard %s is %q with ticket %v, reason %q", sh.ID, state, ticket, st.Reasons[sh.ID])
		}
	}
}

// treeOf lists the files below a directory with their sizes and times.
func treeOf(dir string) string {
	var b strings.Builder
	_ = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	return b.String()
}

// anyKinds are the faults that random worlds draw from, with how likely they may be at most.
var anyKinds = map[string]float64{"kill": .05, "lie": .05, "node": .03, "requeue": .05, "split": .7, "preempt": .05, "time": .05, "evict": .03, "vanish": .03,
	"doubt": .2, "busy": .4, "down": .3, "ghost": 1, "polldown": .3, "stale": .5, "late": .2, "lateclaims": .2, "death": .004, "damage": .1, "reshape": 1}

// world draws a world.
func world(t *rapid.T) (simShape, simConfig, uint64) {
	shape := simShape{models: rapid.IntRange(1, 3).Draw(t, "models"), rows: rapid.IntRange(1, 12).Draw(t, "rows"), limit: rapid.IntRange(1, 40).Draw(t, "limit"),
		workers: rapid.IntRange(1, 8).Draw(t, "workers"), retry: rapid.IntRange(0, 3).Draw(t, "retry"), drain: rapid.Bool().Draw(t, "drain")}
	c := simConfig{nodes: rapid.IntRange(1, 4).Draw(t, "nodes"), slots: rapid.IntRange(1, 3).Draw(t, "slots"), window: rapid.SampledFrom([]int{1, 2, 5, 100}).Draw(t, "window"),
		faults: map[string]float64{}, until: rapid.SampledFrom([]int{50, 200, 600}).Draw(t, "until"), pace: rapid.IntRange(1, 6).Draw(t, "pace"), bad: map[string]string{}}
	for _, kind := range rapid.SliceOfNDistinct(rapid.SampledFrom(sortedKeys(anyKinds)), 0, 6, rapid.ID[string]).Draw(t, "faults") {
		c.faults[kind] = anyKinds[kind] * rapid.Float64Range(.1, 1).Draw(t, kind)
	}
	if c.nodes > 1 && rapid.IntRange(0, 4).Draw(t, "hole") == 0 {
		c.blackHole = 1
	}
	if rapid.IntRange(0, 4).Draw(t, "memory") == 0 {
		c.need = rapid.IntRange(1, 2).Draw(t, "need")
	}
	if rapid.IntRange(0, 3).Draw(t, "bad") == 0 {
		p := shape.plan()
		sh := rapid.SampledFrom(p.Shards).Draw(t, "bad shard")
		c.bad[sh.ID] = rapid.SampledFrom([]string{"input", "doom", "retry", "die"}).Draw(t, "badness")
	}
	return shape, c, rapid.Uint64().Draw(t, "seed")
}

// simTime is how long random worlds are tried, unless more are asked for with -rapid.checks.
const simTime = 4 * time.Second

// In random worlds every submit ends, the records are those wanted, no worker is left behind and none computes what was there.
func TestSimulated(t *testing.T) {
	begun, worlds := time.Now(), 0
	defer func() { t.Logf("%d worlds", worlds) }()
	usual := flag.Lookup("rapid.checks").Value.String() == flag.Lookup("rapid.checks").DefValue
	rapid.Check(t, func(rt *rapid.T) {
		if usual && time.Since(begun) > simTime {
			return
		}
		worlds++
		shape, c, seed := world(rt)
		var bad []string
		synctest.Test(t, func(*testing.T) { bad = live(shape, c, seed) })
		if len(bad) > 0 {
			rt.Fatalf("%s", strings.Join(bad[:min(len(bad), 5)], "\n"))
		}
	})
}

// live lets submits come and go until one ends by itself, and says what was wrong.
func live(shape simShape, c simConfig, seed uint64) []string {
	s := newSimRun(shape, c, seed)
	defer os.RemoveAll(s.work)
	for round := 0; len(s.bad) == 0; round++ {
		if round > 12 {
			s.until = 0
		}
		if s.round() {
			break
		}
	}
	if len(s.bad) == 0 {
		s.settled()
	}
	for _, p := range s.procs {
		p.kill()
	}
	return append(s.bad, s.oddly...)
}

// round is one submit and what comes before and after it. It says whether that is all.
func (s *simRun) round() bool {
	calm := s.now >= s.until
	if !calm && s.faults["damage"] > 0 {
		s.damage()
	}
	if !calm && s.faults["reshape"] > 0 && s.rng.IntN(2) == 0 && len(s.simConfig.bad) == 0 {
		s.limit = 1 + s.rng.IntN(40)
		s.simCluster.plan = s.simShape.plan()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	mode := s.rng.IntN(6)
	if calm {
		mode = 5
	}
	o := Options{GoOn: s.rng.IntN(2) == 0, Detach: mode == 0}
	events, at := 0, s.rng.IntN(30)
	s.submit(ctx, o, func(Event) {
		if events++; events != at {
			return
		}
		switch mode {
		case 1:
			cancel(nil)
		case 2:
			cancel(ErrDetached)
		case 3:
			runs, _ := runsIn(s.work)
			_ = os.WriteFile(result.Dir(runs[0]).CancelRequest(), nil, 0o666)
		}
	})
	s.look()
	return s.verdict(mode)
}

// verdict checks how a submit ended, and says whether it was by itself.
func (s *simRun) verdict(mode int) bool {
	switch {
	case s.died != "":
		for range s.rng.IntN(30) {
			s.step()
		}
		return false
	case s.err != nil:
		if !(mode == 1 && errors.Is(s.err, ErrInterrupted)) && !(mode == 3 && errors.Is(s.err, ErrCancelled)) {
			s.wrong("mode %d ended with %v", mode, s.err)
		}
	case s.out.Detached:
		if mode != 0 && mode != 2 {
			s.wrong("detached in mode %d", mode)
		}
		for range s.rng.IntN(60) {
			s.step()
		}
		return false
	}
	left := s.left()
	if s.faults["ghost"]+s.faults["doubt"]+s.faults["vanish"] == 0 && len(left) > 0 {
		s.wrong("left in the cluster: %q after %v", left, s.err)
	}
	if s.err != nil {
		return false
	}
	s.gathered(s.failed())
	for _, f := range s.out.Failures {
		sh, _ := s.simCluster.plan.Shard(f.Shard)
		doomed := false
		for id, kind := range s.simConfig.bad {
			b, _ := s.simCluster.plan.Shard(id)
			doomed = doomed || (kind == "doom" || kind == "big") && b.Task == sh.Task || kind == "input" && id == f.Shard || kind == "doom" && s.packedWith(id, f.Shard)
		}
		if !doomed && s.struck[f.Shard] < s.retry+1 && s.faults["damage"]+s.faults["doubt"]+s.faults["ghost"]+s.faults["reshape"] == 0 {
			s.wrong("shard %s was given up for %q after %d faults", f.Shard, f.Reason, s.struck[f.Shard])
		}
	}
	return len(s.out.Failures) == 0 || s.now >= s.until
}

func (s *simRun) packedWith(a, b string) bool {
	return slices.ContainsFunc(s.simCluster.plan.Jobs, func(j plan.Job) bool { return slices.Contains(j.Shards, a) && slices.Contains(j.Shards, b) })
}

// settled checks what holds after all: with the faults gone everything gets done, and then there is nothing to do.
func (s *simRun) settled() {
	clear(s.simConfig.bad)
	s.need, s.blackHole, s.until, s.deadlyN = 0, 0, 0, 0
	for range 400 { // ghosts find nothing to do
		s.step()
	}
	if left := s.left(); len(left) > 0 {
		s.wrong("left long after: %q", left)
	}
	s.submit(context.Background(), Options{}, nil)
	if s.err != nil || s.out == nil || len(s.out.Failures) > 0 {
		s.wrong("a last submit: %+v, %v", s.out, s.err)
		return
	}
	s.gathered(nil)
	n := len(s.hands)
	s.submit(context.Background(), Options{}, nil)
	if s.err != nil || s.out.Attempts != 0 || len(s.hands) != n {
		s.wrong("nothing to do: %+v, %v", s.out, s.err)
	}
	files, _ := filepath.Glob(filepath.Join(s.work, "*", "results", "*"))
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), ".") {
			s.wrong("a temporary file is left: %q", f)
		}
	}
	if runs, _ := runsIn(s.work); len(runs) != 1 {
		s.wrong("runs %q", runs)
	}
}
