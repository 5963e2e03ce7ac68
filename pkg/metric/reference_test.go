package metric

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// reference holds texts of our own and what the reference tools make of them: sacreBLEU 2.6 (its tokenisers, sentence BLEU, corpus BLEU,
// chrF and chrF++) and rouge_score's functions over NLTK 3.8's PorterStemmer.
type reference struct {
	Rows []struct {
		Prediction string
		Golds      []string
		Rouge      map[string][3]float64
		RougeStem  map[string][3]float64 `json:"rouge_stem"`
		Bleu       map[string]float64
		Tokens     map[string]string
		CHRF       float64 `json:"chrf"`
		CHRFPlus   float64 `json:"chrf++"`
	}
	Corpus map[string][]float64
	Stems  map[string]string
}

func readReference(t *testing.T) (ref reference) {
	t.Helper()
	data, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

func close10(a, b float64) bool { return math.Abs(a-b) <= 1e-10*max(1, math.Abs(a)) }

func TestStemsAreThoseOfNLTK(t *testing.T) {
	ref := readReference(t)
	if len(ref.Stems) < 100 {
		t.Fatalf("only %d stems", len(ref.Stems))
	}
	for word, want := range ref.Stems {
		if got := stem(word); got != want {
			t.Errorf("stem(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestRougeIsThatOfRougeScore(t *testing.T) {
	for _, row := range readReference(t).Rows {
		for _, stemming := range []bool{false, true} {
			p, g := RougeTokens(row.Prediction, stemming), RougeTokens(row.Golds[0], stemming)
			got := map[string]Rouge{"1": RougeN(p, g, 1), "2": RougeN(p, g, 2), "L": RougeL(p, g),
				"Lsum": RougeLsum(row.Prediction, row.Golds[0], stemming)}
			wants := row.Rouge
			if stemming {
				wants = row.RougeStem
			}
			for name, want := range wants {
				r := got[name]
				if !close10(r.Precision, want[0]) || !close10(r.Recall, want[1]) || !close10(r.F, want[2]) {
					t.Errorf("rouge%s (stemming %v) of %q = %v, want %v", name, stemming, row.Prediction, r, want)
				}
			}
		}
	}
}

// The examples of rouge_score's own tests.
func TestRougePublished(t *testing.T) {
	words := strings.Fields
	for _, c := range []struct {
		got  Rouge
		want Rouge
	}{
		{RougeN(words("testing"), words("testing one two"), 1), Rouge{1, 1. / 3, 1. / 2}},
		{RougeN(words("testing one"), words("testing one two"), 2), Rouge{1, 1. / 2, 2. / 3}},
		{RougeL(words("testing one"), words("testing one two")), Rouge{1, 2. / 3, 4. / 5}},
		{RougeL(words("testing two"), words("testing one two")), Rouge{1, 2. / 3, 4. / 5}},
		{RougeLsum("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "w1 w2 w3 w4 w5", false), Rouge{0.4, 0.8, 8. / 15}},
		{RougeLsum("/", "w1 w2", false), Rouge{}},
		{RougeN(nil, nil, 0), Rouge{}},
	} {
		if !close10(c.got.Precision, c.want.Precision) || !close10(c.got.Recall, c.want.Recall) || !close10(c.got.F, c.want.F) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}

func newBLEU(t *testing.T, o BLEUOptions) *BLEU {
	t.Helper()
	b, err := NewBLEU(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBLEUTokensAreThoseOfSacreBLEU(t *testing.T) {
	for _, row := range readReference(t).Rows {
		for name, want := range row.Tokens {
			got := bleuTokenizers[name](strings.TrimRightFunc(row.Prediction, space))
			if !slices.Equal(strings.FieldsFunc(got, space), strings.FieldsFunc(want, space)) {
				t.Errorf("%s of %q = %q, want %q", name, row.Prediction, got, want)
			}
		}
	}
}

func TestSentenceBLEUIsThatOfSacreBLEU(t *testing.T) {
	for _, row := range readReference(t).Rows {
		for name, want := range row.Bleu {
			part := append(strings.Split(name, "/"), "")
			o := BLEUOptions{Tokenizer: part[0], Smooth: part[1], EffectiveOrder: part[2] != "no-eff", Lowercase: part[2] == "lc"}
			b := newBLEU(t, o)
			if got := b.Score(b.Count(row.Prediction, row.Golds)); !close10(got, want) {
				t.Errorf("%s of %q = %v, want %v", name, row.Prediction, got, want)
			}
		}
		one := CHRF(row.Prediction, row.Golds, false)
		two := CHRF(row.Prediction, row.Golds, true)
		if !close10(one.Score(), row.CHRF) || !close10(two.Score(), row.CHRFPlus) {
			t.Errorf("chrF of %q = %v, %v, want %v, %v", row.Prediction, one.Score(), two.Score(), row.CHRF, row.CHRFPlus)
		}
	}
}

func TestCorpusBLEUIsThatOfSacreBLEU(t *testing.T) {
	ref := readReference(t)
	for name, want := range ref.Corpus {
		tok, smooth, ok := strings.Cut(name, "/")
		if !ok {
			continue
		}
		b := newBLEU(t, BLEUOptions{Tokenizer: tok, Smooth: smooth})
		var one, all BLEUStats
		for _, row := range ref.Rows {
			one.Add(b.Count(row.Prediction, row.Golds[:1]))
			all.Add(b.Count(row.Prediction, row.Golds))
		}
		if !close10(b.Score(one), want[0]) || !close10(b.Score(all), want[1]) {
			t.Errorf("%s = %v, %v, want %v", name, b.Score(one), b.Score(all), want)
		}
	}
	b := newBLEU(t, BLEUOptions{})
	var all BLEUStats
	var one, best CHRFStats
	for _, row := range ref.Rows {
		all.Add(b.Count(row.Prediction, row.Golds))
		one.Add(CHRF(row.Prediction, row.Golds[:1], false))
		best.Add(CHRF(row.Prediction, row.Golds, false))
	}
	got := []float64{float64(all.Length), float64(all.RefLength)}
	for _, list := range [][bleuOrder]int{all.Correct, all.Total} {
		for _, n := range list {
			got = append(got, float64(n))
		}
	}
	if want := ref.Corpus["detail"][2:]; !slices.Equal(got, want) {
		t.Errorf("counts %v, want %v", got, want)
	}
	if want := ref.Corpus["chrf"]; !close10(one.Score(), want[0]) || !close10(best.Score(), want[1]) {
		t.Errorf("chrF %v, %v, want %v", one.Score(), best.Score(), want)
	}
}

// TestBLEUOfIdentity holds that a text is its own best translation, and names what options may be.
func TestBLEUOfIdentity(t *testing.T) {
	for tok := range maps.Keys(bleuTokenizers) {
		b := newBLEU(t, BLEUOptions{Tokenizer: tok, EffectiveOrder: true})
		for _, row := range readReference(t).Rows {
			if strings.TrimSpace(row.Golds[0]) == "" {
				continue
			}
			if got := b.Score(b.Count(row.Golds[0], row.Golds)); !close10(got, 100) {
				t.Errorf("%s of %q against itself is %v", tok, row.Golds[0], got)
			}
		}
	}
	for _, o := range []BLEUOptions{{Tokenizer: "14a"}, {Smooth: "laplace"}} {
		if _, err := NewBLEU(o); err == nil || !strings.Contains(err.Error(), "known are") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	b := newBLEU(t, BLEUOptions{})
	if got := b.Score(b.Count("a text", nil)); got != 0 {
		t.Errorf("without references BLEU is %v", got)
	}
}
