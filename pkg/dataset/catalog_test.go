package dataset

import (
	"encoding/json"
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
	c, err := NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	d, ok := c.Lookup(name)
	if !ok {
		t.Fatalf("no catalog entry %q in %q", name, c.Names())
	}
	place := func(f *spec.Files) {
		f.Path = filepath.Join(dataDir, f.Path)
		if f.Labels != "" {
			f.Labels = filepath.Join(dataDir, f.Labels)
		}
	}
	place(&d.Test)
	if d.Train != nil {
		train := *d.Train
		d.Train = &train
		place(d.Train)
	}
	return d
}

func TestCatalog(t *testing.T) {
	c, err := NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(`gsm8k_gen hellaswag_ppl lambada_gen piqa_ppl pocket_cloze pocket_gsm pocket_lambada pocket_piqa pocket_siqa
		pocket_siqa_ppl pocket_text pocket_winograd siqa_gen siqa_ppl wikitext2_rolling winograd_ppl`)
	if !slices.Equal(c.Names(), want) {
		t.Errorf("names are %q", c.Names())
	}
	hashes := map[string]string{}
	for _, name := range c.Names() {
		d, _ := c.Lookup(name)
		if d.Abbr != name || d.Description == "" || d.Source == "" {
			t.Errorf("%s: abbr %q, description %q, source %q", name, d.Abbr, d.Description, d.Source)
		}
		if filepath.IsAbs(d.Test.Path) {
			t.Errorf("%s: test.path %q is not under the data directory", name, d.Test.Path)
		}
		h := PromptHash(d, nil)
		if other, ok := hashes[h]; ok {
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
