package spec

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestTemplate gives the one model a path, and tells of a spec that has not one.
func TestTemplate(t *testing.T) {
	const data = "[[dataset]]\nabbr = \"d\"\nmode = \"gen\"\nanswer = \"a\"\ntest.path = \"t.jsonl\"\nprompt.template = \"{q}\"\n"
	dir, err := filepath.Abs("checkpoints")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ models, abbr, wrong string }{
		{"[[models]]\nmax_seq_len = 128\n", "checkpoints", ""},
		{"[[models]]\nmax_seq_len = 128\nabbr = \"my-7b\"\n", "my-7b", ""},
		{"[[models]]\nmax_seq_len = 128\npath = \"${NOT_SET}/somewhere\"\n", "checkpoints", ""},
		{"", "", "spec.toml:1:1: models: there are 0; a watch wants one [[models]] table"},
		{"[[models]]\npath = \"a\"\n[[models]]\npath = \"b\"\n", "", "models: there are 2; a watch wants one"},
		{"models = []\n", "", "models: there are 0; a watch"},
	} {
		s, err := Parse("spec.toml", c.models+data, Options{Template: dir})
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("%q: %v, want %q alone", c.models, err, c.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.models, err)
			continue
		}
		if m := s.Models[0]; len(s.Models) != 1 || m.Path != dir || m.TokenizerPath != dir || m.Abbr != c.abbr || m.MaxSeqLen != 128 {
			t.Errorf("%q: %+v", c.models, m)
		}
	}
}
