package dataset

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

const pocket = "../../examples/pocket"

// fromCatalog is a catalog entry with its files under dataDir.
func fromCatalog(t testing.TB, name, dataDir string) spec.Dataset {
	t.Helper()
	c := builtIn(t)
	d, ok := c.Lookup(name)
	if !ok {
		t.Fatalf("no catalog entry %q in %q", name, c.Names())
	}
	return d.Under(dataDir)
}

func TestCatalog(t *testing.T) {
	c := builtIn(t)
	hashes := map[string]string{}
	for _, d := range entries(t) {
		name := d.Abbr
		if d.Description == "" || d.Source == "" {
			t.Errorf("%s: description %q, source %q", name, d.Description, d.Source)
		}
		if filepath.IsAbs(d.Test.Path) {
			t.Errorf("%s: test.path %q is not under the data directory", name, d.Test.Path)
		}
		h := PromptHash(d, nil)
		if other, ok := hashes[h]; ok && !strings.Contains(sameQuestions, name+" "+other) {
			t.Errorf("%s and %s have one prompt hash", name, other)
		}
		hashes[h] = name
	}
	if _, ok := c.Lookup("nothing"); ok {
		t.Error("an unknown name is found")
	}
}

// TestPocketPrompts holds the prompts against those that the independent reference scored.
func TestPocketPrompts(t *testing.T) {
	for name, golden := range map[string]string{
		"pocket_winograd": "winograd", "pocket_piqa": "piqa", "pocket_siqa_ppl": "siqa_ppl", "pocket_cloze": "cloze",
		"pocket_siqa": "siqa", "pocket_gsm": "gsm", "pocket_lambada": "lambada",
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(pocket, "golden", "items_"+golden+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var want []struct {
				Label   int
				Prompt  string
				Prompts []string
			}
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			s := open(t, fromCatalog(t, name, filepath.Join(pocket, "data")))
			if s.Len() != len(want) {
				t.Fatalf("%d rows, want %d", s.Len(), len(want))
			}
			for row, w := range want {
				it := item(t, s, row, nil)
				var got []string
				for _, p := range it.Prompts(0) {
					got = append(got, p.Text)
				}
				if it.Mode == spec.Gen {
					w.Prompts = []string{w.Prompt}
				} else if at := slices.Index(it.Labels, it.Gold[0]); at != w.Label {
					t.Errorf("row %d: gold is the label %d, want %d", row, at, w.Label)
				}
				if !slices.Equal(got, w.Prompts) {
					t.Fatalf("row %d: got %q\nwant %q", row, got, w.Prompts)
				}
			}
		})
	}
}

func TestPocketText(t *testing.T) {
	want, err := os.ReadFile(filepath.Join(pocket, "data/text/test.txt"))
	if err != nil {
		t.Fatal(err)
	}
	docs := open(t, fromCatalog(t, "pocket_text", filepath.Join(pocket, "data"))).Documents()
	if len(docs) != 1 || docs[0].Text != string(want) || docs[0].Bytes != len(want) {
		t.Errorf("%d documents, or not the file's bytes", len(docs))
	}
}

// sameQuestions are entries that ask other rows in the same words.
const sameQuestions = "arc_e_gen arc_c_gen, arc_e_ll arc_c_ll, arc_e_ppl arc_c_ppl, wsc273_ppl winograd_ppl, triviaqa_gen nq_gen, triviaqa_wiki_gen nq_open_gen"

// entries are the catalog's.
func entries(t *testing.T) []spec.Dataset {
	t.Helper()
	c := builtIn(t)
	var out []spec.Dataset
	for _, name := range c.Names() {
		d, _ := c.Lookup(name)
		out = append(out, d)
	}
	return out
}

// TestCatalogPrompts renders each entry from the files under testdata/data, which are our own in the shapes and places of the real ones:
// every row for a model without roles, the first also for one with. Of a family, the members whose file is there.
func TestCatalogPrompts(t *testing.T) {
	for _, d := range entries(t) {
		if strings.HasPrefix(d.Abbr, "pocket_") {
			continue // TestPocketPrompts
		}
		t.Run(d.Abbr, func(t *testing.T) {
			var out strings.Builder
			for _, m := range d.Members() {
				m = m.Under("testdata/data")
				if _, err := os.Stat(m.Test.Path); err == nil || len(d.Subsets) == 0 {
					fmt.Fprintf(&out, "======== %s\n", m.Abbr)
					renderRows(t, &out, open(t, m))
				}
			}
			golden(t, "testdata/prompts/"+d.Abbr+".txt", out.String())
		})
	}
}

func renderRows(t *testing.T, out *strings.Builder, s *Set) {
	t.Helper()
	if s.d.Mode == spec.Rolling {
		fmt.Fprintf(out, "%q\n", s.Documents()[0].Text)
		return
	}
	for row := range min(3, s.Len()) {
		for i, meta := range metas {
			if i > 0 && row > 0 {
				continue
			}
			it := item(t, s, row, meta)
			fmt.Fprintf(out, "---- row %d: labels %q, gold %q; meta template: %v\n", row, it.Labels, it.Gold, meta != nil)
			for _, p := range it.Prompts(it.Examples()) {
				fmt.Fprintf(out, "%q %q\n", p.Text, p.Continuations)
			}
		}
	}
}

// TestFamilies: a family's members are found by their names, and differ in what their subset says alone.
func TestFamilies(t *testing.T) {
	c := builtIn(t)
	for name, want := range map[string]int{
		"mmlu_ppl": 57, "mmlu_gen": 57, "mmlu_chat_gen": 57, "ceval_ppl": 52, "ceval_gen": 52, "cmmlu_ppl": 67, "cmmlu_gen": 67,
		"bbh_gen": 27, "bbh_0shot_gen": 27, "race_ppl": 2, "race_gen": 2,
	} {
		d, _ := c.Lookup(name)
		if len(d.Subsets) != want {
			t.Errorf("%s has %d subsets, want %d", name, len(d.Subsets), want)
		}
		in := map[string]int{} // subset -> groups
		for group, members := range d.Groups {
			for _, m := range members {
				if in[m]++; group == "hard" || group == "china-specific" {
					in[m]--
				}
			}
		}
		for subset := range d.Subsets {
			if len(d.Groups) > 0 && in[subset] != 1 {
				t.Errorf("%s: %s is in %d groups", name, subset, in[subset])
			}
			if m, ok := c.Lookup(name + "/" + subset); !ok || m.Abbr != name+"-"+subset || m.Subsets != nil {
				t.Errorf("%s/%s: %v %q", name, subset, ok, m.Abbr)
			}
		}
	}
	d, _ := c.Lookup("mmlu_ppl")
	_, err := Open(d, 0)
	wantError(t, err, "mmlu_ppl", "57 datasets", "mmlu_ppl-abstract_algebra")
	for _, name := range []string{"mmlu_ppl-nothing", "mmlu_ppl-", "-mmlu_ppl", "siqa_ppl-a"} {
		if d, ok := c.Lookup(name); ok {
			t.Errorf("%s is found: %q", name, d.Abbr)
		}
	}
}
