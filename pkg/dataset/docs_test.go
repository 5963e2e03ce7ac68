package dataset

import (
	"os"
	"path/filepath"
	"regexp"
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
	c, err := NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
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
	c, err := NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.Names() {
		if !strings.HasPrefix(name, "pocket_") && !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/datasets.md does not name %s", name)
		}
	}
}
