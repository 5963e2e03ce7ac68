package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"sextant/pkg/spec"
)

// What OpenCompass's NumWorkerPartitioner makes: whole tasks of 16 rows, steps of max(16, rows / workers), dealt round in turn.
func TestWorkersPartition(t *testing.T) {
	for name, c := range map[string]struct {
		workers int
		sizes   []int
		want    []string // jobs in the order they were dealt to: shards as dataset:from-to
	}{
		"one worker":       {1, []int{5, 40}, []string{"0:0-5 1:0-40"}},
		"16 rows are one":  {4, []int{16}, []string{"0:0-16"}},
		"17 rows are two":  {4, []int{17}, []string{"0:0-16", "0:16-17"}},
		"steps of 16":      {4, []int{40}, []string{"0:0-16", "0:16-32", "0:32-40"}},
		"even steps":       {4, []int{100}, []string{"0:0-25", "0:25-50", "0:50-75", "0:75-100"}},
		"an uneven rest":   {3, []int{100}, []string{"0:0-34", "0:34-68", "0:68-100"}},
		"dealt round":      {2, []int{40, 10, 33}, []string{"0:0-20 1:0-10 2:17-33", "0:20-40 2:0-17"}},
		"fewer than hands": {8, []int{3, 4}, []string{"0:0-3", "1:0-4"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(1, "m")
			w.s.Infer.Partition, w.s.Infer.MaxNumWorkers = "workers", c.workers
			for i, n := range c.sizes {
				w.add(spec.Dataset{Abbr: fmt.Sprint(i), Mode: spec.CLP}, n, 2)
			}
			p := w.make(t)
			var got []string
			for _, j := range p.Jobs {
				line := ""
				for i, id := range j.Shards {
					s, _ := p.Shard(id)
					task, _ := p.Task(s.Task)
					line += fmt.Sprintf("%s%s:%d-%d", " "[:min(i, 1)], task.Dataset, s.From, s.To)
				}
				got = append(got, line)
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("jobs %q, want %q", got, c.want)
			}
		})
	}
	w := newWorld(1, "m", "n").add(spec.Dataset{Abbr: "d", Mode: spec.CLP}, 1000, 2)
	w.s.Infer.Partition, w.s.Infer.MaxNumWorkers = "workers", 8
	if p := w.make(t); len(p.Jobs) != 16 {
		t.Errorf("%d jobs of two models for 8 workers, want 16", len(p.Jobs))
	}
	w.s.Infer.Partition = "colour"
	if _, err := Make(w.s, w.in); err == nil {
		t.Error("partition = colour was taken")
	}
}

func TestBalance(t *testing.T) {
	est := func(sizes ...uint32) *Estimate { return &Estimate{Sizes: sizes, PerUnit: fractions} }
	for name, c := range map[string]struct {
		e       *Estimate
		n, most int
		want    []piece
	}{
		"nothing known":       {&Estimate{}, 10, 4, []piece{{4, 4}, {8, 4}, {10, 2}}},
		"alike":               {est(7, 7, 7, 7, 7), 5, 2, []piece{{2, 14}, {4, 14}, {5, 7}}},
		"whole":               {est(1, 2, 3), 3, 3, []piece{{3, 6}}},
		"one row each":        {est(1, 2, 3), 3, 1, []piece{{1, 1}, {2, 2}, {3, 3}}},
		"a heavy beginning":   {est(9, 1, 1, 1, 1, 1, 1, 1, 1, 1), 10, 9, []piece{{1, 9}, {10, 9}}},
		"a heavy end":         {est(1, 1, 1, 1, 1, 1, 1, 1, 1, 9), 10, 9, []piece{{9, 9}, {10, 9}}},
		"as even as it goes":  {est(3, 1, 1, 3, 1, 1, 1, 1, 3, 3), 10, 6, []piece{{5, 9}, {10, 9}}},
		"kept by the row cap": {est(9, 1, 1, 1, 1, 1, 1, 1, 1, 1), 10, 5, []piece{{5, 13}, {10, 5}}},
	} {
		if got := balance(c.n, c.most, ceil(c.n, ceil(c.n, c.most)), c.e); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// The heaviest piece is as light as any cut with as many pieces can make it, found here by trying all; pieces tile the rows.
func TestBalanceProperty(t *testing.T) {
	for seed := range uint64(3000) {
		draw := rand.New(rand.NewPCG(seed, 7))
		n := 1 + draw.IntN(30)
		most := 1 + draw.IntN(n)
		e := &Estimate{Sizes: make([]uint32, n), PerUnit: fractions}
		for i := range e.Sizes {
			e.Sizes[i] = 1 + uint32(draw.IntN(3)*draw.IntN(50))
		}
		pieces := balance(n, most, most, e)
		from, heaviest := 0, int64(0)
		for _, p := range pieces {
			weight := int64(0)
			for i := from; i < p.to; i++ {
				weight += e.row(i)
			}
			if p.to <= from || p.to-from > most || p.tokens != weight {
				t.Fatalf("seed %d: piece %v after row %d of weight %d, most %d", seed, p, from, weight, most)
			}
			from, heaviest = p.to, max(heaviest, weight)
		}
		if from != n || len(pieces) != ceil(n, most) {
			t.Fatalf("seed %d: %d pieces end at row %d of %d, most %d", seed, len(pieces), from, n, most)
		}
		if want := lightestCut(e, n, most, len(pieces)); heaviest != want && !e.even() {
			t.Fatalf("seed %d: the heaviest piece has %d, and %d can be had: %v", seed, heaviest, want, pieces)
		}
	}
}

// lightestCut tries all cuts of the first n rows: best[k][i] is the lightest heaviest of k pieces of the first i.
func lightestCut(e *Estimate, n, most, count int) int64 {
	const never = int64(1) << 60
	best := make([]int64, n+1)
	for i := range best {
		best[i] = never
	}
	best[0] = 0
	for range count {
		next := make([]int64, n+1)
		for i := range next {
			next[i] = never
			weight := int64(0)
			for from := i - 1; from >= 0 && i-from <= most; from-- {
				weight += e.row(from)
				next[i] = min(next[i], max(best[from], weight))
			}
		}
		best = next
	}
	return best[n]
}

// Longest first: of two models the larger one's jobs come before, though they have fewer tokens.
func TestLongestFirst(t *testing.T) {
	w := newWorld(2000, "small", "large").add(spec.Dataset{Abbr: "d", Mode: spec.Gen}, 150, 0).add(spec.Dataset{Abbr: "e", Mode: spec.Gen}, 90, 0)
	w.in.Variants[0].Params, w.in.Variants[1].Params = 1e9, 7e9
	for i := range w.in.Tasks {
		w.in.Tasks[i].Estimate = Estimate{Fixed: 100 * fractions}
	}
	var got []string
	for _, j := range w.make(t).Jobs {
		got = append(got, j.ID)
	}
	want := []string{"large--e--0-90", "large--d--0-75", "large--d--75-150", "small--e--0-90", "small--d--0-75", "small--d--75-150"}
	if !slices.Equal(got, want) {
		t.Errorf("jobs %q, want %q", got, want)
	}
}
