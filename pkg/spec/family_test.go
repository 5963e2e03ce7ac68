package spec

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// towns is a family in a catalog.
func towns(t testing.TB) testCatalog {
	t.Helper()
	d, err := DecodeDataset("towns", []byte(`
mode = "gen"
test = { path = "towns/{subset}.jsonl" }
answer = "town"
post = ["strip"]
prompt.template = "The largest town of {subset.title} ({{subset}}) is {town}"
columns.note = { file = "notes/{subset}.txt" }
groups = { africa = ["south_sudan", "ivory_coast"], rest = ["peru"] }

[subsets]
south_sudan = {}
ivory_coast = { title = "Côte d'Ivoire", post = ["lower"], cost_factor = 7 }
peru = {}
`))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := DecodeDataset("hills", []byte("mode = \"gen\"\ntest = { path = \"h.jsonl\" }\nanswer = \"a\"\nprompt.template = \"{q}\""))
	if err != nil {
		t.Fatal(err)
	}
	return testCatalog{"towns": d, "hills": plain}
}

// loadText loads a spec with a model from a text.
func loadText(t testing.TB, text string, c Catalog) (*Spec, error) {
	t.Helper()
	text += "\n[[models]]\npath = \"/m\"\n"
	return load("eval.toml", Options{Catalog: c}, inMemory(map[string]string{"eval.toml": text}))
}

func abbrs(s *Spec) string {
	var out []string
	for _, d := range s.Datasets {
		out = append(out, d.Abbr)
	}
	return strings.Join(out, " ")
}

func groupNames(s *Spec) string {
	var out []string
	for _, g := range s.Groups {
		out = append(out, g.Name+"("+g.Mean+"):"+strings.Join(g.Members, ","))
	}
	return strings.Join(out, " ")
}

func TestFamilySelection(t *testing.T) {
	const all = "towns-ivory_coast towns-peru towns-south_sudan"
	for _, c := range []struct{ name, text, datasets, groups string }{
		{"whole", `datasets = ["towns"]`, all, "towns(mean):towns-ivory_coast,towns-peru,towns-south_sudan " +
			"towns-weighted(weighted):towns-ivory_coast,towns-peru,towns-south_sudan " +
			"towns-africa(mean):towns-south_sudan,towns-ivory_coast towns-rest(mean):towns-peru"},
		{"one", `datasets = ["towns/peru"]`, "towns-peru", "towns-rest(mean):towns-peru"},
		{"one by its abbr", `datasets = ["towns-south_sudan"]`, "towns-south_sudan", ""},
		{"glob of members", `datasets = ["towns/*u*n*"]`, "towns-south_sudan", ""},
		{"braces", `datasets = ["towns/{peru,ivory_coast}", "hills"]`, "towns-ivory_coast towns-peru hills", "towns-rest(mean):towns-peru"},
		{"glob of families", `datasets = ["t*s"]`, all, "*"},
		{"twice", `datasets = ["towns-peru", "towns", "towns/*"]`, "towns-peru towns-ivory_coast towns-south_sudan", "*"},
		{"a table alone", "[[dataset]]\nabbr = \"towns\"\ngen.max_out_len = 3", all, "*"},
		{"a table of one member", "[[dataset]]\nabbr = \"towns-peru\"\ngen.max_out_len = 3", "towns-peru", "towns-rest(mean):towns-peru"},
		{"a table and a part of it", "datasets = [\"towns/peru\"]\n[[dataset]]\nabbr = \"towns\"\ngen.max_out_len = 3", "towns-peru", "towns-rest(mean):towns-peru"},
		{"another name", "[[dataset]]\nabbr = \"cities\"\nbase = \"towns\"\ngroups = { africa = [\"peru\"] }", "cities-ivory_coast cities-peru cities-south_sudan", "*"},
		{"own groups", "datasets = [\"towns\"]\n[[groups]]\nname = \"towns\"\nmembers = [\"towns/*u\"]\n[[groups]]\nname = \"all\"\nmembers = [\"towns\"]", all,
			"towns(mean):towns-*u all(mean):towns-* towns-weighted(weighted):towns-ivory_coast,towns-peru,towns-south_sudan " +
				"towns-africa(mean):towns-south_sudan,towns-ivory_coast towns-rest(mean):towns-peru"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := loadText(t, c.text, towns(t))
			if err != nil {
				t.Fatal(err)
			}
			if abbrs(s) != c.datasets {
				t.Errorf("datasets are %s, want %s", abbrs(s), c.datasets)
			}
			if c.groups != "*" && groupNames(s) != c.groups {
				t.Errorf("groups are %s\nwant %s", groupNames(s), c.groups)
			}
			for _, d := range s.Datasets {
				if raw, _ := json.Marshal(d); strings.Contains(string(raw), "subset") && !strings.Contains(string(raw), "({subset})") {
					t.Errorf("%s is not filled in: %s", d.Abbr, raw)
				}
			}
		})
	}
}

func TestFamilyMembers(t *testing.T) {
	s, err := loadText(t, `
datasets = ["towns"]
[[dataset]]
abbr = "towns"
gen.max_out_len = 9
[[dataset]]
abbr = "towns-peru"
post = ["first_line"]
`, towns(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		title, post string
		cost        int
	}{{"Côte d'Ivoire", "lower", 7}, {"peru", "first_line", 0}, {"south sudan", "strip", 0}} {
		d := s.Datasets[i]
		subset := strings.TrimPrefix(d.Abbr, "towns-")
		if d.Prompt.Template.Text != "The largest town of "+want.title+" ({"+subset+"}) is {town}" || !strings.HasSuffix(d.Test.Path, "/data/towns/"+subset+".jsonl") ||
			!strings.HasSuffix(d.Columns["note"].File, "/data/notes/"+subset+".txt") || d.Gen.MaxOutLen != 9 ||
			!slices.Equal(d.Post, []string{want.post}) || d.CostFactor != want.cost || d.Subsets != nil || d.Groups != nil {
			t.Errorf("%s: %+v", d.Abbr, d)
		}
	}
}

// TestMembersOutsideSpecs: a family taken apart by Members is what Load makes of it, but for paths and defaults.
func TestMembersOutsideSpecs(t *testing.T) {
	d, _ := towns(t).Lookup("towns")
	var got []string
	for _, m := range d.Members() {
		got = append(got, m.Abbr+" "+m.Test.Path+" "+m.Columns["note"].File+" "+m.Under("/d").Columns["note"].File)
	}
	want := "towns-ivory_coast towns/ivory_coast.jsonl notes/ivory_coast.txt /d/notes/ivory_coast.txt"
	if len(got) != 3 || got[0] != want {
		t.Errorf("members are %q", got)
	}
	if _, ok := d.Member("chad"); ok {
		t.Error("a member that is not there is found")
	}
	if again := got[0]; again != want || len(d.Subsets) != 3 {
		t.Error("taking a family apart has changed it")
	}
}

func TestFamilyErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no such member", `datasets = ["towns/perv"]`, `"towns/perv" is neither in the catalog nor a [[dataset]] table of this spec`},
		{"no such glob", `datasets = ["towns/z*"]`, `"towns/z*" matches nothing`},
		{"unknown key once", "[[dataset]]\nabbr = \"towns\"\ngen.max_out = 3", `eval.toml:3:5: dataset[towns-ivory_coast].gen.max_out: unknown key; did you mean "max_out_len"?`},
		{"key of a subset", "[[dataset]]\nabbr = \"towns\"\nsubsets.chad = { titel = \"Tchad\" }", `dataset[towns].subsets.chad.titel: unknown key; did you mean "title"?`},
		{"group of strangers", "[[dataset]]\nabbr = \"towns\"\ngroups.rest = [\"peru\", \"perv\"]", `dataset[towns].groups.rest: no subset is named "perv"; did you mean "peru"?`},
		{"group named as a subset", "[[dataset]]\nabbr = \"towns\"\ngroups.peru = [\"peru\"]", `"peru" is what a subset or the weighted mean is called`},
		{"groups without subsets", "[[dataset]]\nabbr = \"hills\"\ngroups.x = [\"y\"]", `dataset[hills].groups: has no effect without subsets`},
		{"bad subset name", "[[dataset]]\nabbr = \"towns\"\nsubsets.\"a b\" = {}", `"towns-a b" cannot be used`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadText(t, c.text, towns(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Count(err.Error(), "\n") > 2 {
				t.Errorf("one mistake is said many times:\n%v", err)
			}
		})
	}
}
