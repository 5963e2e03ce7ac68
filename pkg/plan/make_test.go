package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sextant/pkg/spec"
)

// world is a spec with its inputs.
type world struct {
	s  spec.Spec
	in Inputs
}

func newWorld(limit int, models ...string) *world {
	w := &world{s: spec.Spec{Infer: spec.Infer{MaxPartitionSize: limit, GenTaskCoef: 20, MaxNumWorkers: 1}}}
	for _, m := range models {
		w.s.Models = append(w.s.Models, spec.Model{Abbr: m, RunCfg: spec.RunCfg{NumGPUs: 1, NumProcs: 1}})
		w.in.Variants = append(w.in.Variants, Variant{ID: m, Model: m, Recipe: "pretrain", Fingerprint: "f-" + m})
	}
	return w
}

func (w *world) add(d spec.Dataset, rows, labels int) *world {
	w.s.Datasets = append(w.s.Datasets, d)
	for _, v := range w.in.Variants {
		w.in.Tasks = append(w.in.Tasks, TaskInput{Variant: v.ID, Dataset: d.Abbr, Rows: rows, Labels: labels, Data: "data-" + d.Abbr, Prompt: "abcdef"})
	}
	return w
}

func (w *world) make(t testing.TB) *Plan {
	t.Helper()
	p, err := Make(w.s, w.in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mmlu holds the test rows of the 57 subjects, in order of name.
var mmlu = []int{100, 135, 152, 100, 265, 144, 100, 100, 100, 173, 102, 100, 235, 114, 145, 378, 126, 100, 310, 203, 100, 165, 198, 193,
	390, 270, 238, 151, 545, 216, 204, 237, 223, 131, 121, 108, 163, 112, 103, 234, 100, 783, 346, 895, 306, 311, 324, 282, 1534, 272, 612,
	110, 245, 201, 100, 166, 171}

// The numbers of tasks that OpenCompass makes.
func TestOpenCompassFigures(t *testing.T) {
	gen := func(abbr string) spec.Dataset { return spec.Dataset{Abbr: abbr, Mode: spec.Gen} }
	ppl := func(abbr string) spec.Dataset { return spec.Dataset{Abbr: abbr, Mode: spec.PPL} }
	subjects := func(w *world) *world {
		for i, rows := range mmlu {
			abbr := fmt.Sprintf("lukaemon_mmlu_subject%02d", i)
			if rows == 1534 {
				abbr = "lukaemon_mmlu_professional_law"
			}
			w.add(ppl(abbr), rows, 4)
		}
		return w
	}
	pair := func(limit int) *world {
		return newWorld(limit, "m").add(ppl("winograd"), 285, 2).add(gen("siqa"), 1954, 0)
	}
	for name, c := range map[string]struct {
		w    *world
		jobs int
	}{
		"winograd + siqa, 2000":  {pair(2000), 21},
		"winograd + siqa, 4000":  {pair(4000), 11},
		"winograd + siqa, 40000": {pair(40000), 1},
		"gsm8k, 2000":            {newWorld(2000, "m").add(gen("gsm8k"), 1319, 0), 132},
		"mmlu ppl, 2000":         {subjects(newWorld(2000, "m")), 64},
		"two models":             {newWorld(2000, "m", "n").add(gen("gsm8k"), 1319, 0), 264},
		"limit below the factor": {newWorld(100, "m").add(gen("math"), 7, 0), 7},
	} {
		t.Run(name, func(t *testing.T) {
			if p := c.w.make(t); len(p.Jobs) != c.jobs {
				t.Errorf("%d jobs, want %d", len(p.Jobs), c.jobs)
			}
		})
	}
}

func TestFactor(t *testing.T) {
	for _, c := range []struct {
		d      spec.Dataset
		labels int
		want   int
	}{
		{spec.Dataset{Abbr: "siqa_ppl", Mode: spec.PPL}, 3, 3},
		{spec.Dataset{Abbr: "arc_ll", Mode: spec.LL}, 4, 4},
		{spec.Dataset{Abbr: "choice", Mode: spec.CLP}, 4, 1},
		{spec.Dataset{Abbr: "siqa_gen", Mode: spec.Gen}, 0, 20},
		{spec.Dataset{Abbr: "bbh-date", Mode: spec.Gen}, 0, 200},
		{spec.Dataset{Abbr: "gsm8k_gen", Mode: spec.Gen}, 0, 200},
		{spec.Dataset{Abbr: "math500", Mode: spec.Gen}, 0, 200},
		{spec.Dataset{Abbr: "mathematics", Mode: spec.PPL}, 4, 40},
		{spec.Dataset{Abbr: "college_math", Mode: spec.PPL}, 4, 4},
		{spec.Dataset{Abbr: "mmlu_professional_law", Mode: spec.PPL}, 4, 40},
		{spec.Dataset{Abbr: "gsm8k_gen", Mode: spec.Gen, CostFactor: 7}, 0, 7},
		{spec.Dataset{Abbr: "wiki", Mode: spec.Rolling, Rolling: spec.RollingOptions{SeqLen: 2048}}, 0, 8},
		{spec.Dataset{Abbr: "wiki", Mode: spec.Rolling, Rolling: spec.RollingOptions{SeqLen: 100}}, 0, 1},
	} {
		if got := factor(&c.d, c.labels, 20); got != c.want {
			t.Errorf("%s %s: factor %d, want %d", c.d.Abbr, c.d.Mode, got, c.want)
		}
	}
}

func drawWorld(t *rapid.T) *world {
	w := newWorld(rapid.IntRange(1, 3000).Draw(t, "limit"), []string{"a", "b/b", "ü"}[:rapid.IntRange(1, 3).Draw(t, "models")]...)
	w.s.Infer.Partition = rapid.SampledFrom([]string{"size", "workers"}).Draw(t, "partition")
	w.s.Infer.MaxNumWorkers = rapid.IntRange(1, 40).Draw(t, "workers")
	for i := range w.in.Variants {
		w.in.Variants[i].Params = rapid.Int64Range(0, 1e11).Draw(t, "params")
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "datasets") {
		d := spec.Dataset{Abbr: fmt.Sprintf("d%d", i), Mode: rapid.SampledFrom([]spec.Mode{spec.PPL, spec.Gen, spec.CLP}).Draw(t, "mode")}
		rows := rapid.IntRange(1, 150).Draw(t, "rows")
		w.add(d, rows, rapid.IntRange(1, 5).Draw(t, "labels"))
		e := Estimate{Sizes: make([]uint32, rows), Shared: rapid.Int64Range(0, 99).Draw(t, "shared"), Fixed: rapid.Int64Range(0, 9*fractions).Draw(t, "fixed")}
		e.PerUnit = rapid.Int64Range(0, 2*fractions).Draw(t, "per unit")
		draw := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for row := range e.Sizes {
			e.Sizes[row] = uint32(draw.ExpFloat64() * 100)
		}
		for k := range w.in.Tasks {
			if w.in.Tasks[k].Dataset == d.Abbr {
				w.in.Tasks[k].Estimate = e
			}
		}
	}
	if n := rapid.IntRange(0, 2).Draw(t, "recipes"); n > 0 {
		w.recipes(n == 1)
	}
	return w
}

// Shards tile every task in as few pieces as its limit allows, each is in exactly one job of its own variant, jobs stand by falling work,
// and one keeps to the limit unless a single row is over it.
func TestPlanProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		p, err := Make(w.s, w.in)
		if err != nil {
			t.Fatal(err)
		}
		checkTiling(t, w, p)
		shards := map[string]Shard{}
		for _, s := range p.Shards {
			shards[s.ID] = s
		}
		jobs, perVariant := map[string]bool{}, map[string]int{}
		last := math.Inf(1)
		for i, j := range p.Jobs {
			cost, rows := 0, 0
			v, _ := p.Variant(j.Variant)
			work := float64(p.Tokens(j)) * float64(max(v.Params, 1))
			for _, id := range j.Shards {
				s, ok := shards[id]
				task, _ := p.Task(s.Task)
				if !ok || task.Variant != j.Variant || task.Kind != j.Kind {
					t.Fatalf("job %q has shard %q: twice, unknown or of another variant", j.ID, id)
				}
				delete(shards, id)
				cost, rows = cost+s.Cost, rows+s.To-s.From
			}
			if _, isShard := p.Shard(j.ID); jobs[j.ID] || len(j.Shards) > 1 && isShard {
				t.Fatalf("job ID %q is used twice", j.ID)
			}
			if jobs[j.ID] = true; (j.Kind == Quantize) != (i < len(w.in.Steps)) {
				t.Fatalf("job %d of %d quantizations is %+v", i, len(w.in.Steps), j)
			}
			if v.Step == "" && len(j.After) > 0 || v.Step != "" && j.Kind == "" && !slices.Equal(j.After, stepOf(p, v)) {
				t.Fatalf("job %+v of %+v comes after that", j, v)
			}
			if i == len(w.in.Steps) {
				last = math.Inf(1)
			}
			over := w.s.Infer.Partition == "size" && cost > w.s.Infer.MaxPartitionSize && rows > 1
			if cost != j.Cost || over || work > last || work == last && j.ID < p.Jobs[i-1].ID {
				t.Fatalf("job %+v of cost %d, %d rows and work %g after one of %g, limit %d", j, cost, rows, work, last, w.s.Infer.MaxPartitionSize)
			}
			last = work
			if j.Kind == "" {
				perVariant[j.Variant]++
			}
			if w.s.Infer.Partition == "workers" && perVariant[j.Variant] > w.s.Infer.MaxNumWorkers {
				t.Fatalf("variant %q has more jobs than workers", j.Variant)
			}
		}
		if len(shards) > 0 {
			t.Fatalf("shards in no job: %v", shards)
		}
	})
}

// stepOf are the jobs that make a variant.
func stepOf(p *Plan, v Variant) (jobs []string) {
	for _, j := range p.Jobs {
		for _, id := range j.Shards {
			if s, _ := p.Shard(id); s.Task == v.Step {
				jobs = append(jobs, j.ID)
			}
		}
	}
	return jobs
}

// checkTiling checks a plan's shards against its tasks.
func checkTiling(t *rapid.T, w *world, p *Plan) {
	next, count, ids := map[string]int{}, map[string]int{}, map[string]bool{}
	tokens := map[string]int64{}
	for _, s := range p.Shards {
		if s.From != next[s.Task] || s.To <= s.From || ids[s.ID] || s.ID != FileSafe(s.ID) || s.Tokens < int64(s.To-s.From) {
			t.Fatalf("shard %+v after row %d", s, next[s.Task])
		}
		next[s.Task], ids[s.ID] = s.To, true
		count[s.Task]++
		tokens[s.Task] += s.Tokens
	}
	for _, task := range p.Tasks {
		most := task.Rows
		switch {
		case w.s.Infer.Partition == "workers" && task.Rows > 16:
			most = max(ceil(task.Rows, w.s.Infer.MaxNumWorkers), 16)
		case w.s.Infer.Partition == "size" && task.Cost > w.s.Infer.MaxPartitionSize:
			most = max(w.s.Infer.MaxPartitionSize/task.Factor, 1)
		}
		if next[task.ID] != task.Rows || count[task.ID] != ceil(task.Rows, most) || tokens[task.ID] != task.Tokens {
			t.Fatalf("task %+v: its %d shards end at row %d with %d tokens", task, count[task.ID], next[task.ID], tokens[task.ID])
		}
		for _, s := range p.Shards {
			if s.Task == task.ID && s.To-s.From > most {
				t.Fatalf("shard %+v has more than %d rows", s, most)
			}
		}
	}
}

// The identity tells what is asked and nothing else; the digest tells all.
func TestIdentityProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		make := func() *Plan {
			p, err := Make(w.s, w.in)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		a, b := make(), make()
		if !reflect.DeepEqual(a, b) {
			t.Fatal("the same inputs gave two plans")
		}
		slices.Reverse(w.in.Tasks)
		if c := make(); c.Digest != a.Digest {
			t.Fatal("the order of what was found out reaches the digest")
		}
		w.s.Infer.MaxPartitionSize++
		w.s.Infer.MaxNumWorkers++
		slices.Reverse(w.s.Datasets)
		slices.Reverse(w.s.Models)
		slices.Reverse(w.in.Variants)
		slices.Reverse(w.in.Tasks)
		if c := make(); c.Identity != a.Identity || c.Digest == a.Digest {
			t.Fatalf("identity %s and %s, digest %s and %s", a.Identity, c.Identity, a.Digest, c.Digest)
		}
		i := rapid.IntRange(0, len(w.in.Tasks)-1).Draw(t, "changed")
		w.in.Tasks[i].Data += "x"
		if c := make(); c.Identity == a.Identity {
			t.Fatal("other data, same identity")
		}
	})
}

func TestWhatReachesTheTaskDigest(t *testing.T) {
	base := spec.Dataset{Abbr: "d", Mode: spec.Gen, Test: spec.Files{Path: "/a/x.jsonl"}, Gen: spec.GenOptions{MaxOutLen: 50}}
	digestOf := func(change func(*world)) Task {
		w := newWorld(2000, "m").add(base, 10, 0)
		change(w)
		return w.make(t).Tasks[0]
	}
	want := digestOf(func(*world) {})
	same := map[string]func(*world){
		"batch size":     func(w *world) { w.s.Models[0].BatchSize = 4 },
		"limit":          func(w *world) { w.in.Tasks[0].Rows = 5 },
		"place of data":  func(w *world) { w.s.Datasets[0].Test.Path = "/b/y.jsonl" },
		"post-processor": func(w *world) { w.s.Datasets[0].Post = []string{"first-option"} },
		"metric":         func(w *world) { w.s.Datasets[0].Metric = "accuracy" },
		"metrics":        func(w *world) { w.s.Datasets[0].Metrics = []string{"accuracy"} },
		"cluster":        func(w *world) { w.s.Datasets[0].Cluster = "passage" },
		"high ceiling":   func(w *world) { w.s.Models[0].MaxOutLen = 100 },
	}
	other := map[string]func(*world){
		"data":          func(w *world) { w.in.Tasks[0].Data = "other" },
		"model":         func(w *world) { w.in.Variants[0].Fingerprint = "other" },
		"low ceiling":   func(w *world) { w.s.Models[0].MaxOutLen = 10 },
		"context":       func(w *world) { w.s.Models[0].MaxSeqLen = 10 },
		"temperature":   func(w *world) { w.s.Datasets[0].Gen.Temperature = 1 },
		"answer":        func(w *world) { w.s.Datasets[0].Answer = "gold" },
		"prompt":        func(w *world) { w.s.Datasets[0].Prompt.Template = &spec.Template{Text: "{q}"} },
		"meta template": func(w *world) { w.s.Models[0].MetaTemplate = &spec.MetaTemplate{Begin: "<s>"} },
	}
	for name, change := range same {
		if got := digestOf(change); got.Digest != want.Digest || got.Settings != want.Settings {
			t.Errorf("%s changes the digest", name)
		}
	}
	for name, change := range other {
		if got := digestOf(change); got.Digest == want.Digest {
			t.Errorf("%s does not change the digest", name)
		}
	}
	base.Mode, base.Rolling = spec.Rolling, spec.RollingOptions{SeqLen: 64}
	if a, b := digestOf(func(*world) {}), digestOf(same["limit"]); a.Digest == b.Digest {
		t.Error("rolling: another number of windows does not change the digest")
	}
}

func TestMakeRefuses(t *testing.T) {
	d := spec.Dataset{Abbr: "d", Mode: spec.Gen}
	for name, c := range map[string]struct {
		w    *world
		want string
	}{
		"no limit":        {newWorld(0, "m").add(d, 1, 0), "max_partition_size is 0"},
		"no rows":         {newWorld(1, "m").add(d, 0, 0), `dataset "d" has no rows`},
		"no models":       {newWorld(1).add(d, 1, 0), "no model or no dataset"},
		"unknown dataset": {func() *world { w := newWorld(1, "m").add(d, 1, 0); w.in.Tasks = nil; return w }(), `nothing is known of task "m/d"`},
		"unknown model":   {func() *world { w := newWorld(1, "m").add(d, 1, 0); w.s.Models = nil; return w }(), `model "m", which the spec does not have`},
		"not a number": {newWorld(1, "m").add(spec.Dataset{Abbr: "d", Mode: spec.Gen, Gen: spec.GenOptions{Temperature: math.NaN()}}, 1, 0),
			`task "m/d": json: unsupported value`},
	} {
		if _, err := Make(c.w.s, c.w.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func TestFileSafe(t *testing.T) {
	n := names{}
	seen := map[string]bool{}
	for _, name := range []string{"a", "A", "a/b", "a_b", "a b", "ä", "ö", "..", "-x", strings.Repeat("x", 300), strings.Repeat("x", 299) + "y", "a", "a.2"} {
		got := n.unique(name)
		if seen[strings.ToLower(got)] || len(got) > 200 || strings.ContainsAny(got, "/ \x00") || strings.HasPrefix(got, ".") || strings.HasPrefix(got, "-") {
			t.Errorf("%q became %q", name, got)
		}
		seen[strings.ToLower(got)] = true
	}
}
