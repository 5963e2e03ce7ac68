package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// timed is a plan of one model with jobs of so many rows, each of one token, at workers slots.
func timed(workers int, rows ...int) *Plan {
	p := &Plan{Variants: []Variant{{ID: "m", Model: "m", Params: 1e9}}}
	p.Spec.Infer.MaxNumWorkers, p.Spec.Local.Threads = workers, 1
	for i, n := range rows {
		id := fmt.Sprintf("j%d", i)
		p.Tasks = append(p.Tasks, Task{ID: id, Variant: "m", Rows: n, Tokens: int64(n)})
		p.Shards = append(p.Shards, Shard{ID: id, Task: id, To: n, Tokens: int64(n)})
		p.Jobs = append(p.Jobs, Job{ID: id, Variant: "m", Shards: []string{id}, NumGPUs: 1, NumProcs: 1})
	}
	return p
}

// measured is a calibration that gives the plan's workers one token a second and a load of so many.
func measured(p *Plan, load float64) Calibration {
	var c Calibration
	for _, j := range p.Jobs {
		v, _ := p.Variant(j.Variant)
		c.add(p.Kind(j), Speed{Params: v.Params, Tokens: 100, Seconds: 100, Loads: 2, LoadSeconds: 2 * load})
	}
	return c
}

func close(a, b float64) bool { return math.Abs(a-b) <= 1e-9*(math.Abs(a)+math.Abs(b)) }

func TestForecastWorked(t *testing.T) {
	// Two slots, load 10 s. Draining: one takes 50, the other 40, then 20 and 10: both work 60 s. A worker a job: 60 and 50, then
	// 50+30 and 60+20.
	p := timed(2, 50, 40, 20, 10)
	f := p.Forecast(measured(p, 10))
	if f.Rough || f.Tokens != 120 {
		t.Errorf("forecast %+v", f)
	}
	for name, c := range map[string]struct{ got, want float64 }{
		"work":               {f.Seconds, 120},
		"draining":           {f.Draining.Makespan, 70},
		"draining loads":     {f.Draining.Loads, 20},
		"one each":           {f.OneEach.Makespan, 80},
		"one each loads":     {f.OneEach.Loads, 40},
		"fluid":              {f.Fluid, 70},
		"GPU-hours":          {f.GPUHours, 140. / 3600},
		"CPU-hours":          {f.CPUHours, 0},
		"workers":            {float64(f.Draining.Workers), 2},
		"pool's rate":        {f.Pools[0].Rate, 1},
		"pool's load":        {f.Pools[0].Load, 10},
		"job":                {f.Jobs[2].Seconds, 20},
		"task's GPU-seconds": {f.Tasks[0].GPUHours * 3600, 50},
	} {
		if !close(c.got, c.want) {
			t.Errorf("%s: %g, want %g", name, c.got, c.want)
		}
	}
	// The first is a pool of its own, on the CPU. When it is done, at 60, its slot goes to a second worker of the other pool.
	p.Jobs[0].NumGPUs = 0
	f = p.Forecast(measured(p, 10))
	if !close(f.GPUHours, 90./3600) || !close(f.CPUHours, 60./3600) || len(f.Pools) != 2 {
		t.Errorf("GPU %g, CPU %g hours, %d pools", f.GPUHours, f.CPUHours, len(f.Pools))
	}
}

// A worker's pool is drained before its slot goes to another one, which loads its own model.
func TestForecastOfTwoPools(t *testing.T) {
	p := timed(1, 30, 20, 10)
	p.Jobs[1].NumProcs = 2
	f := p.Forecast(measured(p, 5))
	if !close(f.Draining.Makespan, 70) || f.Draining.Workers != 2 || f.Pools[0].Workers != 1 || !close(f.Fluid, 70) {
		t.Errorf("draining %+v, fluid %g", f.Draining, f.Fluid)
	}
	if !strings.Contains(f.String(), "1m10s with 2 workers") || strings.Contains(f.String(), "rough") {
		t.Errorf("in words: %s", f.String())
	}
}

func TestForecastProperty(t *testing.T) {
	for seed := range uint64(120) {
		draw := rand.New(rand.NewPCG(seed, 3))
		rows := make([]int, 1+draw.IntN(40))
		for i := range rows {
			rows[i] = 1 + draw.IntN(500)
		}
		slots := 1 + draw.IntN(12)
		p := timed(slots, rows...)
		for i := range p.Jobs {
			p.Jobs[i].NumProcs = 1 + draw.IntN(3)
		}
		load := float64(draw.IntN(300))
		f := p.Forecast(measured(p, load))
		switch {
		case f.Draining.Makespan < f.Fluid*(1-1e-9):
			t.Fatalf("seed %d: draining in %g s, below the bound of %g", seed, f.Draining.Makespan, f.Fluid)
		case f.Draining.Loads > f.OneEach.Loads || f.Draining.Workers > len(p.Jobs):
			t.Fatalf("seed %d: draining %+v, one each %+v", seed, f.Draining, f.OneEach)
		case f.OneEach.Makespan*float64(min(slots, len(rows))) < (f.Seconds+f.OneEach.Loads)*(1-1e-9):
			t.Fatalf("seed %d: one each does %g s of work in %+v", seed, f.Seconds, f.OneEach)
		}
		for _, q := range f.Pools {
			alone := timed(slots, rows...)
			alone.Jobs = alone.Jobs[:0]
			for _, j := range p.Jobs {
				if j.Pool() == q.Pool {
					alone.Jobs = append(alone.Jobs, j)
				}
			}
			span := func(w int) float64 {
				alone.Spec.Infer.MaxNumWorkers = w
				a := alone.Forecast(measured(p, load))
				return a.Draining.Makespan
			}
			w, bound := f.Workers(q.Pool), 1.1*span(slots)
			if w < 1 || w > slots || span(w) > bound*(1+1e-9) {
				t.Fatalf("seed %d: %d workers of %d take %g s, bound %g", seed, w, slots, span(w), bound)
			}
			for fewer := 1; fewer < w; fewer++ {
				if span(fewer) <= bound*(1-1e-9) {
					t.Fatalf("seed %d: %d workers, and %d are enough", seed, w, fewer)
				}
			}
		}
	}
}

// A load that outweighs the work: the fewest workers that are about as fast.
func TestWorkers(t *testing.T) {
	p := timed(8, 1, 1, 1, 1, 1, 1, 1, 1)
	pool := p.Jobs[0].Pool()
	for load, want := range map[float64]int{0: 8, 10: 4, 1000: 1} {
		f := p.Forecast(measured(p, load))
		if got := f.Workers(pool); got != want {
			t.Errorf("load %g: %d workers, want %d", load, got, want)
		}
	}
	f := p.Forecast(Calibration{})
	if f.Workers(pool) != 8 || f.Workers("unknown") != 0 || !f.Rough || !strings.Contains(f.String(), "(rough)") {
		t.Errorf("not measured: %d workers, %s", f.Workers(pool), f.String())
	}
}

func TestWalltime(t *testing.T) {
	for _, c := range []struct {
		rows  []int
		slots int
		load  float64
		want  time.Duration
	}{
		{[]int{60, 60}, 2, 60, 11 * time.Minute},           // 5 + 3 x (60 + 60) s
		{[]int{60, 60}, 1, 60, 14 * time.Minute},           // one worker drains both
		{[]int{100, 50}, 2, 0, 10 * time.Minute},           // the longest job
		{[]int{1}, 1, 0.1, 6 * time.Minute},                // whole minutes
		{[]int{1 << 40}, 1, 1, 365 * 24 * time.Hour},       // no overflow
		{[]int{3600, 3600, 3600}, 1, 0, 545 * time.Minute}, // 3 x 3 h
	} {
		p := timed(c.slots, c.rows...)
		f := p.Forecast(measured(p, c.load))
		if got := f.Walltime(p.Jobs[0].Pool()); got != c.want {
			t.Errorf("%v rows, load %g: %s, want %s", c.rows, c.load, got, c.want)
		}
	}
	p := timed(1, 1)
	f := p.Forecast(Calibration{})
	if got := f.Walltime(p.Jobs[0].Pool()); got != 15*time.Minute || f.Walltime("unknown") != got {
		t.Errorf("not measured: %s", got)
	}
	p.Spec.Slurm.SignalLead = 1200
	f = p.Forecast(measured(p, 0))
	if got := f.Walltime(p.Jobs[0].Pool()); got != 25*time.Minute {
		t.Errorf("warned 20 minutes before: %s", got)
	}
	c := measured(p, 1e-9)
	for kind, s := range c.Workers {
		s.Tokens, s.Seconds = 1e300, 1e-300
		c.Workers[kind] = s
	}
	p.Spec.Slurm.SignalLead = 60
	f = p.Forecast(c)
	if got := f.Walltime(p.Jobs[0].Pool()); got != 6*time.Minute {
		t.Errorf("measured wrongly: %s", got)
	}
}

func TestCalibration(t *testing.T) {
	p := timed(4, 100)
	j := p.Jobs[0]
	var c Calibration
	c.Observe(p, j, result.End{Code: 1, Seconds: 3})                                       // died before it did anything
	c.Observe(p, j, result.End{Tokens: 5, Seconds: 3, LoadSeconds: 3})                     // no time for its tokens
	c.Observe(p, j, result.End{Tokens: 1000, Seconds: 25, LoadSeconds: 5})                 // 1000 in 20
	c.Observe(p, j, result.End{Tokens: 500, Seconds: 10})                                  // 500 in 10, loaded before
	c.Observe(p, j, result.End{Tokens: -5, Seconds: math.Inf(1), LoadSeconds: math.NaN()}) // damaged
	f := p.Forecast(c)
	if q := f.Pools[0]; f.Rough || !close(q.Rate, 50) || !close(q.Load, 4) {
		t.Errorf("pool %+v", q)
	}
	// A model seven times as large at the same place is thought to be seven times as slow; at another place nothing is known of it.
	p.Variants[0].Params *= 7
	if f = p.Forecast(c); !f.Rough || !close(f.Pools[0].Rate, 50./7) || !close(f.Pools[0].Load, 28) {
		t.Errorf("scaled: %+v", f.Pools[0])
	}
	p.Spec.Infer.Scheduler, p.Spec.Slurm.Partition = "slurm", "x"
	if f = p.Forecast(c); !f.Rough || !close(f.Pools[0].Rate, gpuFlops/14e9) {
		t.Errorf("elsewhere: %+v", f.Pools[0])
	}
	p.Jobs[0].NumGPUs = 0
	p.Spec.Slurm.CPUs = 16
	if f = p.Forecast(c); !close(f.Pools[0].Rate, 16*cpuFlops/14e9) {
		t.Errorf("on a CPU: %+v", f.Pools[0])
	}
	p.Jobs[0].NumProcs = 2 // each with processors of its own
	if f = p.Forecast(c); !close(f.Pools[0].Rate, 2*16*cpuFlops/14e9) {
		t.Errorf("in two processes: %+v", f.Pools[0])
	}
	p.Jobs[0].NumProcs = 1
	other := Calibration{}
	other.Observe(p, p.Jobs[0], result.End{Tokens: 30, Seconds: 10})
	c.Merge(other)
	c.Merge(other)
	if f = p.Forecast(c); f.Rough || !close(f.Pools[0].Rate, 3) || len(c.Workers) != 2 {
		t.Errorf("merged: %+v of %+v", f.Pools[0], c)
	}
}

// What is old counts less, so that the speed follows a cluster that has changed.
func TestCalibrationForgets(t *testing.T) {
	p := timed(1, 1)
	var c Calibration
	for range 1000 {
		c.Observe(p, p.Jobs[0], result.End{Tokens: 3600, Seconds: 3600})
	}
	for range 20 {
		c.Observe(p, p.Jobs[0], result.End{Tokens: 7200, Seconds: 3600})
	}
	f := p.Forecast(c)
	if r := f.Pools[0].Rate; r < 1.8 || r > 2 {
		t.Errorf("%g tokens a second after 20 hours at 2", r)
	}
}

func TestCalibrationFile(t *testing.T) {
	p := timed(1, 1)
	path := t.TempDir() + "/calibration.json"
	if c, err := LoadCalibration(path); err != nil || len(c.Workers) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	c := measured(p, 3)
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadCalibration(path)
	if err != nil || got.Workers[p.Kind(p.Jobs[0])] != c.Workers[p.Kind(p.Jobs[0])] {
		t.Fatalf("%+v, %v, want %+v", got, err, c)
	}
	for name, c := range map[string]struct{ text, want string }{
		"torn":     {`{"version":1,"wor`, "unexpected end"},
		"version":  {`{"version":7}`, "version is 7"},
		"negative": {`{"version":1,"workers":{"k":{"tokens":-1,"seconds":1}}}`, `"k" is no speed`},
		"no time":  {`{"version":1,"workers":{"k":{"tokens":1}}}`, `"k" is no speed`},
	} {
		writeFile(t, path, c.text)
		if got, err := LoadCalibration(path); err == nil || !strings.Contains(err.Error(), c.want) || len(got.Workers) > 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// What comes after a quantization waits for it, and what does not fills the time.
func TestForecastAfter(t *testing.T) {
	p := timed(2, 100, 30, 30, 30) // the quantization, one job of what it makes, two of another pool
	p.Jobs[0].Kind = Quantize
	p.Jobs[1].After, p.Jobs[1].Variant = []string{"j0", "over"}, "q"
	p.Variants = append(p.Variants, Variant{ID: "q", Model: "m", Params: 1e9, Position: spec.Packed})
	c := measured(p, 10)
	f := p.Forecast(c)
	// One slot: 10 + 100, and then 10 + 30; the other 10 + 30 + 30 and none to do until 110.
	if !close(f.Draining.Makespan, 150) || f.Draining.Workers != 3 || !close(f.Draining.Loads, 30) {
		t.Errorf("draining %+v", f.Draining)
	}
	if !close(f.OneEach.Makespan, 150) || !close(f.OneEach.Loads, 40) {
		t.Errorf("one each %+v", f.OneEach)
	}
	p.Spec.Infer.MaxNumWorkers = 1
	if f := p.Forecast(c); !close(f.Draining.Makespan, 220) {
		t.Errorf("one worker: %+v", f.Draining)
	}
	if f := p.Forecast(c); f.Workers(p.Jobs[1].Pool()) != 1 || f.Walltime(p.Jobs[1].Pool()) < 6*60e9 {
		t.Error("the pool that waits has no worker")
	}
	p.Jobs[0].After = []string{"j1"} // no plan of Make's
	if f := p.Forecast(c); f.Draining.Makespan < 190 {
		t.Errorf("in a circle: %+v", f.Draining)
	}
}

// The speed of workers that quantize and that of those that evaluate are not mixed up.
func TestCalibrationOfSteps(t *testing.T) {
	w := newWorld(1_000_000, "m").add(spec.Dataset{Abbr: "d", Mode: spec.Gen}, 20, 0)
	w.recipes(true)
	w.s.Quant = []spec.Quant{{Name: "q", Method: "awq"}}
	for i := range w.in.Variants {
		w.in.Variants[i].Params = 1e9
	}
	p := w.make(t)
	rough := p.Forecast(Calibration{})
	if a, b := rough.Walltime(p.Jobs[0].Pool()), rough.Walltime(p.Jobs[3].Pool()); a != 4*time.Hour || b != 15*time.Minute {
		t.Errorf("not measured: %s to quantize, %s to evaluate", a, b)
	}
	kinds := map[string]bool{}
	for _, j := range p.Jobs {
		kinds[p.Kind(j)] = true
	}
	if len(p.Jobs) != 4 || len(kinds) != 4 || p.Jobs[0].Kind != Quantize || p.Jobs[0].Pool() == p.Jobs[1].Pool() {
		t.Fatalf("%+v of kinds %v", p.Jobs, kinds)
	}
	unknown := p.Forecast(Calibration{})
	var c Calibration
	c.Observe(p, p.Jobs[0], result.End{Tokens: 10, Seconds: 1000, LoadSeconds: 1})
	f := p.Forecast(c)
	for i, pool := range f.Pools {
		if quantizes := i == 0; quantizes == pool.Rough || quantizes == (pool.Rate == unknown.Pools[i].Rate) {
			t.Errorf("after a slow quantization: %+v", pool)
		}
	}
	// Of another method nothing is known either; of the same method at another size it is scaled.
	w.s.Quant[0].Method = "rtn"
	if f := w.make(t).Forecast(c); f.Pools[0].Rate != unknown.Pools[0].Rate {
		t.Errorf("of another method: %+v", f.Pools[0])
	}
	w.s.Quant[0].Method = "awq"
	for i := range w.in.Variants {
		w.in.Variants[i].Params = 2e9
	}
	if f := w.make(t).Forecast(c); !f.Pools[0].Rough || !close(f.Pools[0].Rate, 10./999/2) {
		t.Errorf("of a larger model: %+v", f.Pools[0])
	}
	c = Calibration{}
	c.Observe(p, p.Jobs[1], result.End{Tokens: 1e9, Seconds: 1})
	unknown = p.Forecast(Calibration{}) // of the larger models
	if f := p.Forecast(c); f.Pools[0].Rate != unknown.Pools[0].Rate {
		t.Errorf("after a fast evaluation: %+v", f.Pools[0])
	}
}
