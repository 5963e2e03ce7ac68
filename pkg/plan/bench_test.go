package plan

import (
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sextant/pkg/spec"
)

// A million rows plan in about a second of processor time; the bound leaves room for slower machines and the race detector.
func TestMillionRows(t *testing.T) {
	w := million()
	before := processorTime(t)
	p := w.make(t)
	if d := processorTime(t) - before; d > 10*time.Second || len(p.Jobs) != 10_000 {
		t.Errorf("%d jobs in %s", len(p.Jobs), d)
	}
}

// million is a spec with a million rows of many sizes in 10,000 shards.
func million() *world {
	const rows = 1_000_000
	w := newWorld(2000, "m").add(spec.Dataset{Abbr: "siqa", Mode: spec.Gen}, rows, 0)
	e := Estimate{Sizes: make([]uint32, rows), Fixed: 50 * fractions, PerUnit: fractions / 4}
	draw := rand.New(rand.NewPCG(1, 2))
	for i := range e.Sizes {
		e.Sizes[i] = uint32(draw.ExpFloat64() * 400)
	}
	w.in.Tasks[0].Estimate = e
	return w
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkMillionRows(b *testing.B) {
	alike := newWorld(2000, "m").add(spec.Dataset{Abbr: "gsm8k", Mode: spec.Gen}, 1_000_000, 0)
	for name, w := range map[string]*world{"weighed": million(), "100,000 shards": alike} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w.make(b)
			}
		})
	}
}

// BenchmarkPlanFile makes, saves and loads a plan of 10,000 shards and finds each once, as a worker would.
func BenchmarkPlanFile(b *testing.B) {
	w := newWorld(2000, "m").add(spec.Dataset{Abbr: "siqa", Mode: spec.Gen}, 1_000_000, 0)
	path := filepath.Join(b.TempDir(), "plan.json")
	for b.Loop() {
		if err := w.make(b).Save(path); err != nil {
			b.Fatal(err)
		}
		p, err := Load(path)
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range p.Shards {
			if _, ok := p.Shard(s.ID); !ok {
				b.Fatal(s.ID)
			}
		}
	}
}

func BenchmarkForecast(b *testing.B) {
	w := million()
	w.s.Infer.MaxNumWorkers = 256
	p := w.make(b)
	for b.Loop() {
		f := p.Forecast(Calibration{})
		f.Walltime(p.Jobs[0].Pool())
	}
}
