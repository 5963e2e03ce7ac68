package engine

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"sextant/kernels"
)

const toyVocab = 23

// toy is a model whose next-token distribution is a hash of the whole prefix, read back through the page tables. It holds the engine to the
// contract of kernels.h: pages in range, none written by one sequence and held by another in the same pass, positions in order.
type toy struct {
	t           testing.TB
	budget      int
	batch       int
	memory      int // pages it can make; 0: any number
	pages, size int
	cells       []int32 // the token at each slot; -1: never written
	passes      int
	tokens      int // computed in all
	copies      int
	reserved    []int

	most, under, begun, reached int // passes that are wanted at once, those under way, those there were, the most at once
}

func (y *toy) Reserve(pages, size int) error {
	y.reserved = append(y.reserved, pages)
	if y.memory > 0 && pages > y.memory {
		return fmt.Errorf("toy: %w", ErrMemory)
	}
	y.pages, y.size = pages, size
	y.cells = slices.Repeat([]int32{-1}, pages*size)
	return nil
}

func (y *toy) Release() { y.cells, y.under = nil, 0 }

func (y *toy) fail(format string, args ...any) error {
	y.t.Helper()
	y.t.Errorf(format, args...)
	return fmt.Errorf("toy: "+format, args...)
}

// forward gives the logits of every row wanted.
func (y *toy) forward(b Pass) ([][]float32, error) {
	y.passes++
	for _, c := range b.Copies {
		if c.Positions <= 0 || c.Positions >= y.size || c.Dst == c.Src {
			return nil, y.fail("copy %+v", c)
		}
		y.copies++
		copy(y.cells[c.Dst*y.size:], y.cells[c.Src*y.size:c.Src*y.size+c.Positions])
		for i := c.Positions; i < y.size; i++ {
			y.cells[c.Dst*y.size+i] = -1
		}
	}
	y.tokens += len(b.Tokens)
	d := b.Desc
	if len(b.Tokens) > y.budget || len(d.KVLen) > y.batch {
		return nil, y.fail("%d tokens of %d sequences in a pass, allowed are %d of %d", len(b.Tokens), len(d.KVLen), y.budget, y.batch)
	}
	if err := y.write(b); err != nil {
		return nil, err
	}
	var rows [][]float32
	next := 0
	for s := range d.KVLen {
		for i := d.QStart[s]; i < d.QStart[s+1]; i++ {
			if next == len(b.Out) || b.Out[next] != i {
				continue
			}
			next++
			prefix, err := y.read(b, s, int(d.KVLen[s]-(d.QStart[s+1]-i)+1))
			if err != nil {
				return nil, err
			}
			rows = append(rows, toyLogits(prefix))
		}
	}
	if next != len(b.Out) {
		return nil, y.fail("Out %v is not ascending or out of range", b.Out)
	}
	return rows, nil
}

func (y *toy) slot(b Pass, s, position int) int {
	if position/y.size >= b.Desc.MaxPages {
		y.t.Errorf("position %d lies behind the %d pages of the table", position, b.Desc.MaxPages)
		return 0
	}
	page := int(b.Desc.Pages[s*b.Desc.MaxPages+position/y.size])
	if page < 0 || page >= y.pages {
		y.t.Errorf("page %d of %d", page, y.pages)
		return 0
	}
	return page*y.size + position%y.size
}

func (y *toy) write(b Pass) error {
	writer := map[int]int{} // page -> sequence
	d := b.Desc
	for s := range d.KVLen {
		n := int(d.QStart[s+1] - d.QStart[s])
		if n == 0 {
			return y.fail("sequence %d has no tokens in the pass", s)
		}
		for i := range n {
			at := y.slot(b, s, int(d.KVLen[s])-n+i)
			writer[at/y.size] = s
			y.cells[at] = b.Tokens[int(d.QStart[s])+i]
		}
	}
	for s := range d.KVLen {
		for p := 0; p < int(d.KVLen[s]); p += y.size {
			if w, ok := writer[y.slot(b, s, p)/y.size]; ok && w != s {
				return y.fail("sequence %d holds a page that sequence %d writes", s, w)
			}
		}
	}
	return nil
}

func (y *toy) read(b Pass, s, n int) ([]int32, error) {
	prefix := make([]int32, n)
	for p := range prefix {
		if prefix[p] = y.cells[y.slot(b, s, p)]; prefix[p] < 0 {
			return nil, y.fail("position %d of sequence %d was never computed", p, s)
		}
	}
	return prefix, nil
}

func (y *toy) LogProbs(b Pass, targets kernels.Targets) func() (kernels.LogProbs, error) {
	return under(y, func() (kernels.LogProbs, error) { return y.logProbs(b, targets) })
}

func (y *toy) Sample(b Pass, d []kernels.SampleDesc, u []float64) func() ([]int32, error) {
	return under(y, func() ([]int32, error) { return y.sample(b, d, u) })
}

// under puts a pass under way: it is run as it is begun, and must be waited for in turn.
func under[T any](y *toy, run func() (T, error)) func() (T, error) {
	y.under++
	y.reached = max(y.reached, y.under)
	if y.under > max(y.most, 1) {
		return func() (none T, err error) { return none, y.fail("%d passes under way, %d are wanted", y.under, y.most) }
	}
	out, err := run()
	turn := y.begun
	y.begun++
	return func() (T, error) {
		if turn != y.begun-y.under {
			return out, y.fail("pass %d is waited for when %d are under way of %d", turn, y.under, y.begun)
		}
		y.under--
		return out, err
	}
}

func (y *toy) logProbs(b Pass, targets kernels.Targets) (kernels.LogProbs, error) {
	rows, err := y.forward(b)
	if err != nil {
		return kernels.LogProbs{}, err
	}
	var lp kernels.LogProbs
	for _, l := range rows {
		lse, best := toyHead(l)
		lp.LSE = append(lp.LSE, lse)
		lp.Best = append(lp.Best, int32(best))
		lp.BestLogit = append(lp.BestLogit, l[best])
	}
	if len(targets.Rows) != len(targets.IDs) || !slices.IsSorted(targets.Rows) {
		return kernels.LogProbs{}, y.fail("%d rows of %d targets: %v", len(targets.Rows), len(targets.IDs), targets.Rows)
	}
	wanted := map[int32]bool{}
	for j, row := range targets.Rows {
		if int(row) >= len(rows) {
			return kernels.LogProbs{}, y.fail("target %d is of row %d, and there are %d", j, row, len(rows))
		}
		wanted[row] = true
		lp.Target = append(lp.Target, rows[row][targets.IDs[j]])
	}
	if len(wanted) != len(rows) {
		return kernels.LogProbs{}, y.fail("%d rows for %d with a target", len(rows), len(wanted))
	}
	return lp, nil
}

func (y *toy) sample(b Pass, d []kernels.SampleDesc, u []float64) ([]int32, error) {
	rows, err := y.forward(b)
	if err != nil {
		return nil, err
	}
	if len(rows) != len(d) || len(rows) != len(u) {
		return nil, y.fail("%d rows, %d settings, %d draws", len(rows), len(d), len(u))
	}
	ids := make([]int32, len(rows))
	for i, l := range rows {
		ids[i] = toySample(l, d[i], u[i])
	}
	return ids, nil
}

func toyLogits(prefix []int32) []float32 {
	h := fnv.New64a()
	for _, t := range prefix {
		h.Write([]byte{byte(t), byte(t >> 8)})
	}
	l := make([]float32, toyVocab)
	for i := range l {
		l[i] = float32(4 * uniform(h.Sum64(), uint64(i)))
	}
	return l
}

func toyHead(l []float32) (lse float64, best int) {
	var sum float64
	for i, x := range l {
		sum += math.Exp(float64(x))
		if x > l[best] {
			best = i
		}
	}
	return math.Log(sum), best
}

func toySample(l []float32, d kernels.SampleDesc, u float64) int32 {
	lse, best := toyHead(l)
	if d.Temperature <= 0 {
		return int32(best)
	}
	for i, x := range l {
		if u -= math.Exp(float64(x) - lse); u < 0 {
			return int32(i)
		}
	}
	return int32(len(l) - 1)
}

// toyDecoder writes token t as the letter 'a'+t.
type toyDecoder struct{ s string }

func (d *toyDecoder) Append(id int32) string {
	d.s += string(rune('a' + id))
	return string(rune('a' + id))
}
func (d *toyDecoder) Text() string { return d.s }

const toyPositionBytes = 10

func newToy(t testing.TB, o Options) (*Engine, *toy) {
	t.Helper()
	y := &toy{t: t}
	o.NewDecoder = func([]int32) Decoder { return &toyDecoder{} }
	e, err := NewRunner(y, Shape{Vocab: toyVocab, Context: 64, PositionBytes: toyPositionBytes}, o)
	if err != nil {
		t.Fatal(err)
	}
	y.budget, y.batch = e.o.TokenBudget, e.o.BatchSize
	return e, y
}

// The answers by plain loops, one request at a time, without an engine.

func plainScore(r Sequence) Scored {
	out := Scored{Greedy: true}
	for i := max(1, r.From); i < len(r.Tokens); i++ {
		l := toyLogits(r.Tokens[:i])
		lse, best := toyHead(l)
		out.NLL += lse - float64(l[r.Tokens[i]])
		out.Count++
		out.Greedy = out.Greedy && best == int(r.Tokens[i])
	}
	return out
}

func plainGenerate(r Prompt, eos []int32, context int) Generated {
	g := Generated{Stop: "length", IDs: []int32{}}
	for len(g.IDs) < r.MaxNew && len(r.Tokens)+len(g.IDs) < context {
		id := toySample(toyLogits(slices.Concat(r.Tokens, g.IDs)), r.Sample, uniform(r.Seed, uint64(len(g.IDs))))
		g.IDs = append(g.IDs, id)
		if slices.Contains(eos, id) {
			g.Stop = "eos"
			return g
		}
		g.Text += string(rune('a' + id))
		cut := -1
		for _, s := range r.Stop {
			for at := range g.Text {
				if s != "" && len(g.Text)-at >= len(s) && g.Text[at:at+len(s)] == s && (cut < 0 || at < cut) {
					cut = at
				}
			}
		}
		if cut >= 0 {
			g.Text, g.Stop = g.Text[:cut], "stop"
			return g
		}
	}
	return g
}
