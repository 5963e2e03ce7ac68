package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sextant/kernels"
)

func score(t testing.TB, e *Engine, reqs []Sequence) []Scored {
	t.Helper()
	out := make([]Scored, len(reqs))
	seen := make([]int, len(reqs))
	err := e.Score(context.Background(), reqs, func(i int, r Scored) error {
		out[i], seen[i] = r, seen[i]+1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range seen {
		if n != 1 {
			t.Fatalf("request %d was answered %d times", i, n)
		}
	}
	return out
}

func generate(t testing.TB, e *Engine, reqs []Prompt) []Generated {
	t.Helper()
	out := make([]Generated, len(reqs))
	seen := make([]int, len(reqs))
	err := e.Generate(context.Background(), reqs, func(i int, g Generated) error {
		out[i], seen[i] = g, seen[i]+1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range seen {
		if n != 1 {
			t.Fatalf("request %d was answered %d times", i, n)
		}
	}
	return out
}

// drawTokens favours common prefixes: a token repeats a small alphabet, so that sequences share pages and are often equal.
func drawTokens(t *rapid.T, least, most int) []int32 {
	if rapid.Bool().Draw(t, "free") {
		return rapid.SliceOfN(rapid.Int32Range(0, toyVocab-1), least, most).Draw(t, "tokens")
	}
	n := rapid.IntRange(least, most).Draw(t, "length")
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i % toyVocab)
	}
	if n > 0 && rapid.Bool().Draw(t, "differ") {
		out[rapid.IntRange(0, n-1).Draw(t, "at")] = 1
	}
	return out
}

func drawOptions(t *rapid.T, longest int) Options {
	o := Options{
		BatchSize:   rapid.IntRange(1, 9).Draw(t, "batch"),
		TokenBudget: rapid.IntRange(1, 80).Draw(t, "budget"),
		PageSize:    rapid.IntRange(1, 9).Draw(t, "page"),
	}
	o.NoSharing = rapid.IntRange(0, 4).Draw(t, "sharing") == 0
	if rapid.Bool().Draw(t, "tight") { // from just one longest sequence up
		pages := ceilDiv(longest, o.PageSize) + rapid.IntRange(0, 12).Draw(t, "more pages")
		o.Memory = int64(pages * o.PageSize * toyPositionBytes)
	}
	return o
}

// Scores are those of plain loops, bit for bit, whatever the options.
func TestScoreIsThatOfPlainLoops(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 25).Draw(rt, "n")
		reqs, longest := make([]Sequence, n), 1
		for i := range reqs {
			reqs[i] = Sequence{Tokens: drawTokens(rt, 0, 40), From: rapid.IntRange(1, 20).Draw(rt, "from")}
			if rapid.Bool().Draw(rt, "whole") {
				reqs[i].From = 1
			}
			longest = max(longest, len(reqs[i].Tokens))
		}
		e, y := newToy(t, drawOptions(rt, longest))
		e.shape.Passes = rapid.IntRange(1, 4).Draw(rt, "passes")
		y.most = e.shape.Passes
		e.keep = rapid.Bool().Draw(rt, "keep")
		for left := reqs; len(left) > 0; { // in one call or in several
			some := left[:rapid.IntRange(1, len(left)).Draw(rt, "call")]
			left = left[len(some):]
			before := y.tokens
			for i, got := range score(t, e, some) {
				if want := plainScore(some[i]); got != want {
					rt.Fatalf("request %d %+v: %+v, want %+v", i, some[i], got, want)
				}
			}
			if e.o.Memory == 0 && !e.o.NoSharing && y.tokens-before > prefixes(some) {
				rt.Fatalf("%d tokens computed for %d different prefixes", y.tokens-before, prefixes(some))
			}
			audit(rt, e)
		}
	})
}

// Generated text is that of plain loops, whatever the options, also when memory runs out and sequences have to wait again.
func TestGenerateIsThatOfPlainLoops(t *testing.T) {
	eos := []int32{5, 11}
	rapid.Check(t, func(rt *rapid.T) {
		reqs, longest := make([]Prompt, rapid.IntRange(0, 15).Draw(rt, "n")), 1
		for i := range reqs {
			reqs[i] = Prompt{Tokens: drawTokens(rt, 1, 40), MaxNew: rapid.IntRange(0, 60).Draw(rt, "new"), Seed: rapid.Uint64().Draw(rt, "seed")}
			if rapid.Bool().Draw(rt, "sampled") {
				reqs[i].Sample = kernels.SampleDesc{Temperature: 1}
			}
			reqs[i].Stop = rapid.SliceOfN(rapid.StringMatching("[a-w]{0,2}"), 0, 3).Draw(rt, "stop")
			longest = max(longest, min(64, len(reqs[i].Tokens)+reqs[i].MaxNew))
		}
		o := drawOptions(rt, longest)
		o.EOS = eos
		e, y := newToy(t, o)
		e.shape.Passes = rapid.IntRange(1, 4).Draw(rt, "passes")
		y.most = e.shape.Passes
		e.keep = rapid.Bool().Draw(rt, "keep")
		for left := reqs; len(left) > 0; {
			some := left[:rapid.IntRange(1, len(left)).Draw(rt, "call")]
			left = left[len(some):]
			for i, got := range generate(t, e, some) {
				if want := plainGenerate(some[i], eos, 64); fmt.Sprint(got) != fmt.Sprint(want) {
					rt.Fatalf("request %d %+v: %+v, want %+v", i, some[i], got, want)
				}
			}
			audit(rt, e)
		}
	})
}

func repeat(n int, token int32) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = token
	}
	return out
}

// Passes are full, without padding, and sequences longer than the budget are cut.
func TestPacking(t *testing.T) {
	var reqs []Sequence
	total := 0
	for i := range 20 { // different first tokens: nothing is shared
		reqs = append(reqs, Sequence{Tokens: append([]int32{int32(i)}, repeat(2*i, 1)...), From: 1})
		if i > 0 {
			total += 2 * i
		}
	}
	e, y := newToy(t, Options{BatchSize: 8, TokenBudget: 16, PageSize: 4})
	score(t, e, reqs)
	if y.tokens != total || y.passes > ceilDiv(total, 16)+1 {
		t.Errorf("%d tokens in %d passes, want %d in %d", y.tokens, y.passes, total, ceilDiv(total, 16))
	}
}

func TestLittleMemory(t *testing.T) {
	reqs := []Sequence{{repeat(20, 1), 1}, {repeat(41, 2), 1}, {repeat(30, 3), 1}}
	e, y := newToy(t, Options{PageSize: 8, Memory: 5 * 8 * toyPositionBytes})
	score(t, e, reqs)
	if !reflect.DeepEqual(y.reserved, []int{5}) {
		t.Errorf("reserved %v pages, want the 5 that fit", y.reserved)
	}
	e, y = newToy(t, Options{PageSize: 8})
	y.memory = 6
	score(t, e, reqs)
	if !reflect.DeepEqual(y.reserved, []int{12, 6}) {
		t.Errorf("reserved %v pages, want 12, then 6", y.reserved)
	}
	e, _ = newToy(t, Options{PageSize: 8, Memory: 4 * 8 * toyPositionBytes})
	err := e.Score(context.Background(), reqs, func(int, Scored) error { return nil })
	if !errors.Is(err, ErrMemory) || !strings.Contains(err.Error(), "40 tokens needs 400 bytes of cache, and 320 bytes") {
		t.Errorf("a sequence that cannot fit: %v", err)
	}
}

func TestRefused(t *testing.T) {
	e, _ := newToy(t, Options{MaxSeqLen: 10})
	scoreErr := func(r Sequence) error {
		return e.Score(context.Background(), []Sequence{r}, func(int, Scored) error { return nil })
	}
	generateErr := func(r Prompt) error {
		return e.Generate(context.Background(), []Prompt{r}, func(int, Generated) error { return nil })
	}
	for want, err := range map[string]error{
		"has 12 tokens, and the limit is 11":                            scoreErr(Sequence{repeat(12, 1), 1}),
		"the token 23 at position 2, and the vocabulary has 23":         scoreErr(Sequence{[]int32{1, 2, 23}, 1}),
		"the token -1 at position 0":                                    scoreErr(Sequence{[]int32{-1, 2}, 1}),
		"scores from token 0, and the first token has no prediction":    scoreErr(Sequence{[]int32{1, 2}, 0}),
		"request 0 has no token to continue":                            generateErr(Prompt{MaxNew: 3}),
		"request 0 has 12 tokens, and the limit is 10: invalid request": generateErr(Prompt{Tokens: repeat(12, 1), MaxNew: 3}),
	} {
		if !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := NewRunner(&toy{}, Shape{}, Options{PageSize: -1}); err == nil || !strings.Contains(err.Error(), "PageSize is -1") {
		t.Errorf("negative option: %v", err)
	}
}

func TestEndsEarly(t *testing.T) {
	reqs := make([]Sequence, 30)
	for i := range reqs {
		reqs[i] = Sequence{append([]int32{int32(i % toyVocab)}, repeat(20, 2)...), 1}
	}
	e, y := newToy(t, Options{TokenBudget: 32, BatchSize: 4})
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	err := e.Score(ctx, reqs, func(int, Scored) error { n++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || n == 0 || n == len(reqs) || y.cells != nil {
		t.Errorf("canceled: %v after %d, cache freed: %v", err, n, y.cells == nil)
	}
	full := errors.New("disk full")
	if err := e.Score(context.Background(), reqs, func(int, Scored) error { return full }); !errors.Is(err, full) {
		t.Errorf("emit's error: %v", err)
	}
}

func TestUniform(t *testing.T) {
	const n = 20000
	var sum float64
	var low int
	for i := range uint64(n) {
		u := uniform(i%7, i)
		if u < 0 || u >= 1 {
			t.Fatalf("%v is not in [0,1)", u)
		}
		sum += u
		if u < 0.1 {
			low++
		}
	}
	if m := sum / n; m < 0.49 || m > 0.51 || low < n/10-200 || low > n/10+200 {
		t.Errorf("mean %v, %d of %d below 0.1", m, low, n)
	}
}
