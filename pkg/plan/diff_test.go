package plan

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"sextant/pkg/spec"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestDiff(t *testing.T) {
	base := func() *world {
		return newWorld(2000, "m", "n").add(spec.Dataset{Abbr: "d", Mode: spec.Gen}, 300, 0).add(spec.Dataset{Abbr: "e", Mode: spec.Gen}, 50, 0)
	}
	for name, c := range map[string]struct {
		change func(w *world)
		want   string // changes in words, then the reuse
	}{
		"nothing": {func(*world) {}, "700 rows can be reused, 0 are stale, 0 are new"},
		"sizes": {func(w *world) { w.s.Infer.MaxPartitionSize, w.s.Infer.MaxNumWorkers = 4000, 8 },
			"max_partition_size 2000 -> 4000; max_num_workers 1 -> 8; shards 8 -> 6; jobs 8 -> 6; 700 rows can be reused, 0 are stale, 0 are new"},
		"another checkpoint": {func(w *world) { w.s.Models[0].Path, w.in.Variants[0].Fingerprint = "/new", "f2" },
			`model "m": path (none) -> /new; model "m": fingerprint f-m -> f2; 350 rows can be reused, 350 are stale, 0 are new`},
		"model removed": {func(w *world) { w.s.Models, w.in.Variants = w.s.Models[:1], w.in.Variants[:1] },
			`model "n" removed; tasks 4 -> 2; rows 700 -> 350; tokens 14000 -> 7000; shards 8 -> 4; jobs 8 -> 4; 350 rows can be reused, 0 are stale, 0 are new`},
		"dataset added": {func(w *world) { w.add(spec.Dataset{Abbr: "f", Mode: spec.CLP}, 10, 2) },
			`dataset "f" added; tasks 4 -> 6; rows 700 -> 720; tokens 14000 -> 14020; shards 8 -> 10; 700 rows can be reused, 0 are stale, 20 are new`},
		"prompt": {func(w *world) {
			w.s.Datasets[1].FewShot = spec.FewShot{Kind: "fixed", IDs: []int{3, 1}}
			w.in.Tasks[2].Prompt, w.in.Tasks[3].Prompt = "fedcba", "fedcba"
		}, `dataset "e": prompt abcdef -> fedcba; dataset "e": few_shot (none) -> fixed [3 1]; 600 rows can be reused, 100 are stale, 0 are new`},
		"scoring": {func(w *world) {
			d := &w.s.Datasets[1]
			d.Metrics, d.Cluster, d.Gen.Samples, d.PPL.Denominator = []string{"contains", "bleu"}, "passage", 4, "n-1"
		}, `dataset "e": metrics (none) -> contains, bleu; dataset "e": cluster (none) -> passage; dataset "e": ppl.denominator (none) -> n-1; ` +
			`dataset "e": gen.samples 0 -> 4; 600 rows can be reused, 100 are stale, 0 are new`},
		"data": {func(w *world) {
			w.s.Datasets[1].Test.Path = "/other"
			w.in.Tasks[2].Data, w.in.Tasks[3].Data = "data-2", "data-2"
			w.in.Tasks[2].Rows, w.in.Tasks[3].Rows = 60, 60
		}, `dataset "e": path (none) -> /other; dataset "e": data data-e -> data-2; dataset "e": rows 50 -> 60; rows 700 -> 720; tokens 14000 -> 14400; ` +
			"600 rows can be reused, 100 are stale, 20 are new"},
		"fewer rows": {func(w *world) { w.s.Infer.Limit = 10; w.in.Tasks[2].Rows, w.in.Tasks[3].Rows = 10, 10 },
			`dataset "e": rows 50 -> 10; limit 0 -> 10; rows 700 -> 620; tokens 14000 -> 12400; 620 rows can be reused, 0 are stale, 0 are new`},
		"resources": {func(w *world) {
			w.s.Models[1].RunCfg.NumGPUs = 8
			w.s.Models[1].MetaTemplate = &spec.MetaTemplate{}
			w.s.Slurm.Env = map[string]string{"TOKEN": "secret"}
			w.s.Slurm.QOS = "spot"
		}, `model "n": run_cfg.num_gpus 1 -> 8; model "n": meta_template changed; slurm.qos (none) -> spot; slurm.env changed; ` +
			"350 rows can be reused, 350 are stale, 0 are new"},
	} {
		t.Run(name, func(t *testing.T) {
			b := base()
			c.change(b)
			d := Diff(base().make(t), b.make(t))
			var got []string
			for _, change := range d.Changes {
				got = append(got, change.String())
			}
			if text := strings.Join(append(got, d.Reuse.String()), "; "); text != c.want {
				t.Errorf("%s\nwant\n%s", text, c.want)
			}
		})
	}
}

// Look-ups find what is there, whoever asks first and however the lists were changed since.
func TestLookups(t *testing.T) {
	p := newWorld(200, "m").add(spec.Dataset{Abbr: "d", Mode: spec.Gen}, 1000, 0).make(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, s := range p.Shards {
				if got, ok := p.Shard(s.ID); !ok || got != s {
					t.Errorf("shard %q: %+v", s.ID, got)
				}
			}
		})
	}
	wg.Wait()
	for _, j := range p.Jobs {
		if got, ok := p.Job(j.ID); !ok || !slices.Equal(got.Shards, j.Shards) {
			t.Errorf("job %q: %+v", j.ID, got)
		}
	}
	p.Shards[3].ID = "renamed"
	p.Shards[5], p.Shards[6] = p.Shards[6], p.Shards[5]
	p.Tasks = append(p.Tasks, Task{ID: "more"})
	for _, s := range p.Shards {
		if got, ok := p.Shard(s.ID); !ok || got != s {
			t.Errorf("changed: shard %q: %+v", s.ID, got)
		}
	}
	if _, ok := p.Task("more"); !ok {
		t.Error("a task added is not found")
	}
	if _, ok := p.Shard("unknown"); ok {
		t.Error("a shard that is not there was found")
	}
	p.Jobs = p.Jobs[:1]
	if _, ok := p.Job(p.Jobs[0].ID); !ok {
		t.Error("the job left is not found")
	}
}

func TestDiffOfRecipes(t *testing.T) {
	base := func(recipes bool) *world {
		w := newWorld(2000, "m").add(spec.Dataset{Abbr: "d", Mode: spec.Gen}, 30, 0)
		if recipes {
			w.recipes(true)
			w.s.Quant = []spec.Quant{spec.Quant{Name: "q", Method: "awq", Calib: &spec.Calib{Name: "c4"}}.WithDefaults()}
		}
		return w
	}
	other := base(true)
	no := false
	q := &other.s.Quant[0]
	q.Bits, q.AWQ.Clip, q.Calib, other.in.Variants[1].Fingerprint = 3, &no, &spec.Calib{Name: "c4", Samples: 7}, "f2"
	for name, c := range map[string]struct {
		a, b *world
		want string
	}{
		"added": {base(false), base(true), `recipe "q" added; variant "m-q" added; variant "m-q-fake_quant" added; tasks 1 -> 4; rows 30 -> 90; tokens 600 -> 1800; ` +
			"shards 1 -> 4; jobs 1 -> 4; 30 rows can be reused, 0 are stale, 60 are new"},
		"changed": {base(true), other, `recipe "q": bits 4 -> 3; recipe "q": awq.clip true -> false; recipe "q": calib.column text -> (none); ` +
			`recipe "q": calib.cut windows -> (none); recipe "q": calib.samples 128 -> 7; recipe "q": calib.seq_len 512 -> 0; ` +
			`variant "m-q": fingerprint f-m-q -> f2; 60 rows can be reused, 30 are stale, 0 are new`},
	} {
		d := Diff(c.a.make(t), c.b.make(t))
		var got []string
		for _, change := range d.Changes {
			got = append(got, change.String())
		}
		if text := strings.Join(append(got, d.Reuse.String()), "; "); text != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, text, c.want)
		}
	}
}
