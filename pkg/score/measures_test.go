package score

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"sextant/pkg/metric"
	"sextant/pkg/result"
	"sextant/pkg/spec"

	"pgregory.net/rapid"
)

// metricsFor scores rows of texts against gold lists.
func metricsFor(t testing.TB, d spec.Dataset, golds [][]string, texts ...string) []Score {
	t.Helper()
	d.Mode, d.Abbr = spec.Gen, "d"
	samples := samplesOf(d)
	var recs []result.Record
	for i, text := range texts {
		recs = append(recs, result.Record{Row: i, Text: text, Gold: golds[i/samples]})
	}
	s, err := Compute(one(d, len(golds)*samples), func(string) ([]result.Record, error) { return recs, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Scores
}

// TestGenMetricsByName holds each name to one row's value, worked by hand.
func TestGenMetricsByName(t *testing.T) {
	for _, c := range []struct {
		metric, text string
		golds        []string
		want         float64
	}{
		{"squad_em", "The Eiffel Tower.", []string{"Louvre", "eiffel tower"}, 100},
		{"squad_em", "the tower", []string{"eiffel tower"}, 0},
		{"squad_f1", "the big eiffel tower", []string{"x", "Eiffel Tower"}, 80}, // precision 2/3, recall 1
		{"trivia_qa_em", "rock-n-roll", []string{"rock n roll"}, 100},
		{"trivia_qa_f1", "rock-n", []string{"rock n roll"}, 80},
		{"contains_any", "It is the EIFFEL tower, I think", []string{"x", "eiffel tower"}, 100},
		{"contains", "It is the EIFFEL tower", []string{"eiffel tower"}, 0},
		{"oc_trivia_qa", "Q: x answer is Paris, France", []string{"paris"}, 100},
		{"oc_nq", "So the answer is Rome.", []string{"paris"}, 0},
		{"math_equal", `\frac{1}{2}`, []string{"7", "0.5"}, 100},
		{"rouge1", "the cat sat", []string{"the cat was here"}, 100 * 2 * (2 / 3.0) * 0.5 / (2/3.0 + 0.5)},
		{"rouge2", "the cat sat", []string{"the cat was here"}, 40}, // 1/2 and 1/3
		{"rougeL", "police kill the gunman", []string{"police killed the gunman"}, 100},
		{"rougeLsum", "a b\nc", []string{"a b\nc"}, 100},
		{"ifeval_prompt_strict", "no commas here", []string{`{"instruction_id_list":["punctuation:no_comma"],"kwargs":[{}]}`}, 100},
		{"pass@1:squad_em", "The tower", []string{"tower"}, 100},
		{"maj@1", "a", []string{"a"}, 100},
	} {
		s := metricsFor(t, spec.Dataset{Metric: c.metric}, [][]string{c.golds}, c.text)
		if len(s) != 1 || s[0].N != 1 || s[0].Metric != c.metric || s[0].Value == nil || math.Abs(*s[0].Value-c.want) > 1e-9 {
			t.Errorf("%s of %q: %+v, want %v", c.metric, c.text, s, c.want)
		}
	}
}

// TestFamilies holds that a family gives its members, the first being the main one, with own hashes and the same rows.
func TestFamilies(t *testing.T) {
	s := metricsFor(t, spec.Dataset{Metric: "squad_f1", Metrics: []string{"exact_match", "rouge"}}, [][]string{{"a b"}, {"c"}}, "a", "c")
	var names []string
	hashes := map[string]bool{}
	for i, x := range s {
		names = append(names, x.Metric)
		hashes[x.Hash] = true
		if x.Further != (i > 0) || x.N != 2 {
			t.Errorf("%+v", x)
		}
	}
	if got := strings.Join(names, " "); got != "squad_f1 exact_match rouge1 rouge2 rougeL" || len(hashes) != 5 {
		t.Errorf("%s, %d hashes", got, len(hashes))
	}
}

// TestIFEval has two prompts of 2 and 1 instructions, of which the first response follows one and only loosely both.
func TestIFEval(t *testing.T) {
	golds := [][]string{
		{`{"instruction_id_list":["punctuation:no_comma","startend:quotation"],"kwargs":[{},{}]}`},
		{`{"instruction_id_list":["punctuation:no_comma"],"kwargs":[{}]}`},
	}
	s := metricsFor(t, spec.Dataset{Metric: "ifeval"}, golds, "Sure:\n\"no commas\"", "one two")
	want := map[string]float64{"ifeval_prompt_strict": 50, "ifeval_instruction_strict": 100 * 2 / 3.0, "ifeval_prompt_loose": 100, "ifeval_instruction_loose": 100}
	for _, x := range s {
		if math.Abs(*x.Value-want[x.Metric]) > 1e-9 {
			t.Errorf("%s: %v, want %v", x.Metric, *x.Value, want[x.Metric])
		}
	}
	if len(s) != 4 || s[0].Metric != "ifeval_prompt_strict" || s[0].Correct != 1 || s[1].Correct != 0 {
		t.Errorf("%+v", s)
	}
	s = metricsFor(t, spec.Dataset{Metric: "ifeval"}, [][]string{{`{"instruction_id_list":["no:such"],"kwargs":[{}]}`}}, "x")
	if s[0].N != 0 || !strings.Contains(s[0].Reason, "unknown instruction") {
		t.Errorf("%+v", s[0])
	}
}

// TestBLEUIsOfTheCorpus holds that the value is that of the summed counts, not a mean over rows, and that it has a spread.
func TestBLEUIsOfTheCorpus(t *testing.T) {
	b, err := metric.NewBLEU(metric.BLEUOptions{})
	if err != nil {
		t.Fatal(err)
	}
	golds := [][]string{{"the cat is on the mat", "there is a cat on the mat"}, {"he read the book because he was interested in world history"},
		{"it is a guide to action that ensures that the military will forever heed party commands"}}
	texts := []string{"the cat is on a mat", "he read the book because he was interested in history",
		"it is a guide to action which ensures that the military always obeys the commands of the party"}
	var all metric.BLEUStats
	for i, text := range texts {
		all.Add(b.Count(text, golds[i]))
	}
	s := metricsFor(t, spec.Dataset{Metric: "bleu"}, golds, texts...)[0]
	nearPtr(t, "bleu", s.Value, b.Score(all))
	if s.StdErr == nil || s.Low == nil || *s.Low > *s.Value || *s.High < *s.Value || *s.High-*s.Low < 1 {
		t.Errorf("%+v", s)
	}
}

// TestSamples holds the mean, pass@K and maj@K over the samples of two rows: 1 and 3 right of 4.
func TestSamples(t *testing.T) {
	d := spec.Dataset{Gen: spec.GenOptions{Samples: 4, Temperature: 1}, Metric: "exact_match",
		Metrics: []string{"pass@1:exact_match", "pass@2:exact_match", "pass@4:exact_match", "maj@4", "maj@1", "maj@4:squad_em"}}
	s := metricsFor(t, d, [][]string{{"a"}, {"b"}}, "x", "The x", "a", "y", "b", "c", "b", "b")
	// pass@2: 1 - C(3,2)/C(4,2) = 1/2 and 1. Of the first row "x" and, by SQuAD's, "The x" lead.
	want := []float64{50, 50, 75, 100, 50, 50, 50}
	for i, x := range s {
		nearPtr(t, x.Metric, x.Value, want[i])
		if x.N != 2 || x.Missing != 0 || x.Note != "4 samples" {
			t.Errorf("%+v", x)
		}
	}
	// A row whose samples are not all there has no result.
	s = metricsFor(t, d, [][]string{{"a"}, {"b"}}, "x", "x", "a", "y", "b", "c", "b")
	if s[0].N != 1 || s[0].Missing != 1 || s[0].Reason != "1 row without a result" {
		t.Errorf("%+v", s[0])
	}
	nearPtr(t, "worst", s[0].Worst, 12.5)
	p := one(spec.Dataset{Mode: spec.Gen, Gen: d.Gen}, 7)
	if _, err := Compute(p, func(string) ([]result.Record, error) { return nil, nil }, nil); err == nil || !strings.Contains(err.Error(), "4 samples a row") {
		t.Errorf("7 items of 4 samples: %v", err)
	}
}

// TestMultipleChoice holds mc1, mc2 and several gold labels: probabilities 1/2, 1/4, 1/4 of the labels a, b, c.
func TestMultipleChoice(t *testing.T) {
	r := ranked(0, "b", []float64{1, 1 + math.Ln2, 1 + math.Ln2}, []int{1, 1, 1})
	r.Gold = []string{"b", "c"}
	p := one(spec.Dataset{Mode: spec.LL, Metric: "mc2", Metrics: []string{"accuracy"}}, 1)
	s, err := Compute(p, func(string) ([]result.Record, error) { return []result.Record{r}, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	nearPtr(t, "mc2", s.Scores[0].Value, 50)
	nearPtr(t, "accuracy", s.Scores[1].Value, 0)
	r.Gold = []string{"a", "c"}
	if s := compute(t, spec.Dataset{Mode: spec.LL}, 1, r); s.Correct != 1 {
		t.Errorf("any gold label is right: %+v", s)
	}
	if s := compute(t, spec.Dataset{Mode: spec.LL, Metric: "mc1"}, 1, r); s.N != 0 || !strings.Contains(s.Reason, "mc1 wants one gold label") {
		t.Errorf("%+v", s)
	}
}

// TestMetricFaults holds what is told of names before anything runs.
func TestMetricFaults(t *testing.T) {
	four := spec.GenOptions{Samples: 4, Temperature: 1}
	for _, c := range []struct {
		d    spec.Dataset
		want string
	}{
		{spec.Dataset{Metric: "squad_fl"}, `did you mean "squad_f1"?`},
		{spec.Dataset{Metric: "pass@2"}, "a row has 1 sample; set gen.samples to 2"},
		{spec.Dataset{Metric: "pass@x"}, `"x" is no number`},
		{spec.Dataset{Metric: "pass@1:pyton"}, `did you mean "python"?`},
		{spec.Dataset{Metric: "pass@1:python/3"}, "no time"},
		{spec.Dataset{Metric: "pass@1:rouge1"}, "parts of right answers"},
		{spec.Dataset{Metric: "maj@4:rouge1", Gen: four}, "vote"},
		{spec.Dataset{Metric: "bleu", Gen: four}, "one text a row"},
		{spec.Dataset{Metric: "ifeval", Gen: four}, "one response a prompt"},
		{spec.Dataset{Metric: "bleu:nope"}, "nope"},
		{spec.Dataset{Metric: "rouge", Metrics: []string{"rouge2"}}, `"rouge2" is there twice`},
		{spec.Dataset{Metrics: []string{"exact_match"}}, "twice"},
		{spec.Dataset{Metric: "pass@1", Metrics: []string{"pass@1:python/3s"}}, "two time limits"},
		{spec.Dataset{Post: []string{"boxedd"}}, `did you mean "boxed"?`},
	} {
		c.d.Abbr, c.d.Mode = "d", spec.Gen
		err := Validate(&spec.Spec{Datasets: []spec.Dataset{c.d}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want %q", c.d.Metric, c.d.Metrics, err, c.want)
		}
	}
}

// TestManyMetricsDoNotDependOnOrder holds the bytes of scores.json with samples, clusters and metrics of every kind.
func TestManyMetricsDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(1, 12).Draw(t, "rows")
		d := spec.Dataset{Mode: spec.Gen, Cluster: "c", Metric: "squad_f1", Metrics: []string{"exact_match", "bleu"}}
		if rapid.Bool().Draw(t, "samples") {
			d.Gen.Samples, d.Metrics = 3, []string{"pass@2:exact_match", "maj@3", "exact_match"}
		}
		var recs []result.Record
		for i := range rows * samplesOf(d) {
			if rapid.IntRange(0, 9).Draw(t, "there") > 0 {
				recs = append(recs, result.Record{Row: i, Text: rapid.SampledFrom([]string{"a b", "a", "c d e f g"}).Draw(t, "text"), Gold: []string{"a b"}})
			}
		}
		of := rapid.SliceOfN(rapid.SampledFrom([]string{"p", "q", "r"}), rows, rows).Draw(t, "clusters")
		o := Options{Clusters: func(string) ([]string, error) { return of, nil }}
		var files [2]bytes.Buffer
		for i := range files {
			s, err := o.Compute(t.Context(), one(d, rows*samplesOf(d)), func(string) ([]result.Record, error) { return recs, nil })
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range s.Scores {
				lo, hi, ok := x.Interval()
				if x.N+x.Missing != rows || x.Value != nil && ok && (lo > *x.Value || hi < *x.Value || lo < 0 || hi > 100.0000001) {
					t.Fatalf("%+v in [%v, %v]", x, lo, hi)
				}
			}
			if err := encode(&files[i], s); err != nil {
				t.Fatal(err)
			}
			recs = rapid.Permutation(recs).Draw(t, "order")
		}
		if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
			t.Fatalf("another order, other scores:\n%s\n%s", &files[0], &files[1])
		}
	})
}

func TestClustersAreNamed(t *testing.T) {
	d := spec.Dataset{Mode: spec.LL, Cluster: "passage"}
	recs := verdicts("110010")
	rows := func(string) ([]result.Record, error) { return recs, nil }
	s, err := Options{Clusters: func(name string) ([]string, error) { return []string{"x", "x", "y", "y", "z", "z"}, nil }}.Compute(t.Context(), one(d, 6), rows)
	if err != nil || s.Scores[0].Cluster != 3 || s.Scores[0].Note != "" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, o := range []Options{{}, {Clusters: func(string) ([]string, error) { return nil, nil }}} {
		if s, err = o.Compute(t.Context(), one(d, 6), rows); err != nil || s.Scores[0].Cluster != 0 || s.Scores[0].Note != "clusters not known" {
			t.Errorf("%+v, %v", s, err)
		}
	}
}
