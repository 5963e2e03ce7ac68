package score

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// quantized makes a plan of the model m, its variants and one dataset, and scores the rows given by variant.
func quantized(t testing.TB, d spec.Dataset, rows int, recs map[string][]result.Record) Scores {
	t.Helper()
	d.Abbr = "d"
	p := &plan.Plan{Spec: spec.Spec{Datasets: []spec.Dataset{d}, Groups: []spec.Group{{Name: "all", Members: []string{"d"}}}}}
	p.Tasks = append(p.Tasks, plan.Task{ID: "m-awq/quantize", Kind: plan.Quantize, Variant: "m-awq", Rows: 1})
	for _, v := range []plan.Variant{
		{ID: "m", Model: "m", Recipe: "pretrain", Params: 1000, WeightBytes: 2000},
		{ID: "m-awq", Model: "m", Recipe: "awq", Position: spec.Packed, Step: "m-awq/quantize"},
		{ID: "m-awq-fake_quant", Model: "m", Recipe: "awq", Position: spec.FakeQuant, Step: "m-awq/quantize"},
	} {
		p.Variants = append(p.Variants, v)
		p.Tasks = append(p.Tasks, plan.Task{ID: v.ID + "/d", Variant: v.ID, Dataset: "d", Rows: rows, Digest: "feed", Prompt: "abc123"})
	}
	s, err := Compute(p, func(id string) ([]result.Record, error) { return recs[strings.TrimSuffix(id, "/d")], nil },
		map[string]string{"m-awq/quantize": "a weight is not finite"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verdicts makes a record a letter: "1" right, "0" wrong, "-" none.
func verdicts(letters string) []result.Record {
	var recs []result.Record
	for row, l := range letters {
		gold := "b"
		switch l {
		case '-':
			continue
		case '1':
			gold = "a"
		}
		recs = append(recs, ranked(row, gold, []float64{1, 2}, []int{1, 1}))
	}
	return recs
}

func nearPtr(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil {
		t.Errorf("%s is not there, want %v", what, want)
		return
	}
	near(t, what, *got, want)
}

// TestShares holds figures worked by hand, from the tables of right and wrong.
func TestShares(t *testing.T) {
	s := quantized(t, spec.Dataset{Mode: spec.LL}, 12, map[string][]result.Record{
		"m":                verdicts("1111100000-1"),
		"m-awq":            verdicts("11010001001-"),
		"m-awq-fake_quant": verdicts("1111100000-1"),
	})
	// Rows 0 to 9 are in both: right in m alone 2 and 4, in m-awq alone 7. Differences: one 1, two -1, seven 0: mean -0.1,
	// sum of squares about it 3 - 10 x 0.01 = 2.9, standard error sqrt(2.9/9/10) = 0.179505...
	// With half a row more in each cell: -1/12, sqrt((3 + 1) - 1/12)/12 = 0.164924...
	c := s.Comparison("m-awq", "d", false)
	if c == nil || c.Baseline != "m" || c.N != 10 || c.Only != 1 || c.OnlyBaseline != 1 || c.Better != 1 || c.Worse != 2 || c.Unit != Percent || c.Metric != "accuracy" {
		t.Fatalf("%+v", c)
	}
	nearPtr(t, "change", c.Change, -10)
	nearPtr(t, "stderr", c.StdErr, 100*math.Sqrt(2.9/90))
	half := 1.959963984540054 * math.Sqrt(47.0/12) / 12
	nearPtr(t, "low", c.Low, 100*(-1.0/12-half))
	nearPtr(t, "high", c.High, 100*(-1.0/12+half))
	nearPtr(t, "p", c.P, 1) // 2 (C(3,0) + C(3,1)) / 8
	if c.Differs() {
		t.Errorf("%v to %v leaves out 0", *c.Low, *c.High)
	}
	g := s.Comparison("m-awq", "all", true)
	if g == nil || g.N != 1 || *g.Change != *c.Change || *g.StdErr != *c.StdErr || math.Abs(*g.Low-*c.Low)+math.Abs(*g.High-*c.High) > 1e-12 || !slices.Equal(g.Members, []string{"d"}) {
		t.Errorf("group: %+v", g)
	}
	same := s.Comparison("m-awq-fake_quant", "d", false)
	if *same.Change != 0 || *same.StdErr != 0 || *same.P != 1 || same.Differs() || *same.Low >= 0 || *same.High <= 0 {
		t.Errorf("the same rows: %+v", same)
	}
	if s.Comparison("m", "d", false) != nil || len(s.Comparisons) != 4 {
		t.Errorf("%d comparisons: %+v", len(s.Comparisons), s.Comparisons)
	}
}

// TestDiffers holds when a difference counts: 4 rows of 100 worse and none better do not (p = 1/8); 5 just do, though the exact test, which
// errs on the side of no difference, has p = 1/16 (its mid-p is 1/32).
func TestDiffers(t *testing.T) {
	for worse, want := range map[int]bool{0: false, 4: false, 5: true, 8: true, 100: true} {
		s := quantized(t, spec.Dataset{Mode: spec.LL}, 100, map[string][]result.Record{
			"m": verdicts(strings.Repeat("1", 100)), "m-awq": verdicts(strings.Repeat("0", worse) + strings.Repeat("1", 100-worse))})
		c := s.Comparison("m-awq", "d", false)
		if c.Differs() != want || *c.Low < -100 {
			t.Errorf("%d worse: [%v, %v], p %v", worse, *c.Low, *c.High, *c.P)
		}
		nearPtr(t, "p", c.P, math.Min(1, 2*math.Pow(0.5, float64(worse))))
	}
}

// TestMcNemar holds the test against sums of binomials in whole numbers, and one large case against its normal limit.
func TestMcNemar(t *testing.T) {
	for better := range 25 {
		for worse := range 25 {
			n := int64(better + worse)
			sum := new(big.Int)
			for k := range min(better, worse) + 1 {
				sum.Add(sum, new(big.Int).Binomial(n, int64(k)))
			}
			want, _ := new(big.Rat).SetFrac(sum.Lsh(sum, 1), new(big.Int).Lsh(big.NewInt(1), uint(n))).Float64()
			if got := mcnemar(better, worse); math.Abs(got-math.Min(1, want)) > 1e-12 {
				t.Errorf("%d better, %d worse: p = %v, want %v", better, worse, got, want)
			}
		}
	}
	// 2 (1 - Phi((501000 - 499000 - 1) / sqrt(1e6))) by the normal limit with its continuity correction.
	if got, want := mcnemar(499000, 501000), math.Erfc(1.999/math.Sqrt2); math.Abs(got-want) > 1e-6 {
		t.Errorf("a million rows: p = %v, want about %v", got, want)
	}
}

// TestLosses holds ratios of perplexities against plain computations in each convention.
func TestLosses(t *testing.T) {
	a := []result.Record{win(0, 30, 10), win(1, 22, 10), win(2, 9, 5), win(4, 50, 10)}
	b := []result.Record{win(0, 28, 10), win(1, 21, 10), win(2, 9.5, 5), win(3, 50, 10)}
	// gptq: means of windows 3, 2.2, 1.8 and 2.8, 2.1, 1.9: differences 0.2, 0.1, -0.1.
	c := quantized(t, rolling("gptq"), 5, map[string][]result.Record{"m-awq": a, "m": b}).Comparison("m-awq", "d", false)
	ratio := math.Exp(0.2 / 3)
	se := math.Sqrt((0.2*0.2 + 0.1*0.1 + 0.1*0.1 - 0.2*0.2/3) / 2 / 3)
	nearPtr(t, "gptq change", c.Change, ratio)
	nearPtr(t, "gptq stderr", c.StdErr, ratio*se)
	nearPtr(t, "gptq low", c.Low, math.Exp(0.2/3-1.959963984540054*se))
	nearPtr(t, "gptq high", c.High, math.Exp(0.2/3+1.959963984540054*se))
	if c.N != 3 || c.Only != 1 || c.OnlyBaseline != 1 || c.P != nil || c.Unit != Perplexity || c.Differs() {
		t.Errorf("%+v", c)
	}
	// sliding: (61 - 58.5)/25 a token; residuals of the differences 2, 1, -0.5 about 0.1 a token: 1, 0, -1.
	c = quantized(t, rolling("sliding"), 5, map[string][]result.Record{"m-awq": a, "m": b}).Comparison("m-awq", "d", false)
	nearPtr(t, "sliding change", c.Change, math.Exp(0.1))
	nearPtr(t, "sliding stderr", c.StdErr, math.Exp(0.1)*math.Sqrt(1.5*2)/25)
	// lm-eval: documents of windows 0, 1 (8 words) and 2 (2 words): (61 - 58.5)/10 a word.
	doc := func(list []result.Record) []result.Record {
		list = slices.Clone(list[:3])
		list[0].Words, list[0].Bytes, list[2].Words, list[2].Bytes = 8, 40, 2, 10
		return list
	}
	c = quantized(t, rolling("lm-eval"), 3, map[string][]result.Record{"m-awq": doc(a), "m": doc(b)}).Comparison("m-awq", "d", false)
	nearPtr(t, "lm-eval change", c.Change, math.Exp(0.25))
	nearPtr(t, "lm-eval stderr", c.StdErr, math.Exp(0.25)*2.5*math.Sqrt(1.5*2)/25)
	if c.Metric != wordPerplexity {
		t.Errorf("metric %q", c.Metric)
	}
}

// TestNothingToCompare holds that a side without rows gives no number, and that one pair has no standard error.
func TestNothingToCompare(t *testing.T) {
	s := quantized(t, spec.Dataset{Mode: spec.LL}, 2, map[string][]result.Record{"m": verdicts("11"), "m-awq-fake_quant": verdicts("0")})
	if c := s.Comparison("m-awq", "d", false); c.Change != nil || c.N != 0 || c.OnlyBaseline != 2 || c.Low != nil || c.P != nil {
		t.Errorf("%+v", c)
	}
	if g := s.Comparison("m-awq", "all", true); g.Change != nil || !slices.Equal(g.Missing, []string{"d"}) {
		t.Errorf("%+v", g)
	}
	if c := s.Comparison("m-awq-fake_quant", "d", false); *c.Change != -100 || c.StdErr != nil || *c.High <= 0 {
		t.Errorf("%+v", c)
	}
	s = quantized(t, rolling("gptq"), 2, map[string][]result.Record{"m": {win(0, 1, 1)}, "m-awq": {win(0, 2, 1)}, "m-awq-fake_quant": {win(0, 1e9, 1)}})
	if c := s.Comparison("m-awq", "d", false); c.Low != nil || c.StdErr != nil || c.Differs() {
		t.Errorf("%+v", c)
	}
	if c := s.Comparison("m-awq-fake_quant", "d", false); c.Change != nil {
		t.Errorf("a ratio too large: %+v", c)
	}
	for i := range s.Comparisons {
		if s.Comparisons[i].Unit == Percent {
			t.Errorf("a group of perplexities is compared: %+v", s.Comparisons[i])
		}
	}
}

// TestVariants holds what scores.json says of each variant, and that it is the same bytes whatever the quantization took.
func TestVariants(t *testing.T) {
	s := quantized(t, spec.Dataset{Mode: spec.LL}, 1, nil)
	want := []Variant{
		{Model: "m", Of: "m", Recipe: "pretrain", Position: "pretrain", Bits: 16, Parameters: 1000, Bytes: 2000},
		{Model: "m-awq", Of: "m", Recipe: "awq", Position: "packed", Reason: "a weight is not finite"},
		{Model: "m-awq-fake_quant", Of: "m", Recipe: "awq", Position: "fake_quant", Reason: "a weight is not finite"},
	}
	if !slices.Equal(s.Variants, want) {
		t.Errorf("%+v", s.Variants)
	}
	if len(s.Scores) != 3 {
		t.Errorf("%d scores of 3 evaluations and a quantization", len(s.Scores))
	}
	made := result.Manifest{Layout: "compressed-tensors", Bits: 4.25, Quantized: 900, Parameters: 1000, Bytes: 700, Calib: "c0ffee", Seconds: 12.5}
	runs := map[string]string{"m-awq": "packed i4", "m-awq-fake_quant": "dequantized to f32"}
	s.Fill(map[string]result.Manifest{"m-awq": made, "m": made}, runs)
	packed := Variant{Model: "m-awq", Of: "m", Recipe: "awq", Position: "packed", Runs: "packed i4", Layout: "compressed-tensors",
		Bits: 4.25, Quantized: 900, Parameters: 1000, Bytes: 700, Calib: "c0ffee", Seconds: 12.5}
	fake := packed
	fake.Model, fake.Position, fake.Runs = "m-awq-fake_quant", "fake_quant", "dequantized to f32"
	if !slices.Equal(s.Variants, []Variant{want[0], packed, fake}) {
		t.Errorf("%+v", s.Variants)
	}
	var first, second bytes.Buffer
	if err := encode(&first, s); err != nil {
		t.Fatal(err)
	}
	made.Seconds = 99
	s.Fill(map[string]result.Manifest{"m-awq": made}, nil)
	if err := encode(&second, s); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) || s.Variants[1].Seconds != 99 {
		t.Errorf("%v, seconds %v; the file differs with them: %s", err, s.Variants[1].Seconds, second.Bytes())
	}
	var back Scores
	if err := json.Unmarshal(first.Bytes(), &back); err != nil || back.Variants[1].Runs != "packed i4" || len(back.Comparisons) != len(s.Comparisons) {
		t.Errorf("%v: %+v", err, back)
	}
	if s := compute(t, spec.Dataset{Mode: spec.LL}, 1); s.N != 0 {
		t.Errorf("%+v", s)
	}
}

// TestWithoutRecipes holds that scores of a plan without recipes have nothing of them.
func TestWithoutRecipes(t *testing.T) {
	s, err := Compute(one(spec.Dataset{Mode: spec.LL}, 1), func(string) ([]result.Record, error) { return nil, nil }, nil)
	if err != nil || s.Variants != nil || s.Comparisons != nil {
		t.Errorf("%v, %+v", err, s)
	}
}

// TestPairedProperties holds for any outcomes: a variant beside itself is 0 +- 0 (a ratio of 1 +- 0), to swap the sides turns the sign, and
// the paired standard error is that of a brute-force mean of differences.
func TestPairedProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(2, 60).Draw(r, "n")
		letters := rapid.SliceOfN(rapid.SampledFrom([]byte("01")), n, n)
		a, b := string(letters.Draw(r, "a")), string(letters.Draw(r, "b"))
		s := quantized(t, spec.Dataset{Mode: spec.LL}, n, map[string][]result.Record{"m": verdicts(b), "m-awq": verdicts(a), "m-awq-fake_quant": verdicts(b)})
		turned := quantized(t, spec.Dataset{Mode: spec.LL}, n, map[string][]result.Record{"m": verdicts(a), "m-awq": verdicts(b)})
		c, back, self := s.Comparison("m-awq", "d", false), turned.Comparison("m-awq", "d", false), s.Comparison("m-awq-fake_quant", "d", false)
		if *self.Change != 0 || *self.StdErr != 0 || self.Differs() {
			r.Fatalf("beside itself: %+v", self)
		}
		if *back.Change != -*c.Change || math.Abs(*back.Low+*c.High) > 1e-12 || *back.P != *c.P || back.Better != c.Worse {
			r.Fatalf("%+v, sides swapped %+v", c, back)
		}
		var sum, squares float64
		for i := range n {
			d := float64(a[i]) - float64(b[i])
			sum, squares = sum+d, squares+d*d
		}
		mean := sum / float64(n)
		if se := 100 * math.Sqrt((squares-float64(n)*mean*mean)/float64(n-1)/float64(n)); math.Abs(*c.Change-100*mean) > 1e-9 || math.Abs(*c.StdErr-se) > 1e-6 {
			r.Fatalf("%v +- %v, want %v +- %v", *c.Change, *c.StdErr, 100*mean, se)
		}
		if *c.Low > *c.Change || *c.High < *c.Change || *c.Low < -100 || *c.High > 100 {
			r.Fatalf("%v is not within [%v, %v]", *c.Change, *c.Low, *c.High)
		}
	})
}

// TestPairedLossProperties holds the same of perplexities.
func TestPairedLossProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(r, "n")
		d := rolling(rapid.SampledFrom([]string{"gptq", "gptq-bos", "sliding", "llama.cpp"}).Draw(r, "convention"))
		var a, b []result.Record
		for row := range n {
			tokens := rapid.IntRange(1, 16).Draw(r, "tokens")
			a = append(a, win(row, rapid.Float64Range(0, 100).Draw(r, "a"), tokens))
			b = append(b, win(row, rapid.Float64Range(0, 100).Draw(r, "b"), tokens))
		}
		s := quantized(t, d, n, map[string][]result.Record{"m": b, "m-awq": a, "m-awq-fake_quant": b})
		turned := quantized(t, d, n, map[string][]result.Record{"m": a, "m-awq": b})
		c, back, self := s.Comparison("m-awq", "d", false), turned.Comparison("m-awq", "d", false), s.Comparison("m-awq-fake_quant", "d", false)
		if *self.Change != 1 || *self.StdErr != 0 || *self.Low != 1 || *self.High != 1 || self.Differs() {
			r.Fatalf("beside itself: %+v", self)
		}
		want := *s.Scores[1].Value / *s.Scores[0].Value
		if math.Abs(*c.Change/want-1) > 1e-12 || math.Abs(*c.Change**back.Change-1) > 1e-12 || c.Differs() != back.Differs() {
			r.Fatalf("ratio %v, of the values %v, sides swapped %v", *c.Change, want, *back.Change)
		}
	})
}

// TestGroupOfComparisons holds a group's mean, standard error and interval against plain sums over its members, weighted and not.
func TestGroupOfComparisons(t *testing.T) {
	p := &plan.Plan{
		Spec: spec.Spec{Datasets: []spec.Dataset{{Abbr: "a", Mode: spec.LL}, {Abbr: "b", Mode: spec.LL}},
			Groups: []spec.Group{{Name: "mean", Members: []string{"a", "b"}}, {Name: "weighted", Members: []string{"a", "b"}, Mean: "weighted"}}},
		Variants: []plan.Variant{{ID: "m", Model: "m"}, {ID: "m-q", Model: "m", Recipe: "q", Position: spec.Packed}},
	}
	recs := map[string][]result.Record{"m/a": verdicts("11110"), "m-q/a": verdicts("01110"), "m/b": verdicts("1010101010"), "m-q/b": verdicts("0101101010")}
	for _, v := range p.Variants {
		for d, rows := range map[string]int{"a": 5, "b": 10} {
			p.Tasks = append(p.Tasks, plan.Task{ID: v.ID + "/" + d, Variant: v.ID, Dataset: d, Rows: rows})
		}
	}
	s, err := Compute(p, func(id string) ([]result.Record, error) { return recs[id], nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := s.Comparison("m-q", "a", false), s.Comparison("m-q", "b", false)
	for name, w := range map[string][2]float64{"mean": {1, 1}, "weighted": {5, 10}} {
		g := s.Comparison("m-q", name, true)
		all := w[0] + w[1]
		nearPtr(t, name, g.Change, (w[0]**a.Change+w[1]**b.Change)/all)
		nearPtr(t, name+" stderr", g.StdErr, math.Hypot(w[0]**a.StdErr, w[1]**b.StdErr)/all)
		middle, half := (w[0]*(*a.Low+*a.High)/2+w[1]*(*b.Low+*b.High)/2)/all, math.Hypot(w[0]*(*a.High-*a.Low)/2, w[1]*(*b.High-*b.Low)/2)/all
		nearPtr(t, name+" low", g.Low, middle-half)
		nearPtr(t, name+" high", g.High, middle+half)
	}
}
