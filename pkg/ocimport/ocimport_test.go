package ocimport

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/dataset"
	"sextant/pkg/spec"
)

func TestNameOf(t *testing.T) {
	names := []string{"ARC-e", "BoolQ", "bbh-temporal_sequences", "ceval-law", "commonsense_qa", "lukaemon_mmlu_anatomy", "openai_humaneval", "siqa"}
	for abbr, want := range map[string]string{
		"siqa_ppl": "siqa", "siqa_gen": "siqa", "arc_e_ppl": "ARC-e", "boolq_ll": "BoolQ", "mmlu_ppl-anatomy": "lukaemon_mmlu_anatomy",
		"bbh_gen-temporal_sequences": "bbh-temporal_sequences", "ceval_gen-law": "ceval-law", "commonsenseqa_gen": "commonsense_qa",
		"humaneval_gen": "openai_humaneval", "mmlu_ppl-virology": "", "piqa_ppl": "",
	} {
		if got := NameOf(abbr, names); got != want {
			t.Errorf("NameOf(%q) = %q, want %q", abbr, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	entries, err := Parse([]byte(`{"1": {"origin_prompt": "say \"NaN\\", "prediction": "NaN"},
		"0": {"label: A": {"prompt": "x", "PPL": NaN}, "label: B": {"prompt": "y", "PPL": 2.5, "Loglikelihood": -Infinity}, "gold": 1},
		"3": {"prediction": ["a", "b"], "gold": ["one"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 || entries[2].There || !entries[3].There {
		t.Fatalf("%+v", entries)
	}
	e := entries[0]
	if !slices.Equal(e.Labels, []string{"A", "B"}) || !math.IsNaN(e.Values[0].PPL) || e.Values[1].PPL != 2.5 || !math.IsNaN(e.Values[1].LogLikelihood) ||
		e.Gold != "1" || !strings.Contains(e.Prompt, "y") {
		t.Errorf("%+v", e)
	}
	if e := entries[1]; *e.Text != "NaN" || e.Prompt != `say "NaN\` {
		t.Errorf("%+v", e)
	}
	if e := entries[3]; e.Fault == "" || e.Gold != "one" {
		t.Errorf("%+v", e)
	}
	for _, bad := range []string{"", "[]", `{"a": {}}`, `{"-1": {}}`, `{"0": {}`, `{"9999": {}}`} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"0": {"label: A": {"PPL": NaN}, "prediction": "\"", "gold": [1]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := Parse(raw)
		for _, e := range entries {
			if err != nil || len(e.Values) != len(e.Labels) {
				t.Errorf("%+v: %v", e, err)
			}
		}
	})
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"20240101_000000/predictions/m/old.json", "20240102_000000/predictions/m/a_0.json", "20240102_000000/predictions/m/a_2.json",
		"20240102_000000/predictions/m/b.json", "20240102_000000/predictions/m/tmp_c.json"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(`{"0": {"prediction": "x"}}`), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := tree.Datasets("m"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("datasets %q", got)
	}
	if p, err := tree.Read("m", "a"); err != nil || len(p.Entries) != 1 || len(p.Files) != 1 || p.Lacks != "a_1.json is not there" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := tree.Read("m", "none"); err != nil || p.Entries != nil || p.Lacks != "there are no predictions of it" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := Open(filepath.Join(dir, "20240102_000000/predictions/m")); err == nil {
		t.Error("a directory without predictions is a tree")
	}
}

// toy is a dataset of four rows, one shorter than the others.
func toy(t *testing.T, mode spec.Mode) (spec.Dataset, *dataset.Set) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	rows := `{"q": "Grass is", "a": "green"}
{"q": "Snow is", "a": "cold"}
{"q": "Bread is", "a": "food"}
{"q": "Night is", "a": "dark"}
`
	if err := os.WriteFile(path, []byte(rows), 0o666); err != nil {
		t.Fatal(err)
	}
	d := spec.Dataset{Abbr: "toy", Mode: mode, Test: spec.Files{Path: path}, Answer: "a", Prompt: spec.Prompt{Template: &spec.Template{Text: "{q}"}}}.WithDefaults()
	set, err := dataset.Open(d, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d, set
}

func TestMatchNeverGuesses(t *testing.T) {
	d, set := toy(t, spec.Gen)
	entry := func(prompt, gold string) Entry {
		text := prompt
		return Entry{There: true, Prompt: prompt, Gold: gold, Text: &text}
	}
	for name, c := range map[string]struct {
		entries []Entry
		want    []int // rows with a record
	}{
		"all":                  {[]Entry{entry("<s>grass IS", ""), entry("snow is", ""), entry("bread is", ""), entry("night is", "")}, []int{0, 1, 2, 3}},
		"one left out":         {[]Entry{entry("Grass is", ""), entry("Bread is", ""), entry("Night is", "")}, []int{0, 2, 3}},
		"one of another row":   {[]Entry{entry("Grass is", ""), entry("Night is", ""), entry("Bread is", ""), entry("Night is", "")}, []int{0, 2, 3}},
		"the first ones":       {[]Entry{entry("Grass is", ""), entry("Snow is", "")}, []int{0, 1}},
		"no prompt":            {[]Entry{entry("", "green"), entry("", "warm"), entry("", ""), entry("", "dark")}, []int{0, 3}},
		"no prompt, fewer":     {[]Entry{entry("", "green"), entry("", "cold")}, nil},
		"two rows in a prompt": {[]Entry{entry("Grass is Snow is", ""), entry("Bread is", ""), entry("Night is", "")}, []int{2, 3}},
		"other data":           {[]Entry{entry("Who?", ""), entry("Where?", ""), entry("When?", ""), entry("Why?", "")}, nil},
	} {
		m, err := Match(d, set, c.entries)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, r := range m.Records {
			got = append(got, r.Row)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: rows %v, want %v", name, got, c.want)
		}
	}
}
