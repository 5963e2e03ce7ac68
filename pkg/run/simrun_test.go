package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

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
	steps        bool // models of even numbers come after a quantization
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
	if sh.steps {
		addSteps(p)
	}
	return p
}

// stepOf is the job, and the one shard of it, that the jobs of a model come after.
func stepOf(model string) string { return model + "-q" }

// addSteps lets the jobs of every other model come after one of a single row. They are the last of the plan.
func addSteps(p *plan.Plan) {
	for i, v := range p.Variants {
		if i%2 != 0 {
			continue
		}
		id := stepOf(v.ID)
		for k := range p.Jobs {
			if p.Jobs[k].Variant == v.ID {
				p.Jobs[k].After = []string{id}
			}
		}
		t := plan.Task{ID: id + "/quantize", Kind: plan.Quantize, Variant: v.ID, Rows: 1, Factor: 1, Cost: 1, Settings: "0123456789abcdef", Digest: "d-" + id}
		p.Tasks = append(p.Tasks, t)
		p.Shards = append(p.Shards, plan.Shard{ID: id, Task: t.ID, To: 1, Cost: 1})
		p.Jobs = append(p.Jobs, plan.Job{ID: id, Kind: plan.Quantize, Variant: v.ID, Shards: []string{id}, Cost: 1, NumProcs: 1})
	}
	seal(p)
}

// seal gives a plan that was changed the digests that plan.Load wants.
func seal(p *plan.Plan) {
	sum := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		d := sha256.Sum256(append(b, '\n'))
		return hex.EncodeToString(d[:])[:32]
	}
	p.Identity, p.Digest = sum(p.Tasks), ""
	p.Digest = sum(p)
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
	p, err := LoadPlan(runs[0])
	if err != nil {
		s.wrong("looking: %v", err)
		return
	}
	st, err := Look(context.Background(), runs[0], p, s.peek)
	if err != nil {
		s.wrong("looking: %v", err)
		return
	}
	cover, shards, err := Cover(runs[0], st.Plan)
	for id, n := range shards {
		if shard, _ := st.Plan.Shard(id); st.Shards[id] == ShardDone && n != shard.To-shard.From {
			s.wrong("shard %s is done with %d rows", id, n)
		}
	}
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
