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

// realShapes are rows of our own in the shapes of the real files.
var realShapes = map[string]map[string]string{
	"winograd_ppl": {"winograd/wsc285.jsonl": `{"text":"The cup fell off the shelf because it was wet.","pronoun":"it","options":["The cup","the shelf"],"label":1,"source":"own"}`},
	"siqa_ppl": {"siqa/dev.jsonl": `{"context":"Ana lent Bo her umbrella.","question":"How does Bo feel?","answerA":"angry","answerB":"thankful","answerC":"bored"}`,
		"siqa/dev-labels.lst": "2"},
	"piqa_ppl": {"piqa/dev.jsonl": `{"id":"own","goal":"Keep soup warm","sol1":"Put it in a sieve.","sol2":"Put a lid on it."}`, "piqa/dev-labels.lst": "1"},
	"hellaswag_ppl": {"hellaswag/hellaswag.jsonl": `{"query":"Baking: A man mixes dough: flour and water. He","choices":["sleeps.","kneads it.","flies.","paints."],"gold":1}
{"query":"No activity here","choices":["a","b","c","d"],"gold":3}`},
	"gsm8k_gen":         {"gsm8k/test.jsonl": `{"question":"How much are 1,000 + 34 {things}?","answer":"1000 + 34 = <<1000+34=1034>>1034\n#### 1,034"}`},
	"lambada_gen":       {"lambada/test.jsonl": `{"prompt":"The clock struck twelve. It was","label":"midnight"}`},
	"wikitext2_rolling": {"wikitext-2-raw/wiki.test.raw": " \n = Title = \n \n Some text . \n"},
}

// TestCatalogPrompts renders each entry from a file of the real shape, for a model without and one with roles.
func TestCatalogPrompts(t *testing.T) {
	realShapes["siqa_gen"] = realShapes["siqa_ppl"]
	var out strings.Builder
	for _, name := range keys(realShapes) {
		dir := t.TempDir()
		for file, text := range realShapes[name] {
			path := filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, fromCatalog(t, name, dir))
		fmt.Fprintf(&out, "======== %s\n", name)
		if s.d.Mode == spec.Rolling {
			fmt.Fprintf(&out, "%q\n", s.Documents()[0].Text)
			continue
		}
		for row := range s.Len() {
			for _, meta := range metas {
				it := item(t, s, row, meta)
				fmt.Fprintf(&out, "---- row %d: labels %q, gold %q; meta template: %v\n", row, it.Labels, it.Gold, meta != nil)
				for _, p := range it.Prompts(0) {
					fmt.Fprintf(&out, "%q %q\n", p.Text, p.Continuations)
				}
			}
		}
	}
	golden(t, "testdata/catalog.txt", out.String())
}
