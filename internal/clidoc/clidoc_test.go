package clidoc

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/urfave/cli/v2"
)

func app() *cli.App {
	return &cli.App{
		Name: "prog", Usage: "do things", UsageText: "prog [SPEC]",
		Description: "Does things\nwith a_b.\n\nExit codes: 0 done,\n1 not.\n\nExample: prog eval.toml --limit 3\n         prog other.toml \\\n  --fast",
		Flags: []cli.Flag{&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Usage: "the first `N` rows (infer.limit)", DefaultText: "all", Category: "Rows"},
			&cli.BoolFlag{Name: "fast", Usage: "in a hurry", Category: "Speed", EnvVars: []string{"FAST"}}},
		Commands: []*cli.Command{
			{Name: "plan", Usage: "look at plans", Subcommands: []*cli.Command{{Name: "diff", Usage: "tell them apart", ArgsUsage: "A B",
				Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "one document"}}}}},
			{Name: "secret", Hidden: true},
		},
	}
}

func TestCommands(t *testing.T) {
	got := Commands(app())
	want := []Command{
		{Name: "prog", Usage: "do things", Synopsis: []string{"prog [SPEC]"}, Text: []string{"Does things with a_b."}, Exit: "0 done, 1 not.",
			Examples: []string{"prog eval.toml --limit 3", "prog other.toml \\\n--fast"},
			Groups: []Group{{"Rows", []Flag{{Names: []string{"--limit", "-l"}, Value: "N", Text: "the first N rows (infer.limit)", Default: "all"}}},
				{"Speed", []Flag{{Names: []string{"--fast"}, Text: "in a hurry", Env: []string{"FAST"}}}}}},
		{Name: "prog plan", Usage: "look at plans", Depth: 1},
		{Name: "prog plan diff", Usage: "tell them apart", Synopsis: []string{"prog plan diff [flags] A B"}, Depth: 2, JSON: true,
			Groups: []Group{{"", []Flag{{Names: []string{"--json"}, Text: "one document"}}}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestLacking(t *testing.T) {
	prog := app()
	prog.Commands[0].Subcommands[0].Flags = append(prog.Commands[0].Subcommands[0].Flags, &cli.StringFlag{Name: "out", Usage: "a file"})
	documents := []Document{{Title: "a plan", Commands: []string{"prog plan --json"}}}
	want := []string{"prog plan lacks a usage line or an example", "prog plan diff lacks a usage line or an example",
		"prog plan diff has --json and no document in docs/json.md: add it to documents in docs_test.go",
		"prog plan diff --out lacks a text, or the word in backquotes that stands for its value"}
	if got := Lacking(Commands(prog), documents); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	documents[0].Commands[0] = "prog plan diff A B --json"
	if got := Lacking(Commands(prog), documents); len(got) != 3 {
		t.Errorf("with its document: %q", got)
	}
}

func TestPages(t *testing.T) {
	text := Markdown(Commands(app()))
	for _, want := range []string{
		"## prog\n\nDo things.\n\n```\nprog [SPEC]\n```\n\nDoes things with `a_b`.\n\nExit codes: 0 done, 1 not.\n\n",
		"| Rows | | default |\n|---|---|---|\n| `--limit, -l N` | the first N rows (`infer.limit`) | all |\n",
		"| `--fast` | in a hurry (also `$FAST`) |  |\n", "#### prog plan diff\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	man := Man(Commands(app()), 1, "prog 1.0", []Section{{"SEE ALSO", "other(1)"}})
	for _, want := range []string{`.TH "PROG" "1" "" "prog 1.0"`, "\\fB\\-\\-limit, \\-l N\\fR", "prog eval.toml \\-\\-limit 3", ".SH SEE ALSO", ".SH EXIT STATUS\n0 done, 1 not.", ".SS prog plan diff"} {
		if !strings.Contains(man, want) {
			t.Errorf("the man page lacks %q:\n%s", want, man)
		}
	}
}

func TestSharedGroups(t *testing.T) {
	rows, speed, other := Group{"Rows", []Flag{{Names: []string{"--limit"}}}}, Group{"Speed", nil}, Group{"", []Flag{{Names: []string{"--x"}}}}
	root := Command{Name: "prog", Groups: []Group{rows, speed}}
	for _, c := range []struct {
		groups []Group
		want   int
		note   string
	}{
		{[]Group{rows, speed}, 0, "It has the flags of `prog`, above.\n\n"},
		{[]Group{other, speed}, 1, "It also has these flags of `prog`, above: Speed.\n\n"},
		{[]Group{other, {"Rows", nil}}, 2, ""},
	} {
		if own, note := (Command{Depth: 1, Groups: c.groups}).own(root); len(own) != c.want || note != c.note {
			t.Errorf("%v: %v, %q", c.groups, own, note)
		}
	}
	if own, note := root.own(root); len(own) != 2 || note != "" {
		t.Errorf("of the program itself: %v, %q", own, note)
	}
}

func TestMarked(t *testing.T) {
	for in, want := range map[string]string{
		"plain words, no more":              "plain words, no more",
		"with --json (infer.limit) it":      "with `--json` (`infer.limit`) it",
		`by "size", or "workers".`:          "by `size`, or `workers`.",
		"a - b and mmlu_ppl/college_*; yes": "a - b and `mmlu_ppl/college_*`; yes",
	} {
		if got := marked(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// document is a document.
type document struct {
	Version int `json:"version"` // of the document
	part
	List  []item             `json:"list"`
	Times map[string]float64 `json:"times,omitempty"`
	inner int
}

type part struct {
	Rows *int `json:"rows"` // nil: not known
}

// item is one; Name is its own.
type item struct {
	Name string `json:"name"`
}

func TestSchema(t *testing.T) {
	_ = document{}.inner
	source := fstest.MapFS{"internal/clidoc/x.go": {Data: []byte("package clidoc\n\n// document is a document.\ntype document struct {\n" +
		"\tVersion int // of the document\n\tpart\n\tList []item\n}\n\ntype part struct {\n\tRows *int // nil: not known | other than Version\n}\n\n" +
		"// item is one; Name is its own.\ntype item struct {\n\t// its own; see Commands for more of\n\tName string\n}\n")}}
	got, fields, err := Schema([]Document{{"a thing", []string{"prog --json"}, document{}}}, source, "sextant")
	want := "### A thing\n\n```\nprog --json\n```\n\nA document.\n\n| field | type | |\n|---|---|---|\n| `version` | integer | of the document |\n" +
		"| `rows` | integer or null | null: not known \\| other than `version` |\n| `list` | list of [clidoc-item](#clidoc-item) |  |\n" +
		"| `times` | object: name to number, may be absent |  |\n\n" +
		"#### clidoc-item\n\nOne; `name` is its own.\n\n| field | type | |\n|---|---|---|\n| `name` | string | its own |\n"
	if err != nil || got != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
	if len(fields) != 5 || fields[2] != "clidoc-document.list: list of [clidoc-item]" || fields[4] != "clidoc-item.name: string" {
		t.Errorf("fields are %q", fields)
	}
	if _, _, err := Schema([]Document{{"a thing", nil, struct{ A int }{}}}, source, "sextant"); err == nil {
		t.Error("a struct without a name is taken")
	}
}
