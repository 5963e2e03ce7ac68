package score

import (
	"reflect"
	"slices"
	"testing"
)

// part makes a run's scores of one model: a value by dataset, in the order given, and their group.
func part(model, fingerprint string, datasets ...string) Part {
	p := Part{Scores: Scores{Version: fileVersion}, Fingerprints: map[string]string{model: fingerprint}}
	for i, d := range datasets {
		p.Scores.Scores = append(p.Scores.Scores, Score{Model: model, Dataset: d, Metric: "accuracy", Unit: Percent, Value: ptr(float64(i)), Hash: fingerprint})
	}
	p.Groups = []Score{{Model: model, Dataset: "all", Metric: "mean", Members: datasets, Hash: fingerprint}}
	return p
}

func names(list []Score) (out []string) {
	for _, s := range list {
		out = append(out, s.Model+"/"+s.Dataset+"@"+s.Hash)
	}
	return out
}

func TestJoin(t *testing.T) {
	for _, c := range []struct {
		name   string
		parts  []Part
		scores []string
		groups []string
	}{
		{"none", nil, nil, nil},
		{"models of their own", []Part{part("a", "1", "x", "y"), part("b", "2", "x")}, []string{"a/x@1", "a/y@1", "b/x@2"}, []string{"a/all@1", "b/all@2"}},
		{"the newest wins", []Part{part("a", "1", "x", "y"), part("b", "2", "x"), part("a", "3", "x")}, []string{"a/x@3", "b/x@2"}, []string{"a/all@3", "b/all@2"}},
		{"the same model has all its datasets", []Part{part("a", "1", "x", "y"), part("a", "1", "z", "x")}, []string{"a/z@1", "a/x@1", "a/y@1"},
			[]string{"a/all@1"}},
		{"a model that came back", []Part{part("a", "1", "x"), part("a", "2", "y"), part("a", "1", "z")}, []string{"a/z@1", "a/x@1"}, []string{"a/all@1"}},
		{"a model of which nothing is known", []Part{part("a", "", "x"), part("a", "", "y")}, []string{"a/y@"}, []string{"a/all@"}},
	} {
		got := Join(c.parts...)
		if !slices.Equal(names(got.Scores), c.scores) || !slices.Equal(names(got.Groups), c.groups) {
			t.Errorf("%s: %q and %q, want %q and %q", c.name, names(got.Scores), names(got.Groups), c.scores, c.groups)
		}
	}
	if one := part("a", "1", "x", "y"); !reflect.DeepEqual(Join(one).Scores, one.Scores.Scores) {
		t.Error("one run alone does not keep its scores as they are")
	}
}

// TestJoinComparisons keeps a comparison with the baseline that is in the table, and no other.
func TestJoinComparisons(t *testing.T) {
	quantized := part("a", "1", "x")
	quantized.Scores.Scores = append(quantized.Scores.Scores, Score{Model: "a-w4", Dataset: "x", Metric: "accuracy"})
	quantized.Variants = []Variant{{Model: "a", Of: "a"}, {Model: "a-w4", Of: "a", Bits: 4}}
	quantized.Comparisons = []Comparison{{Model: "a-w4", Baseline: "a", Dataset: "x", Metric: "accuracy"}}
	quantized.Fingerprints["a-w4"] = "1-w4"
	if got := Join(quantized, part("a", "1", "x")); len(got.Comparisons) != 1 || len(got.Variants) != 2 {
		t.Errorf("after the same baseline: %d comparisons, variants %v", len(got.Comparisons), got.Variants)
	}
	if got := Join(quantized, part("a", "2", "x")); len(got.Comparisons) != 0 || len(got.Scores) != 2 {
		t.Errorf("after another baseline: %v, scores %q", got.Comparisons, names(got.Scores))
	}
}
