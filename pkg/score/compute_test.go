package score

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"

	"pgregory.net/rapid"
)

// one makes a plan of one task over the dataset, with so many rows.
func one(d spec.Dataset, rows int) *plan.Plan {
	d.Abbr = "d"
	return &plan.Plan{
		Spec:     spec.Spec{Datasets: []spec.Dataset{d}},
		Variants: []plan.Variant{{ID: "m"}},
		Tasks:    []plan.Task{{ID: "m/d", Variant: "m", Dataset: "d", Rows: rows, Digest: "feed", Prompt: "abc123"}},
	}
}

func compute(t *testing.T, d spec.Dataset, rows int, recs ...result.Record) Score {
	t.Helper()
	s, err := Compute(one(d, rows), func(string) ([]result.Record, error) { return recs, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Scores[0]
}

func ranked(row int, gold string, nll []float64, tokens []int) result.Record {
	return result.Record{Row: row, Labels: []string{"a", "b", "c"}[:len(nll)], NLL: nll, Tokens: tokens, Gold: []string{gold}}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-12*math.Max(1, math.Abs(want)) {
		t.Errorf("%s = %.17g, want %.17g", what, got, want)
	}
}

// TestLikelihoodMetrics scores two rows by every metric of mode ll, worked by hand. Row 0: the first option is likelier, the second by
// characters (-4/2 = -2, -9/6 = -1.5), the first again by bytes (-4/6, -9/6). Row 1: b is likelier by all.
func TestLikelihoodMetrics(t *testing.T) {
	rows := []result.Record{ranked(0, "b", []float64{4, 9}, []int{2, 3}), ranked(1, "b", []float64{7, 1}, []int{1, 2})}
	rows[0].Chars, rows[0].Size = []int{2, 6}, []int{6, 6}
	rows[1].Chars, rows[1].Size = []int{1, 1}, []int{1, 3}
	rows[0].Greedy, rows[1].Greedy = []string{"a"}, []string{"b"}
	d := spec.Dataset{Mode: spec.LL, Metric: "accuracy", Metrics: []string{"acc_norm", "acc_bytes", "greedy", "mc1", "mc2", "perplexity"}}
	all, err := Compute(one(d, 2), func(string) ([]result.Record, error) { return rows, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	mc2 := 100 * (math.Exp(-9)/(math.Exp(-4)+math.Exp(-9)) + math.Exp(-1)/(math.Exp(-7)+math.Exp(-1))) / 2
	for i, want := range []float64{50, 100, 50, 50, 50, mc2, math.Exp(5)} { // the mean of 9 and 1
		s := all.Scores[i]
		unit := Percent
		if s.Metric == "perplexity" {
			unit = Perplexity
		}
		if s.Value == nil || s.N != 2 || s.Unit != unit || s.Further != (i > 0) {
			t.Fatalf("%+v", s)
		}
		near(t, s.Metric, *s.Value, want)
	}
	// The delta method: e^5 times the standard error of the mean of 9 and 1, which is 4.
	near(t, "standard error", *all.Scores[6].StdErr, 4*math.Exp(5))

	rows[1].Chars = nil // as a record of a version before this one
	if s := compute(t, spec.Dataset{Mode: spec.LL, Metric: "acc_norm"}, 2, rows...); s.N != 1 || !strings.Contains(s.Reason, "one length an option") {
		t.Errorf("%+v", s)
	}
	rows[1].Gold = []string{"a", "b"}
	if s := compute(t, d, 2, rows...); s.N != 1 || !strings.Contains(s.Reason, "wants one gold label") {
		t.Errorf("%+v", s)
	}
	if _, err := newScorer(spec.Dataset{Mode: spec.LL, Metric: "perplexity"}); err == nil || !strings.Contains(err.Error(), "further metric") {
		t.Errorf("a main metric that no group can average: %v", err)
	}
}

// TestRanking works the cases where the modes and denominators part.
func TestRanking(t *testing.T) {
	for _, c := range []struct {
		name string
		d    spec.Dataset
		rec  result.Record
		want int // correct
	}{
		// n: 10/(4+1) = 2.0, 11/(5+1) = 1.83: b.   n-1: 10/4 = 2.5, 11/5 = 2.2: b.
		{"ppl, both denominators agree", spec.Dataset{Mode: spec.PPL}, ranked(0, "b", []float64{10, 11}, []int{4, 5}), 1},
		// n: 3/(1+1) = 1.5, 4.8/(2+1) = 1.6: a.   n-1: 3/1 = 3, 4.8/2 = 2.4: b.
		{"ppl n", spec.Dataset{Mode: spec.PPL}, ranked(0, "a", []float64{3, 4.8}, []int{1, 2}), 1},
		{"ppl n named", spec.Dataset{Mode: spec.PPL, PPL: spec.PPLOptions{Denominator: "n"}}, ranked(0, "a", []float64{3, 4.8}, []int{1, 2}), 1},
		{"ppl n-1", spec.Dataset{Mode: spec.PPL, PPL: spec.PPLOptions{Denominator: "n-1"}}, ranked(0, "b", []float64{3, 4.8}, []int{1, 2}), 1},
		// 6/(2+1) = 2, 8/(3+1) = 2: a tie stays with the first label.
		{"ppl tie, first is gold", spec.Dataset{Mode: spec.PPL}, ranked(0, "a", []float64{6, 8}, []int{2, 3}), 1},
		{"ppl tie, second is gold", spec.Dataset{Mode: spec.PPL}, ranked(0, "b", []float64{6, 8}, []int{2, 3}), 0},
		{"ll takes the sum, not the mean", spec.Dataset{Mode: spec.LL}, ranked(0, "a", []float64{3, 4.8}, []int{1, 9}), 1},
		{"ll tie", spec.Dataset{Mode: spec.LL}, ranked(0, "b", []float64{3, 3}, []int{1, 1}), 0},
		{"three labels", spec.Dataset{Mode: spec.LL}, ranked(0, "c", []float64{3, 2.5, 2}, []int{1, 1, 1}), 1},
		{"clp", spec.Dataset{Mode: spec.CLP}, ranked(0, "b", []float64{3, 2}, []int{1, 1}), 1},
	} {
		s := compute(t, c.d, 1, c.rec)
		if s.Correct != c.want || s.N != 1 || s.Missing != 0 || *s.Value != 100*float64(c.want) {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestRankingNormalized(t *testing.T) {
	d := spec.Dataset{Mode: spec.PPL, PPL: spec.PPLOptions{Normalizing: "Answer: "}}
	r := ranked(0, "b", []float64{4, 6}, []int{2, 2})
	r.NormNLL = []float64{3, 8} // (4-3)/2 = 0.5, (6-8)/2 = -1: b gains most from the context
	s := compute(t, d, 1, r)
	if s.Correct != 1 || s.Note != "normalized" {
		t.Errorf("%+v", s)
	}
	// By the token: a (2-8)/6 = -1, b (3-5)/1 = -2: b, though a's sum gains more.
	r.NLL, r.NormNLL, r.Tokens = []float64{2, 3}, []float64{8, 5}, []int{6, 1}
	if s := compute(t, d, 1, r); s.Correct != 1 {
		t.Errorf("%+v", s)
	}
	r.NormNLL = nil
	if s := compute(t, d, 1, r); s.N != 0 || s.Value != nil {
		t.Errorf("scored without the normalizing losses: %+v", s)
	}
}

func TestNotes(t *testing.T) {
	for want, d := range map[string]spec.Dataset{
		"":               {Mode: spec.PPL},
		"n-1":            {Mode: spec.PPL, PPL: spec.PPLOptions{Denominator: "n-1"}},
		"normalized":     {Mode: spec.PPL, PPL: spec.PPLOptions{Normalizing: "x", Denominator: "n-1"}},
		"gptq 2048":      {Mode: spec.Rolling},
		"llama.cpp 512":  {Mode: spec.Rolling, Rolling: spec.RollingOptions{Convention: "llama.cpp", SeqLen: 512}},
		"sliding 512/64": {Mode: spec.Rolling, Rolling: spec.RollingOptions{Convention: "sliding", SeqLen: 512, Stride: 64}},
	} {
		if s := compute(t, d, 1); s.Note != want {
			t.Errorf("note %q, want %q", s.Note, want)
		}
	}
}

func TestCLPProbability(t *testing.T) {
	// exp(-1) and exp(-1-ln 3): probabilities 3/4 and 1/4. Gold a, then gold b: mean 1/2, one right.
	nll := []float64{1, 1 + math.Log(3)}
	s := compute(t, spec.Dataset{Mode: spec.CLP}, 2, ranked(0, "a", nll, []int{1, 1}), ranked(1, "b", nll, []int{1, 1}))
	near(t, "gold_probability", s.Detail["gold_probability"], 0.5)
	near(t, "accuracy", *s.Value, 50)
	// Losses far beyond exp's range still have their ratio.
	s = compute(t, spec.Dataset{Mode: spec.CLP}, 1, ranked(0, "a", []float64{1000, 1000 + math.Log(3)}, []int{1, 1}))
	near(t, "gold_probability", s.Detail["gold_probability"], 0.75)
}

func TestStandardErrorAndInterval(t *testing.T) {
	// 3 of 4 right: p = 0.75, sqrt(0.75 x 0.25 / 3) = sqrt(0.0625) = 0.25.
	recs := make([]result.Record, 4)
	for i := range recs {
		recs[i] = ranked(i, "a", []float64{1, 2}, []int{1, 1})
	}
	recs[3].Gold[0] = "b"
	s := compute(t, spec.Dataset{Mode: spec.LL}, 4, recs...)
	near(t, "accuracy", *s.Value, 75)
	near(t, "stderr", *s.StdErr, 25)
	// Wilson for 3 of 4 at 95 %: [0.300642, 0.954413] (z = 1.96: center (0.75 + 0.48018)/1.96036, half 0.32689).
	lo, hi, ok := s.Interval()
	if !ok || math.Abs(lo-30.0642) > 1e-3 || math.Abs(hi-95.4413) > 1e-3 {
		t.Errorf("interval [%v, %v] %v", lo, hi, ok)
	}
	// One row has no standard error, but an interval; none has neither.
	s = compute(t, spec.Dataset{Mode: spec.LL}, 1, recs[0])
	if _, _, ok := s.Interval(); s.StdErr != nil || !ok {
		t.Errorf("one row: %+v", s)
	}
	s = compute(t, spec.Dataset{Mode: spec.LL}, 1)
	if _, _, ok := s.Interval(); s.StdErr != nil || s.Value != nil || ok {
		t.Errorf("no row: %+v", s)
	}
	// All right: the interval still has width. Wilson's lower bound is n/(n+z^2) = 4/(4+3.841459).
	s = compute(t, spec.Dataset{Mode: spec.LL}, 3+1, append(recs[:3:3], ranked(3, "a", []float64{1, 2}, []int{1, 1}))...)
	lo, hi, _ = s.Interval()
	near(t, "lower", lo, 100*4/(4+z95*z95))
	near(t, "upper", hi, 100)
}

func TestGenMetrics(t *testing.T) {
	text := func(row int, text string, gold ...string) result.Record {
		return result.Record{Row: row, Text: text, Gold: gold}
	}
	for _, c := range []struct {
		name   string
		metric string
		post   []string
		gold   []string
		rec    result.Record
		want   int
	}{
		{"exact", "", nil, nil, text(0, "Paris", "Paris"), 1},
		{"white space around never decides", "", nil, nil, text(0, " Paris\n", "Paris "), 1},
		{"case does", "", nil, nil, text(0, "paris", "Paris"), 0},
		{"unless made equal", "", []string{"lower"}, []string{"lower"}, text(0, "PARIS", "Paris"), 1},
		{"any gold", "exact_match", nil, nil, text(0, "b", "a", "b"), 1},
		{"no substring", "exact_match", nil, nil, text(0, "ab", "a", "b"), 0},
		{"contains", "contains", nil, nil, text(0, "in Paris, France", "Rome", "Paris"), 1},
		{"contains none", "contains", nil, nil, text(0, "in Paris", "Rome"), 0},
		{"contains is not turned round", "contains", nil, nil, text(0, "Par", "Paris"), 0},
		{"an empty gold is not contained in all", "contains", nil, nil, text(0, "x", ""), 0},
		{"an empty gold may be meant", "", nil, nil, text(0, "", ""), 1},
		{"gsm8k", "", []string{"last_number"}, []string{"after:#### ", "last_number"}, text(0, "so 72.0.", "48/2=24 #### 72"), 1},
		{"gsm8k, grouped gold", "", []string{"last_number"}, []string{"last_number"}, text(0, "$1072", "#### 1,072"), 1},
		{"option", "accuracy", []string{"first_option:ABC"}, nil, text(0, " B. hungry", "B"), 1},
	} {
		s := compute(t, spec.Dataset{Mode: spec.Gen, Metric: c.metric, Post: c.post, PostGold: c.gold}, 1, c.rec)
		if s.N != 1 || s.Correct != c.want {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// TestRowsThatCannotBeScored holds that a bad row is missing with its reason, never right or wrong.
func TestRowsThatCannotBeScored(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	good := ranked(1, "a", []float64{1, 2}, []int{1, 1})
	for _, c := range []struct {
		name string
		d    spec.Dataset
		recs []result.Record
		want string
	}{
		{"no record", spec.Dataset{Mode: spec.LL}, []result.Record{good}, "1 row without a result"},
		{"nan", spec.Dataset{Mode: spec.PPL}, []result.Record{ranked(0, "a", []float64{1, nan}, []int{1, 1}), good}, "1 row: a loss is not a finite number (row 0)"},
		{"inf", spec.Dataset{Mode: spec.LL}, []result.Record{ranked(0, "a", []float64{1, inf}, []int{1, 1}), good}, "a loss is not a finite number"},
		{"no tokens", spec.Dataset{Mode: spec.PPL}, []result.Record{ranked(0, "a", []float64{1, 0}, []int{1, 0}), good}, `label "b" has no predicted token`},
		{"no gold", spec.Dataset{Mode: spec.PPL}, []result.Record{{Row: 0, Labels: good.Labels, NLL: good.NLL, Tokens: good.Tokens}, good}, "no gold label"},
		{"strange gold", spec.Dataset{Mode: spec.PPL}, []result.Record{ranked(0, "z", []float64{1, 2}, []int{1, 1}), good}, `the gold label "z" is none of the labels`},
		{"damaged", spec.Dataset{Mode: spec.PPL}, []result.Record{{Row: 0, Labels: []string{"a"}, Gold: []string{"a"}}, good}, "not one loss"},
		{"no labels", spec.Dataset{Mode: spec.PPL}, []result.Record{{Row: 0, Gold: []string{"a"}}, good}, "no labels"},
		{"two records", spec.Dataset{Mode: spec.LL}, []result.Record{ranked(0, "a", []float64{1, 2}, []int{1, 1}), good, ranked(0, "a", []float64{3, 2}, []int{1, 1})}, "two different records"},
		{"text without gold", spec.Dataset{Mode: spec.Gen}, []result.Record{{Row: 0, Text: "x"}, {Row: 1, Gold: []string{"a"}}}, "no gold answer"},
		{"post_gold eats the gold", spec.Dataset{Mode: spec.Gen, PostGold: []string{"after:####"}}, []result.Record{{Row: 0, Gold: []string{"7"}}, {Row: 1, Text: "7", Gold: []string{"#### 7"}}}, "post_gold leaves nothing"},
		{"window", spec.Dataset{Mode: spec.Rolling}, []result.Record{{Row: 0, NLL: []float64{nan}, Tokens: []int{1}}, {Row: 1, NLL: []float64{1}, Tokens: []int{1}}}, "not a finite number"},
		{"window without tokens", spec.Dataset{Mode: spec.Rolling}, []result.Record{{Row: 0, NLL: []float64{0}, Tokens: []int{0}}, {Row: 1, NLL: []float64{1}, Tokens: []int{1}}}, "not one loss"},
	} {
		s := compute(t, c.d, 2, c.recs...)
		if s.N != 1 || s.Missing != 1 || s.Value == nil || !s.Partial() || !strings.Contains(s.Reason, c.want) {
			t.Errorf("%s: n %d, missing %d, reason %q, want %q", c.name, s.N, s.Missing, s.Reason, c.want)
		}
	}
}

func TestReasons(t *testing.T) {
	p := one(spec.Dataset{Mode: spec.LL}, 6)
	recs := []result.Record{ranked(4, "z", []float64{1, 2}, []int{1, 1}), ranked(2, "z", []float64{1, 2}, []int{1, 1}),
		ranked(3, "a", []float64{1, 2}, []int{1, 1}), ranked(3, "a", []float64{1, 2}, []int{1, 1}), // the same twice is one
		ranked(6, "a", []float64{1, 2}, []int{1, 1}), ranked(-1, "a", []float64{1, 2}, []int{1, 1})} // not asked for
	s, err := Compute(p, func(string) ([]result.Record, error) { return recs, nil }, map[string]string{"m/d": "worker:\n  out of memory"})
	if err != nil {
		t.Fatal(err)
	}
	want := `3 rows without a result: worker: out of memory; 2 rows: the gold label "z" is none of the labels (first row 2)`
	if got := s.Scores[0]; got.Reason != want || got.N != 1 || got.Missing != 5 {
		t.Errorf("%+v", got)
	}
}

func TestObservedDetails(t *testing.T) {
	a := ranked(0, "a", []float64{1, 2}, []int{1, 1})
	a.Dropped, a.Cut = 2, 30
	s := compute(t, spec.Dataset{Mode: spec.LL}, 1, a)
	if s.Detail["rows_with_fewer_examples"] != 1 || s.Detail["rows_cut"] != 1 {
		t.Errorf("%v", s.Detail)
	}
	s = compute(t, spec.Dataset{Mode: spec.Gen}, 1, result.Record{Text: "x", Gold: []string{"x"}, Stop: "length"})
	if s.Detail["rows_at_length_limit"] != 1 {
		t.Errorf("%v", s.Detail)
	}
}

func TestComputeErrors(t *testing.T) {
	none := func(string) ([]result.Record, error) { return nil, nil }
	p := one(spec.Dataset{Mode: spec.LL}, 1)
	p.Tasks[0].Dataset = "other"
	if _, err := Compute(p, none, nil); err == nil || !strings.Contains(err.Error(), `no dataset "other"`) {
		t.Errorf("%v", err)
	}
	broken := errors.New("input/output error")
	if _, err := Compute(one(spec.Dataset{Mode: spec.LL}, 1), func(string) ([]result.Record, error) { return nil, broken }, nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	for _, d := range []spec.Dataset{{Mode: "pll"}, {Mode: spec.PPL, Metric: "acuracy"}, {Mode: spec.Gen, Post: []string{"x"}}} {
		if _, err := Compute(one(d, 1), none, nil); err == nil {
			t.Errorf("%+v is accepted", d)
		}
	}
}

func TestHash(t *testing.T) {
	base := compute(t, spec.Dataset{Mode: spec.Gen}, 2).Hash
	if len(base) != 12 || base != compute(t, spec.Dataset{Mode: spec.Gen}, 2, result.Record{Row: 1, Text: "x", Gold: []string{"x"}}).Hash {
		t.Errorf("hash %q is not of the question alone", base)
	}
	for _, d := range []spec.Dataset{{Mode: spec.Gen, Metric: contains}, {Mode: spec.Gen, Post: []string{"strip"}}, {Mode: spec.Gen, PostGold: []string{"strip"}}, {Mode: spec.LL}} {
		if compute(t, d, 2).Hash == base {
			t.Errorf("%+v has the same hash", d)
		}
	}
	if compute(t, spec.Dataset{Mode: spec.Gen}, 3).Hash == base {
		t.Error("another number of rows has the same hash")
	}
}

// TestScoresDoNotDependOnOrder holds the bytes of scores.json, n + missing = rows, and the bounds of every value.
func TestScoresDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(0, 30).Draw(t, "rows")
		d := rapid.SampledFrom([]spec.Dataset{
			{Mode: spec.PPL}, {Mode: spec.LL}, {Mode: spec.CLP}, {Mode: spec.Gen}, {Mode: spec.Rolling},
			{Mode: spec.Rolling, Rolling: spec.RollingOptions{Convention: "lm-eval"}},
			{Mode: spec.Rolling, Rolling: spec.RollingOptions{Convention: "sliding"}},
		}).Draw(t, "dataset")
		var recs []result.Record
		loss := rapid.OneOf(rapid.Float64Range(0, 20), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), 1e300, 0}))
		for row := range rows + 2 {
			for range rapid.SampledFrom([]int{0, 1, 1, 1, 1, 2}).Draw(t, "copies") {
				r := result.Record{Row: row, Text: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "text"), Gold: []string{"a"}}
				for range rapid.IntRange(0, 3).Draw(t, "labels") {
					r.Labels = append(r.Labels, string(rune('a'+len(r.Labels))))
					r.NLL = append(r.NLL, loss.Draw(t, "nll"))
					r.Tokens = append(r.Tokens, rapid.IntRange(0, 9).Draw(t, "tokens"))
				}
				r.Words = rapid.IntRange(0, 1).Draw(t, "words")
				r.Bytes = 6 * r.Words
				recs = append(recs, r)
			}
		}
		p := one(d, rows)
		p.Spec.Groups = []spec.Group{{Name: "g", Members: []string{"*"}, Mean: rapid.SampledFrom(means).Draw(t, "mean")}}
		var files [2]bytes.Buffer
		for i := range files {
			s, err := Compute(p, func(string) ([]result.Record, error) { return recs, nil }, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := s.Scores[0]
			if got.N+got.Missing != rows || got.Missing > 0 && got.Reason == "" {
				t.Fatalf("n %d + missing %d of %d rows, reason %q", got.N, got.Missing, rows, got.Reason)
			}
			if got.Value != nil && (*got.Value < 0 || got.Unit == Percent && *got.Value > 100) {
				t.Fatalf("value %v", *got.Value)
			}
			if lo, hi, ok := got.Interval(); ok && (lo > *got.Value || hi < *got.Value) {
				t.Fatalf("value %v is not in [%v, %v]", *got.Value, lo, hi)
			}
			if err = encode(&files[i], s); err != nil {
				t.Fatal(err)
			}
			rand.Shuffle(len(recs), func(a, b int) { recs[a], recs[b] = recs[b], recs[a] })
		}
		if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
			t.Fatalf("another order, other scores:\n%s\n%s", &files[0], &files[1])
		}
	})
}

func TestWriteRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scores.json")
	third := 1.0 / 3
	want := Scores{Version: 1, Scores: []Score{{Model: "a<b>&c", Value: &third, N: 1, Unit: Percent}}}
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	if !bytes.Contains(b, []byte(`"value": 0.3333333333333333`)) || !bytes.Contains(b, []byte("a<b>&c")) || !bytes.HasSuffix(b, []byte("}\n")) {
		t.Errorf("%s", b)
	}
	got, err := Read(path)
	if err != nil || got.Scores[0].Model != "a<b>&c" || *got.Scores[0].Value != third {
		t.Errorf("%+v, %v", got, err)
	}
	if err := Write(filepath.Join(path, "no", "dir"), want); err == nil {
		t.Error("wrote into a file")
	}
	for _, text := range []string{"{", `{"version": 99}`, ""} {
		os.WriteFile(path, []byte(text), 0o644)
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "scores.json") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
