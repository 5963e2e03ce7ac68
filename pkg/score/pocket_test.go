package score

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sextant/pkg/result"
	"sextant/pkg/spec"
)

const pocket = "../../examples/pocket"

// item is an entry of the pocket suite's golden items, made by an independent implementation.
type item struct {
	Label   int       `json:"label"`
	SumNLL  []float64 `json:"sum_nll"`
	Tokens  []int     `json:"n_tokens"`
	Text    string    `json:"text"`
	Correct bool      `json:"correct"`
}

func readJSON[T any](t *testing.T, path string) T {
	t.Helper()
	var v T
	b, err := os.ReadFile(filepath.Join(pocket, path))
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func pocketGolden(t *testing.T, name string) float64 {
	t.Helper()
	v, ok := readJSON[map[string]any](t, "golden/scores.json")[name].(float64)
	if !ok {
		t.Fatalf("no golden score %q", name)
	}
	return v
}

func TestPocketRanking(t *testing.T) {
	for _, name := range []string{"winograd", "piqa", "siqa_ppl", "cloze"} {
		for _, c := range []struct {
			golden string
			d      spec.Dataset
		}{
			{name, spec.Dataset{Mode: spec.PPL, PPL: spec.PPLOptions{Denominator: "n-1"}}},
			{name + "_sum", spec.Dataset{Mode: spec.LL}},
		} {
			var recs []result.Record
			for row, it := range readJSON[[]item](t, "golden/items_"+name+".json") {
				r := result.Record{Row: row, NLL: it.SumNLL, Tokens: it.Tokens, Gold: []string{strconv.Itoa(it.Label)}}
				for i := range it.SumNLL {
					r.Labels = append(r.Labels, strconv.Itoa(i))
				}
				recs = append(recs, r)
			}
			s := compute(t, c.d, len(recs), recs...)
			want := pocketGolden(t, c.golden)
			if s.Missing != 0 || float64(s.Correct)/float64(s.N) != want {
				t.Errorf("%s: %d of %d, want %v", c.golden, s.Correct, s.N, want)
			}
		}
	}
}

// TestPocketTexts scores the golden texts as the suite's README says, and holds each row to its golden verdict.
func TestPocketTexts(t *testing.T) {
	for name, d := range map[string]spec.Dataset{
		"siqa":    {Post: []string{"first_option:ABC"}},
		"gsm":     {Post: []string{"cut:\n\n", "after:####", "first_word", "rstrip:."}, PostGold: []string{"after:#### "}},
		"lambada": {Post: []string{"first_word", "strip_chars:.,:?!"}, PostGold: []string{`regex:\S+$`}},
	} {
		d.Mode = spec.Gen
		items, golds := readJSON[[]item](t, "golden/items_"+name+".json"), pocketGold(t, name)
		recs := make([]result.Record, len(items))
		for row, it := range items {
			recs[row] = result.Record{Row: row, Text: it.Text, Gold: []string{golds[row]}}
			if s := compute(t, d, row+1, recs[row]); (s.Correct == 1) != it.Correct || s.N != 1 {
				t.Errorf("%s row %d: text %q, gold %q: correct %d, want %v", name, row, it.Text, golds[row], s.Correct, it.Correct)
			}
		}
		s := compute(t, d, len(recs), recs...)
		if want := pocketGolden(t, name); s.Missing != 0 || float64(s.Correct)/float64(s.N) != want {
			t.Errorf("%s: %d of %d, want %v", name, s.Correct, s.N, want)
		}
	}
}

// pocketGold gives each row's gold as the data files have it: an option letter, a worked answer, the whole text.
func pocketGold(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(pocket, "data", name, "test.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var golds []string
	for line := range strings.Lines(string(b)) {
		var row struct {
			Label        int
			Answer, Text string
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		switch name {
		case "siqa":
			golds = append(golds, string("ABC"[row.Label-1]))
		case "gsm":
			golds = append(golds, row.Answer)
		default:
			golds = append(golds, row.Text)
		}
	}
	return golds
}

func TestPocketPerplexity(t *testing.T) {
	golden := readJSON[struct {
		Ctx  int
		Test struct {
			PPL   float64
			Means []float64 `json:"window_mean_nll"`
		}
	}](t, "golden/ppl.json")
	var recs []result.Record
	for row, mean := range golden.Test.Means {
		recs = append(recs, win(row, mean*float64(golden.Ctx-1), golden.Ctx-1))
	}
	s := compute(t, spec.Dataset{Mode: spec.Rolling, Rolling: spec.RollingOptions{SeqLen: golden.Ctx}}, len(recs), recs...)
	if math.Abs(*s.Value-golden.Test.PPL) > 1e-12 || s.N != 217 || s.Note != "gptq 256" {
		t.Errorf("%+v, value %v, want %v", s, *s.Value, golden.Test.PPL)
	}
}
