package dataset

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

// TestDocumentedExample does what docs/datasets.md says: it writes the files shown, loads the spec and renders the first rows.
func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile("../../docs/datasets.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	prompts := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^```(json|toml|text) (\\S+)\n(.*?)\n```$").FindAllStringSubmatch(string(doc), -1) {
		if m[1] == "text" {
			prompts[m[2]] = m[3]
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, m[2]), []byte(m[3]+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := builtIn(t)
	s, err := spec.Load(filepath.Join(dir, "eval.toml"), spec.Options{Catalog: c})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Datasets) != 2 || len(prompts) != 2 {
		t.Fatalf("%d datasets and %d prompts in the example, want 2 of each", len(s.Datasets), len(prompts))
	}
	for _, d := range s.Datasets {
		it := item(t, open(t, d), 0, nil)
		var got []string
		for _, p := range it.Prompts(it.Examples()) {
			got = append(got, p.Text)
		}
		if want := prompts[d.Abbr]; strings.Join(got, "\n") != want {
			t.Errorf("%s: got\n%s\nwant\n%s", d.Abbr, strings.Join(got, "\n"), want)
		}
	}
}

// TestDocumentedCatalog: the page names every entry.
func TestDocumentedCatalog(t *testing.T) {
	doc, err := os.ReadFile("../../docs/datasets.md")
	if err != nil {
		t.Fatal(err)
	}
	c := builtIn(t)
	for _, name := range c.Names() {
		if !strings.HasPrefix(name, "pocket_") && !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/datasets.md does not name %s", name)
		}
	}
}

// TestOwnDatasetExample opens the datasets of examples/own-dataset, whose README shows the first prompt.
func TestOwnDatasetExample(t *testing.T) {
	s, err := spec.Load("../../examples/own-dataset/eval.toml", spec.Options{Catalog: builtIn(t)})
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../examples/own-dataset/README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		abbr, gold string
		rows       int
		prompt     string // of the gold label, or the only one
	}{
		{"rivers_gen", "C", 3, regexp.MustCompile("(?s)```text\n(.*?)\n```").FindStringSubmatch(string(readme))[1]},
		{"seasons_ppl-north", "3", 3, "In Finland, January lies in winter."},
		{"seasons_ppl-south", "1", 3, "In Chile, January lies in summer."},
	}
	if len(s.Datasets) != len(want) || len(s.Groups) != 2 || s.Groups[0].Name != "seasons_ppl" {
		t.Fatalf("%d datasets, groups %v", len(s.Datasets), s.Groups)
	}
	for i, w := range want {
		set := open(t, s.Datasets[i])
		it := item(t, set, 0, nil)
		prompts := it.Prompts(it.Examples())
		at := max(0, slices.Index(it.Labels, it.Gold[0]))
		if s.Datasets[i].Abbr != w.abbr || set.Len() != w.rows || it.Gold[0] != w.gold || prompts[at].Text != w.prompt {
			t.Errorf("%s: %d rows, gold %q, prompt\n%s\nwant %d rows, gold %q,\n%s", s.Datasets[i].Abbr, set.Len(), it.Gold, prompts[at].Text, w.rows, w.gold, w.prompt)
		}
	}
}
