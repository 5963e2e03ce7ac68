package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"sextant/kernels"
	"sextant/pkg/engine"
)

// quick measures little of the tiny shape.
func quick(works ...string) Options {
	return Options{Shape: "tiny", Works: works, Prompt: 96, Gen: 8, Rows: 17, Windows: 2, Repeat: 3, MinTime: time.Millisecond,
		Buffer: 8 << 20, Threads: 2}
}

func mustRun(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every work runs, counts what it did, and is judged by the peaks beside it.
func TestRun(t *testing.T) {
	var told []string
	o := quick()
	o.Progress = func(s string) { told = append(told, s) }
	r := mustRun(t, o)
	want := []struct {
		name, unit string
		units      int
		computed   [2]int64 // least and most
	}{
		{"prefill", "tokens", 96, [2]int64{96, 96}},
		{"decode-1", "tokens", 8, [2]int64{8, 8}},
		{"decode-16", "tokens", 128, [2]int64{128, 128}},
		{"rank", "rows", 17, [2]int64{600 + 17*98, 600 + 17*100}}, // questions may begin alike by chance
		{"rank-alone", "rows", 1, [2]int64{4 * 700, 4 * 700}},
		{"rolling", "tokens", 1024, [2]int64{2 * 511, 2 * 511}},
	}
	if len(r.Works) != len(want) || len(told) != 1+2*3*len(want) {
		t.Fatalf("%d works, told %q", len(r.Works), told)
	}
	for i, w := range r.Works {
		e := want[i]
		if w.Name != e.name || w.Unit != e.unit || w.Units != e.units || w.Computed < e.computed[0] || w.Computed > e.computed[1] {
			t.Errorf("%+v, want %+v", w, e)
		}
		checkWork(t, w, r.Peaks)
	}
	if want := r.rate("rank") / r.rate("rank-alone"); r.Sharing != want || want <= 1 {
		t.Errorf("sharing makes %g, want %g", r.Sharing, want)
	}
	if s := r.Startup; s.Load <= 0 || s.FirstToken < s.Load || r.PeakRSS < r.Model.Bytes {
		t.Errorf("startup %+v, peak memory %d", s, r.PeakRSS)
	}
	if m := r.Model; !m.Random || m.Name != "tiny" || m.DType != "bf16" || m.Bytes != 2*m.Parameters {
		t.Errorf("model %+v", m)
	}
}

// What is ranked without sharing is what is ranked with it.
func TestRankAlone(t *testing.T) {
	if Works()[rankPlace] != "rank" {
		t.Fatalf("%q is in the place of rank", Works()[rankPlace])
	}
}

// checkWork checks how the figures of a work go together.
func checkWork(t *testing.T, w Work, p Peaks) {
	t.Helper()
	sorted := slices.Sorted(slices.Values(w.Samples))
	if len(sorted) != 3 || math.Abs(sorted[1]/w.Rate-1) > 1e-9 || math.Abs(float64(w.Units)/w.Seconds/w.Rate-1) > 1e-9 {
		t.Errorf("%s: rate %g of %v, %g s", w.Name, w.Rate, w.Samples, w.Seconds)
	}
	compute, memory := w.GFLOPs/p.peak("bf16").GFLOPs, w.GBs/p.Read
	bound := "compute"
	if memory > compute {
		bound = "memory"
	}
	if w.Bound != bound || math.Abs(w.Share-max(compute, memory)) > 1e-9 || w.Share <= 0 || w.Share > 1.2 {
		t.Errorf("%s: bound by %s, %g of the peak; arithmetic says %g, traffic %g", w.Name, w.Bound, w.Share, compute, memory)
	}
	if w.Cores <= 0 || w.Skipped != "" || w.What == "" {
		t.Errorf("%+v", w)
	}
}

// A directory is measured like a shape; works that do not fit its context are left out and said so.
func TestRunOnDirectory(t *testing.T) {
	o := quick("prefill", "rank")
	o.Path, o.Shape, o.DType = "../../examples/pocket/model", "", ""
	r := mustRun(t, o)
	if r.Model.Random || r.Model.Name != o.Path || len(r.Works) != 2 || r.Sharing != 0 {
		t.Fatalf("%+v", r)
	}
	checkWork(t, r.Works[0], r.Peaks)
	if w := r.Works[1]; !strings.Contains(w.Skipped, "needs 700 positions") || w.Rate != 0 {
		t.Errorf("%+v", w)
	}
	var b bytes.Buffer
	if err := r.Table(&b); err != nil || !strings.Contains(b.String(), "left out: it needs 700 positions, and the model has 512") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// A model whose matrices are quantized as it is loaded.
func TestRunQuantized(t *testing.T) {
	for _, format := range []string{"i8", "i4g32"} {
		o := quick("decode-1", "prefill")
		o.Quantize = format
		r := mustRun(t, o)
		if r.Model.DType != format || len(r.Works) != 2 || r.Works[0].Rate <= 0 {
			t.Errorf("%+v", r)
		}
		var b strings.Builder
		if err := r.Table(&b); err != nil || !strings.Contains(b.String(), "in "+format+", the output matrix in i8\n") {
			t.Errorf("%v\n%s", err, b.String())
		}
	}
	o := quick("decode-1")
	o.Quantize = "i3"
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), `"i3"`) {
		t.Errorf("%v", err)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		says   string
		input  bool
	}{
		{func(o *Options) { o.Shape = "" }, "one of the two", true},
		{func(o *Options) { o.Path = "x" }, "one of the two", true},
		{func(o *Options) { o.Shape = "llama-2b" }, `no shape "llama-2b"; there are llama-160m, llama-1b, llama-3-8b, llama-7b, tiny`, true},
		{func(o *Options) { o.DType = "int8" }, `cannot be "int8"; they can be bf16, f16, f32`, true},
		{func(o *Options) { o.Works = []string{"encode"} }, `no work "encode"; there are prefill, `, true},
		{func(o *Options) { o.Rows = -1 }, "rows is -1", true},
		{func(o *Options) { o.Tokens = -1 }, "tokens is -1", true},
		{func(o *Options) { o.MinTime = -1 }, "a sample of -1ns", true},
		{func(o *Options) { o.Shape, o.Path = "", "/nowhere" }, "/nowhere", true},
		{func(o *Options) { o.Memory = 1 << 18 }, "306 kB of memory, and 262 kB are left", false},
		{func(o *Options) { o.Backend = "tpu" }, `no backend "tpu"`, false},
	} {
		o := quick()
		c.change(&o)
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, engine.ErrInput) != c.input {
			t.Errorf("%v, want one that says %q (input: %v)", err, c.says, c.input)
		}
	}
	o := quick()
	o.Memory = 1 << 18
	if _, err := Run(context.Background(), o); !errors.Is(err, kernels.ErrNoMemory) {
		t.Errorf("%v", err)
	}
}

func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := quick("rolling")
	o.Progress = func(s string) {
		if strings.HasPrefix(s, "round 2") {
			cancel()
		}
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// example is a report with a round figure in every field.
func example() *Report {
	r := &Report{Version: Version, Time: "2026-11-21T10:00:00Z", Repeat: 3, PeakRSS: 900e6, Sharing: 20,
		Machine: Machine{CPU: "AMD EPYC", Features: "avx2 fma f16c, 2 threads", Backend: "cpu", Threads: 2, Memory: 24e9},
		Model:   Model{Name: "llama-160m", Random: true, DType: "bf16", Parameters: 162e6, Bytes: 325e6},
		Startup: Startup{Load: 0.25, FirstToken: 0.5},
		Peaks:   Peaks{Compute: []Compute{{"avx2", "f32", 200}, {"amx", "bf16", 4000}, {"amx", "int8", 8000}}, Read: 20, ReadBytes: 1 << 30},
		Works: []Work{
			{Name: "prefill", What: "a prompt of 512 tokens", Unit: "tokens", Units: 512, Computed: 512, Seconds: 0.5, Rate: 1024, Cores: 2,
				Samples: []float64{1000, 1024, 1030}},
			{Name: "rank", What: "32 rows", Skipped: "it is too long"},
		}}
	r.Works[0].judge(cost{1e12, 1e9}, r.Peaks, "bf16")
	return r
}

// The JSON is what docs/benchmarks.md says it is: a field that goes or changes its name is a new version.
func TestJSON(t *testing.T) {
	got, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":1,"time":"2026-11-21T10:00:00Z",` +
		`"machine":{"cpu":"AMD EPYC","features":"avx2 fma f16c, 2 threads","backend":"cpu","threads":2,"memory":24000000000},` +
		`"model":{"name":"llama-160m","random":true,"dtype":"bf16","parameters":162000000,"bytes":325000000},` +
		`"repeat":3,"startup":{"load":0.25,"first_token":0.5},` +
		`"peaks":{"compute":[{"isa":"avx2","dtype":"f32","gflops":200},` +
		`{"isa":"amx","dtype":"bf16","gflops":4000},{"isa":"amx","dtype":"int8","gflops":8000}],` +
		`"read_gb":20,"read_bytes":1073741824},` +
		`"works":[{"name":"prefill","what":"a prompt of 512 tokens","unit":"tokens","units":512,"computed":512,"samples":[1000,1024,1030],` +
		`"rate":1024,"seconds":0.5,"cores":2,"gflops":2000,"gbs":2,"bound":"compute","share":0.5},` +
		`{"name":"rank","what":"32 rows","skipped":"it is too long","unit":"","units":0,"computed":0,"samples":null,` +
		`"rate":0,"seconds":0,"cores":0,"gflops":0,"gbs":0,"bound":"","share":0}],` +
		`"sharing":20,"peak_rss":900000000}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := example().Table(&b); err != nil {
		t.Fatal(err)
	}
	const want = `llama-160m: 162 M parameters, 325 MB of random weights in bf16
AMD EPYC; avx2 fma f16c, 2 threads
loaded in 0.250 s, the first token after 0.500 s; peak memory 900 MB

work              rate  lowest to highest  bound by            at  of peak  cores  what
------------------------------------------------------------------------------------------------------------
prefill  1024 tokens/s       1000 to 1030   compute  2000 GFLOP/s     50 %    2.0  a prompt of 512 tokens
rank                                                                               left out: it is too long

Sharing of prefixes: rank has 20.0x the rate of rank-alone.
Medians of 3 samples. Measured in the same rounds: multiply-adds in registers, the best of them,
GFLOP/s: 200 f32 avx2, 4000 bf16 amx, 8000 int8 amx; reading 1.07 GB of memory for half a second, the median: 20.0 GB/s. Shares are of
bf16 amx and of the reading, and count only work that no implementation can do without.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// Which arithmetic a dtype is held against.
func TestPeakOf(t *testing.T) {
	p := example().Peaks
	for dtype, want := range map[string]string{"bf16": "amx", "f16": "avx2", "f32": "avx2"} {
		if got := p.peak(dtype); got.ISA != want {
			t.Errorf("%s: %+v, want %s", dtype, got, want)
		}
	}
	p.saw(Compute{"avx2", "f32", 190})
	p.saw(Compute{"amx", "bf16", 4100})
	if len(p.Compute) != 3 || p.peak("f32").GFLOPs != 200 || p.peak("bf16").GFLOPs != 4100 {
		t.Errorf("%+v", p.Compute)
	}
	w := Work{Seconds: 1}
	if w.judge(cost{1, 10e9}, p, "bf16"); w.Bound != "memory" || w.Share != 0.5 {
		t.Errorf("%+v", w)
	}
}
