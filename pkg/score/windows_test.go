package score

import (
	"math"
	"strings"
	"testing"

	"sextant/pkg/result"
	"sextant/pkg/spec"
)

func rolling(convention string) spec.Dataset {
	return spec.Dataset{Mode: spec.Rolling, Rolling: spec.RollingOptions{Convention: convention, SeqLen: 8}}
}

func win(row int, nll float64, tokens int) result.Record {
	return result.Record{Row: row, NLL: []float64{nll}, Tokens: []int{tokens}}
}

// TestPerplexityConventions has two windows: NLL 6 over 3 tokens and NLL 4 over 4 tokens, so means 2 and 1.
func TestPerplexityConventions(t *testing.T) {
	a, b := win(0, 6, 3), win(1, 4, 4)
	// gptq: exp((2 + 1) / 2) = exp(1.5). Deviations 0.5 and -0.5: variance 0.5, over 2 windows: se 0.5.
	s := compute(t, rolling("gptq"), 2, a, b)
	near(t, "gptq", *s.Value, math.Exp(1.5))
	near(t, "gptq stderr", *s.StdErr, math.Exp(1.5)*0.5)
	near(t, "tokens", s.Detail["tokens"], 7)
	if s.Metric != perplexity || s.Unit != Perplexity || s.Note != "gptq 8" {
		t.Errorf("%+v", s)
	}
	// The others: exp(10/7). Residuals 6 - 3x10/7 = 12/7 and 4 - 4x10/7 = -12/7: squares 288/49, times 2/1, root 24/7, over 7 tokens.
	for _, convention := range []string{"gptq-bos", "sliding", "llama.cpp"} {
		s := compute(t, rolling(convention), 2, a, b)
		near(t, convention, *s.Value, math.Exp(10.0/7))
		near(t, convention+" stderr", *s.StdErr, math.Exp(10.0/7)*24/49)
		if !strings.HasPrefix(s.Note, convention+" 8") {
			t.Errorf("note %q", s.Note)
		}
	}
	// lm-eval: one document of 5 words and 20 bytes: exp(10/5), exp(10/20), 10/(20 ln 2); the error of 10/7 times 7/5 tokens a word.
	a.Words, a.Bytes = 5, 20
	s = compute(t, rolling("lm-eval"), 2, a, b)
	near(t, "word perplexity", *s.Value, math.Exp(2))
	near(t, "word perplexity stderr", *s.StdErr, math.Exp(2)*24/49*7/5)
	near(t, "byte perplexity", s.Detail["byte_perplexity"], math.Exp(0.5))
	near(t, "bits per byte", s.Detail["bits_per_byte"], 0.5/math.Ln2)
	if s.Metric != wordPerplexity || s.Note != "lm-eval 8" || s.N != 2 {
		t.Errorf("%+v", s)
	}
	// The interval is that of the log: exp(1.5 +- z 0.5).
	s = compute(t, rolling("gptq"), 2, a, b)
	lo, hi, ok := s.Interval()
	near(t, "low", lo, math.Exp(1.5-z95*0.5))
	near(t, "high", hi, math.Exp(1.5+z95*0.5))
	if !ok {
		t.Error("no interval")
	}
}

func TestPerplexityOfOneWindow(t *testing.T) {
	s := compute(t, rolling("gptq"), 1, win(0, 6, 3))
	if _, _, ok := s.Interval(); s.StdErr != nil || ok {
		t.Errorf("one window has a spread: %+v", s)
	}
	near(t, "value", *s.Value, math.Exp(2))
}

func TestPerplexityBeyondFloat(t *testing.T) {
	s := compute(t, rolling("gptq"), 1, win(0, 6000, 3))
	if s.Value != nil || s.N != 1 || !strings.Contains(s.Reason, "too large") {
		t.Errorf("%+v", s)
	}
}

func TestPerplexityWithMissingWindow(t *testing.T) {
	s := compute(t, rolling("gptq"), 3, win(0, 6, 3), win(2, 3, 3))
	near(t, "value", *s.Value, math.Exp(1.5))
	if s.N != 2 || s.Missing != 1 || !s.Partial() {
		t.Errorf("%+v", s)
	}
}

// TestWholeDocuments has documents of windows 0-1, 2, 3-4 and 5, and takes one window away at a time.
func TestWholeDocuments(t *testing.T) {
	starts := map[int]bool{0: true, 2: true, 3: true, 5: true}
	for _, c := range []struct{ gone, n int }{
		{-1, 6},
		{0, 4}, // 1 has no start
		{1, 4}, // 0 lacks its end
		{2, 3}, // 2 might have been of the document of 0 and 1
		{3, 3}, // 3 might have been of the document of 2, and 4 has no start
		{4, 4}, // 3 lacks its end
		{5, 3}, // 5 might have been of the document of 3 and 4
	} {
		var recs []result.Record
		for row := range 6 {
			r := win(row, 10, 5)
			if starts[row] {
				r.Words, r.Bytes = 2, 8
			}
			if row != c.gone {
				recs = append(recs, r)
			}
		}
		s := compute(t, rolling("lm-eval"), 6, recs...)
		if s.N != c.n || s.N+s.Missing != 6 {
			t.Errorf("without window %d: n %d, missing %d, want n %d (%s)", c.gone, s.N, s.Missing, c.n, s.Reason)
		}
	}
	s := compute(t, rolling("lm-eval"), 2, win(1, 10, 5))
	if s.Value != nil || s.N != 0 || !strings.Contains(s.Reason, "whole documents") {
		t.Errorf("%+v", s)
	}
}
