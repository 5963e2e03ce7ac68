package spec

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sweepBase is what the sweeps of these tests are laid over.
const sweepBase = `
[[models]]
abbr = "a"
path = "/ckpt/a"
[[models]]
path = "/ckpt/b-7b"
[[quant]]
method = "rtn"
[[quant]]
name = "mine"
method = "awq"
calib = { name = "pileval" }
models = ["b*"]
[[dataset]]
abbr = "x_gen"
mode = "gen"
test.path = "x.jsonl"
train.path = "t.jsonl"
answer = "a"
prompt.template = "{q}"
[[dataset]]
abbr = "y_ppl"
mode = "rolling"
test.path = "y.txt"
[[groups]]
name = "all"
members = ["x_gen"]
`

func loadSweep(t testing.TB, text string) (*Spec, error) {
	t.Helper()
	return load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": sweepBase + text}))
}

// names lists what a spec's entries are called: models, recipes, datasets.
func names(s *Spec) string {
	var models, recipes []string
	for _, m := range s.Models {
		models = append(models, m.Abbr)
	}
	for _, q := range s.Quant {
		recipes = append(recipes, q.Name)
	}
	return strings.Join(models, " ") + " | " + strings.Join(recipes, " ") + " | " + abbrs(s)
}

func TestSweepNames(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"none", "", "a b-7b | rtn-w4g128 mine | x_gen y_ppl"},
		{"a grid of recipes, all its values in the default name", "[sweep.quant]\nfor = 'rtn*'\nbits = [3, 4]\ngroup = [64, 128]",
			"a b-7b | rtn-w3g64 rtn-w3g128 rtn-w4g64 rtn-w4g128 mine | x_gen y_ppl"},
		{"of a recipe with a name", "[sweep.quant]\nfor = 'mine'\nbits = [3, 4]\nawq.clip = [true, false]",
			"a b-7b | rtn-w4g128 mine-bits3-clip_true mine-bits3-clip_false mine-bits4-clip_true mine-bits4-clip_false | x_gen y_ppl"},
		{"what the default name does not tell", "[sweep.quant]\nfor = 'rtn*'\nbits = [3]\nignore = [['*.q_proj'], []]",
			"a b-7b | rtn-w3g128-ignore_q_proj.4c1bd8 rtn-w3g128-ignore_none mine | x_gen y_ppl"},
		{"another method", "[sweep.quant]\nfor = 'rtn*'\nmethod = ['rtn', 'awq']\ncalib.name = ['c4']", ""},
		{"a list of recipes", "[[sweep.quant]]\nfor = 'mine'\nname = 'small'\nbits = 3\n[[sweep.quant]]\nfor = ['rtn-w4g128']\nbits = 8\n[[sweep.quant]]\nfor = 'rtn*'\nname = 'x'\nbits = 2",
			"a b-7b | rtn-w8 rtn-w2g128-x mine-small | x_gen y_ppl"},
		{"a grid of models", "[sweep.models]\nmax_seq_len = [1024, 2048]\nrun_cfg.num_gpus = [1]",
			"a-max_seq_len1024-num_gpus1 a-max_seq_len2048-num_gpus1 b-7b-max_seq_len1024-num_gpus1 b-7b-max_seq_len2048-num_gpus1 | rtn-w4g128 mine | x_gen y_ppl"},
		{"a list of models, one as it is", "[[sweep.models]]\nmax_seq_len = 1024\n[[sweep.models]]\nabbr = 'long'\nmax_seq_len = 2048\n[[sweep.models]]\nfor = 'a'",
			"a-max_seq_len1024 a-long a b-7b-max_seq_len1024 b-7b-long | rtn-w4g128 mine | x_gen y_ppl"},
		{"paths", "[sweep.models]\nfor = 'a'\npath = ['/x/step2', 'y/step10/']", "a-step2 a-step10 b-7b | rtn-w4g128 mine | x_gen y_ppl"},
		{"paths of a model without a name", "[sweep.models]\nfor = 'b-7b'\npath = ['/x/step2', '/y']\nmax_seq_len = [5]",
			"a step2-max_seq_len5 y-max_seq_len5 | rtn-w4g128 mine | x_gen y_ppl"},
		{"texts", "[sweep.models]\nfor = 'a'\nchat_template = ['auto']\nsystem = ['Be brief.', '', 'Answer in one word, and in one word alone.']",
			"a-chat_template_auto-system_Be_brief.213c22 a-chat_template_auto-systeme3b0c4 a-chat_template_auto-system_Answer_in_one_wo.df929c b-7b | rtn-w4g128 mine | x_gen y_ppl"},
		{"datasets", "[sweep.dataset]\nfor = '*_gen'\nfew_shot.kind = ['fixed']\nfew_shot.ids = [[0], [0, 1, 2], [1,2,3,4,5,6,7,8,9,10,11,12]]",
			"a b-7b | rtn-w4g128 mine | x_gen-kind_fixed-ids0 x_gen-kind_fixed-ids0.1.2 x_gen-kind_fixed-ids1.2.3.4.5.6.7.8.e95e44 y_ppl"},
		{"numbers", "[sweep.dataset]\nfor = '*_gen'\ngen.temperature = [0.5, 1]\ngen.max_out_len = [5]",
			"a b-7b | rtn-w4g128 mine | x_gen-temperature0.5-max_out_len5 x_gen-temperature1-max_out_len5 y_ppl"},
		{"files", "[sweep.dataset]\nfor = 'y*'\ntest = [{ path = '/d/v1.txt' }, { path = '/d/v2.txt' }]\nrolling.seq_len = [8]",
			"a b-7b | rtn-w4g128 mine | x_gen y_ppl-test_d_v1.txt.33c5c3-seq_len8 y_ppl-test_d_v2.txt.f88069-seq_len8"},
		{"all three", "[sweep.models]\nfor = 'a'\nmax_seq_len = [1, 2]\n[sweep.quant]\nfor = 'rtn*'\nbits = [3, 4]\n[sweep.dataset]\nfor = 'x_gen'\ngen.max_out_len = [1, 2]",
			"a-max_seq_len1 a-max_seq_len2 b-7b | rtn-w3g128 rtn-w4g128 mine | x_gen-max_out_len1 x_gen-max_out_len2 y_ppl"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := loadSweep(t, c.text)
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), `quant[rtn-w4g128-name_c4].calib: has no effect with method rtn`) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := names(s); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if s.Swept != (c.text != "") {
				t.Errorf("swept is %v", s.Swept)
			}
		})
	}
}

// TestSweepValues holds the entries that a sweep makes against the same ones written out.
func TestSweepValues(t *testing.T) {
	got, err := loadSweep(t, `
[sweep.models]
for = "b-7b"
run_cfg.num_gpus = [1, 2]
[sweep.quant]
for = "mine"
calib.seed = [7]
awq.grid = [3]
[sweep.dataset]
for = "x_gen"
few_shot = [{ kind = "random", k = 2 }, { kind = "fixed", ids = [4] }]
`)
	if err != nil {
		t.Fatal(err)
	}
	part := func(head, body string) string { return head + "\n" + body + "\n" }
	var text strings.Builder
	text.WriteString(part("[[models]]", "abbr = 'a'\npath = '/ckpt/a'"))
	for i := 1; i <= 2; i++ {
		fmt.Fprintf(&text, "[[models]]\npath = '/ckpt/b-7b'\nabbr = 'b-7b-num_gpus%d'\nrun_cfg.num_gpus = %d\n", i, i)
	}
	text.WriteString("[[quant]]\nmethod = 'rtn'\n[[quant]]\nname = 'mine-seed7-grid3'\nmethod = 'awq'\nawq.grid = 3\ncalib = { name = 'pileval', seed = 7 }\n" +
		"models = ['b*']\n")
	for _, few := range []string{"-few_shot_random.2|{ kind = 'random', k = 2 }", "-few_shot_fixed.4|{ kind = 'fixed', ids = [4] }"} {
		suffix, value, _ := strings.Cut(few, "|")
		fmt.Fprintf(&text, "[[dataset]]\nabbr = 'x_gen%s'\nmode = 'gen'\ntest.path = 'x.jsonl'\ntrain.path = 't.jsonl'\nanswer = 'a'\nprompt.template = '{q}'\nfew_shot = %s\n", suffix, value)
		fmt.Fprintf(&text, "[[groups]]\nname = 'all%s'\nmembers = ['x_gen%s']\n", suffix, suffix)
	}
	text.WriteString("[[dataset]]\nabbr = 'y_ppl'\nmode = 'rolling'\ntest.path = 'y.txt'\n")
	want, err := load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": text.String()}))
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	want.Swept = true
	if g, w := mustJSON(t, got), mustJSON(t, want); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

// TestSweepGroups: what becomes of a group whose members are swept.
func TestSweepGroups(t *testing.T) {
	const sweep = "\n[sweep.dataset]\nfor = ['hills', 'towns']\ngen.max_out_len = [1, 2]\n"
	for _, c := range []struct{ name, text, want string }{
		{"one a combination", "datasets = ['hills']\n[[groups]]\nname = 'g'\nmembers = ['hills']\n[sweep.dataset]\ngen.max_out_len = [1, 2]",
			"g-max_out_len1(mean):hills-max_out_len1 g-max_out_len2(mean):hills-max_out_len2"},
		{"with what is not swept, and what is not chosen", "datasets = ['hills', 'towns/peru']\n[[groups]]\nname = 'g'\nmembers = ['*', 'towns-south_sudan']\n[sweep.dataset]\nfor = 'hills'\ngen.max_out_len = [1, 2]",
			"g-max_out_len1(mean):hills-max_out_len1,towns-peru,towns-south_sudan g-max_out_len2(mean):hills-max_out_len2,towns-peru,towns-south_sudan towns-rest(mean):towns-peru"},
		{"named after the sweep", "datasets = ['hills']\n[[groups]]\nname = 'g'\nmembers = ['hills-*']\n[[groups]]\nname = 'h'\nmembers = ['hills-max_out_len2']\n[sweep.dataset]\ngen.max_out_len = [1, 2]",
			"g(mean):hills-* h(mean):hills-max_out_len2"},
		{"other combinations of each", "datasets = ['hills', 'towns/peru']\n[[groups]]\nname = 'g'\nmembers = ['towns-peru', 'hills']\n[[sweep.dataset]]\nfor = 'hills'\ngen.max_out_len = 1\n[[sweep.dataset]]\nfor = 'towns/*'\ngen.max_out_len = 2",
			"g(mean):towns-peru-max_out_len2,hills-max_out_len1 towns-rest-max_out_len2(mean):towns-peru-max_out_len2"},
		{"a family and its own", "datasets = ['towns', 'hills']\n[[groups]]\nname = 'g'\nmembers = ['towns', 'hills']" + sweep,
			"g-max_out_len1(mean):towns-ivory_coast-max_out_len1,towns-peru-max_out_len1,towns-south_sudan-max_out_len1,hills-max_out_len1 " +
				"g-max_out_len2(mean):towns-ivory_coast-max_out_len2,towns-peru-max_out_len2,towns-south_sudan-max_out_len2,hills-max_out_len2 " +
				"towns-max_out_len1(mean):towns-ivory_coast-max_out_len1,towns-peru-max_out_len1,towns-south_sudan-max_out_len1 " +
				"towns-max_out_len2(mean):towns-ivory_coast-max_out_len2,towns-peru-max_out_len2,towns-south_sudan-max_out_len2 " +
				"towns-weighted-max_out_len1(weighted):towns-ivory_coast-max_out_len1,towns-peru-max_out_len1,towns-south_sudan-max_out_len1 " +
				"towns-weighted-max_out_len2(weighted):towns-ivory_coast-max_out_len2,towns-peru-max_out_len2,towns-south_sudan-max_out_len2 " +
				"towns-africa-max_out_len1(mean):towns-south_sudan-max_out_len1,towns-ivory_coast-max_out_len1 " +
				"towns-africa-max_out_len2(mean):towns-south_sudan-max_out_len2,towns-ivory_coast-max_out_len2 " +
				"towns-rest-max_out_len1(mean):towns-peru-max_out_len1 towns-rest-max_out_len2(mean):towns-peru-max_out_len2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := loadText(t, c.text, towns(t))
			if err != nil {
				t.Fatal(err)
			}
			if got := groupNames(s); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestSweepOverIncludes: a member's sweep is of what its base defines, and is laid over its base's sweep; flags win.
func TestSweepOverIncludes(t *testing.T) {
	s, err := load("eval.toml", Options{Overrides: []Override{{"datasets", []string{"y_ppl"}, "--datasets"}}}, inMemory(map[string]string{
		"eval.toml": "include = ['base.toml']\n[[quant]]\nname = 'mine'\nbits = 3\n[sweep.quant]\nfor = 'mine'\nawq.grid = [4]\n",
		"base.toml": sweepBase + "[sweep.quant]\nawq.grid = [1, 2]\nawq.objective = ['output']\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := names(s); got != "a b-7b | rtn-w4g128 mine-grid4-objective_output | y_ppl x_gen" || s.Quant[1].Bits != 3 || s.Quant[1].AWQ.Grid != 4 {
		t.Errorf("%s %+v", got, s.Quant)
	}
}

func TestSweepErrors(t *testing.T) {
	long := strings.Repeat("1,", 10001)
	for _, c := range []struct{ name, text, want string }{
		{"of what is not there", "[sweep.models]\nfor = 'c'\nmax_seq_len = [1]", `eval.toml:29:1: sweep.models.for: "c" is of nothing that is swept here; write "a" or "b-7b"`},
		{"a dataset near", "[sweep.dataset]\nfor = 'x_gem'\ngen.max_out_len = [1]", `sweep.dataset.for: "x_gem" is of nothing that is swept here; did you mean "x_gen"?`},
		{"one name", "[sweep.quant]\nfor='rtn*'\nbits = [3, 3]", `eval.toml:28:8: sweep.quant: two of what there is after the sweep are named "rtn-w3g128"; write the combinations as a list, [[sweep.quant]], and give each name = "..."`},
		{"the name of another", "[[sweep.models]]\nfor = 'a'\nabbr = 'x'\n[[models]]\nabbr = 'a-x'\npath = '/z'", `sweep.models: two of what there is after the sweep are named "a-x"`},
		{"too many", "[sweep.models]\nmax_seq_len = [" + long + "]", `sweep.models: makes more than 10000 entries of 2; sweep fewer values`},
		{"too many by many axes", "[sweep.models]\nmax_seq_len = [" + long[:200] + "]\nmax_out_len = [" + long[:200] + "]", `sweep.models: makes more than 10000 entries of 2`},
		{"too many variants", "[sweep.models]\nmax_seq_len = [" + seq(120) + "]\n[sweep.quant]\nfor = 'mine'\nawq.grid = [" + seq(100) + "]", `sweep: 240 models and 101 recipes make 24240 variants; the most is 10000`},
		{"no table", "sweep = 3", `sweep: is an integer; write [sweep.models], [sweep.quant] or [sweep.dataset]`},
		{"a list of nothing", "[sweep]\nmodels = []", `sweep.models: is empty; write [[sweep.models]] once for each combination, or take it out`},
		{"a list of numbers", "[sweep]\nmodels = [1]", `sweep.models: holds an integer; write [[sweep.models]] once for each combination`},
		{"a number", "[sweep]\nmodels = 1", `sweep.models: is an integer; write a grid, [sweep.models] with a list of values for each key, or a list`},
		{"for alone", "[sweep.models]\nfor = 'a'", `sweep.models: has no key to sweep; write a list of values for one`},
		{"for nothing", "[sweep.models]\nfor = []\nmax_seq_len = [1]", `sweep.models.for: is empty; write what the sweep is of, or take it out for all`},
		{"a name too long", "[[sweep.models]]\nfor='a'\nabbr = '" + strings.Repeat("x", 99) + "'", `eval.toml:28:1: models[a-xxxx`},
		{"what only the combination is", "[sweep.quant]\nfor = 'mine'\nbits = [4, 8]", `eval.toml:30:12: quant[mine-bits8].bits: is 8, and method awq is for 2, 3 or 4`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := c.text
			if strings.HasPrefix(text, "sweep = ") {
				text = "" // the key stands above the first table
			}
			s, err := load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": strings.TrimSuffix(c.text, text) + sweepBase + text}))
			if err == nil || s != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("one mistake is said many times:\n%v", err)
			}
		})
	}
	_, err := loadText(t, "datasets = ['hills']\n[sweep.quant]\nbits = [3]", towns(t))
	if want := `eval.toml:2:8: sweep.quant: there is nothing to sweep: the spec has no [[quant]] table; add one, or take this out`; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func seq(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint(i+1))
	}
	return strings.Join(out, ",")
}

// TestGlobbedModels: one model for each directory, in natural order.
func TestGlobbedModels(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"run/step10", "run/step2", "run/step9/hf", "run/.step3", "other/step1/hf", "lit[1]", "lit1", "one$dollar", "a b"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"run/step10.log", "files1", "files2"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "run/step2"), filepath.Join(dir, "run/step1")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want, paths string }{
		{"steps", "path = 'run/step*'", "step1 step2 step9 step10", "run/step1 run/step2 run/step9 run/step10"},
		{"an abbr", "abbr = 'r'\npath = 'run/step*'\nmax_seq_len = 5", "r-step1 r-step2 r-step9 r-step10", ""},
		{"what the glob leaves open", "path = '*/step*/hf'", "other-step1-hf run-step9-hf", "other/step1/hf run/step9/hf"},
		{"deep", "path = '**/hf'", "other-step1-hf run-step9-hf", ""},
		{"choices", "path = 'run/{step10,step2}'", "step2 step10", ""},
		{"as it is written", "abbr = 'x'\npath = 'lit[1]'", "x", "lit[1]"},
		{"escaped", "path = 'lit[\\[1]*'", "lit1 lit_1_", "lit1 lit[1]"},
		{"a dollar", "path = 'one*'", "one_dollar", "one$dollar"},
		{"a blank", "path = 'a*'", "a_b", "a b"},
		{"swept", "path = 'run/step[12]'\n[sweep.models]\nmax_seq_len = [1, 2]", "step1-max_seq_len1 step1-max_seq_len2 step2-max_seq_len1 step2-max_seq_len2", ""},
		{"in a sweep", "abbr = 'r'\n[sweep.models]\npath = ['run/step?', 'lit1']", "r-step1 r-step2 r-step9 r-lit1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, "eval.toml")
			s, err := Parse(path, "datasets = ['hills']\n[[models]]\n"+c.text, Options{Catalog: towns(t)})
			if err != nil {
				t.Fatal(err)
			}
			var abbrs, paths []string
			for _, m := range s.Models {
				abbrs = append(abbrs, m.Abbr)
				rel, _ := filepath.Rel(dir, m.Path)
				paths = append(paths, rel)
			}
			if got := strings.Join(abbrs, " "); got != c.want || c.paths != "" && strings.Join(paths, " ") != c.paths {
				t.Errorf("got %s (%s)\nwant %s (%s)", got, paths, c.want, c.paths)
			}
			if s.Swept != (c.name != "as it is written") {
				t.Errorf("swept is %v", s.Swept)
			}
		})
	}
	for text, want := range map[string]string{
		"path = 'run/epoch*'":                               `eval.toml:3:1: models[epoch*].path: "run/epoch*" matches nothing; write the directory of a checkpoint, or a glob that matches some`,
		"path = 'files*'":                                   `models[files*].path: "files*" matches ` + dir + `/files1 and no directory; a model is a directory`,
		"path = 's3://bucket/step*/'":                       `models[step*].path: "s3://bucket/step*/" is a glob, and an object store is not searched`,
		"path = 'run/step[1'":                               `models[step[1].path: "run/step[1" as a glob: syntax error in pattern`,
		"path = 'lit[1]x'\nabbr='a'":                        `models[a].path: "lit[1]x" matches nothing`,
		"path = 'run/step*'\n[[models]]\npath = '/x/step2'": `models[step*].path: "run/step*" matches "` + dir + `/run/step2", which makes a second model named "step2"`,
		"path = 'run/step*'\n[[models]]\npath = 'run/s*2'":  `models[s*2].path: "run/s*2" matches "` + dir + `/run/step2", which makes a second model named "step2"`,
		"[sweep.models]\npath = ['run/x*', 'lit1']":         `eval.toml:4:9: sweep.models.path: "run/x*" matches nothing`,
	} {
		_, err := Parse(filepath.Join(dir, "eval.toml"), "datasets = ['hills']\n[[models]]\n"+text, Options{Catalog: towns(t)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: got %v\nwant %s", text, err, want)
		}
	}
}

// TestSweptRecipesOfModels: a recipe for a model is for all that a sweep or a glob makes of it.
func TestSweptRecipesOfModels(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"c/step1", "c/step2"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Parse(filepath.Join(dir, "eval.toml"), `datasets = ["hills"]
[[models]]
abbr = "base"
path = "/m"
[[models]]
abbr = "run"
path = "c/step*"
[[models]]
abbr = "other"
path = "/o"
[[quant]]
method = "rtn"
models = ["base", "run"]
[[quant]]
name = "new"
method = "rtn"
models = ["*-max_seq_len2", "o*"]
[sweep.models]
for = ["base", "run-step2"]
max_seq_len = [1, 2]
`, Options{Catalog: towns(t)})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(s); got != "base-max_seq_len1 base-max_seq_len2 run-step1 run-step2-max_seq_len1 run-step2-max_seq_len2 other | rtn-w4g128 new | hills" {
		t.Error(got)
	}
	var for0, for1 []string
	for _, m := range s.Models {
		if s.Quant[0].For(m.Abbr) {
			for0 = append(for0, m.Abbr)
		}
		if s.Quant[1].For(m.Abbr) {
			for1 = append(for1, m.Abbr)
		}
	}
	if !slices.Equal(for0, []string{"base-max_seq_len1", "base-max_seq_len2", "run-step1", "run-step2-max_seq_len1", "run-step2-max_seq_len2"}) ||
		!slices.Equal(for1, []string{"base-max_seq_len2", "run-step2-max_seq_len2", "other"}) {
		t.Errorf("%q\n%q", for0, for1)
	}
}

func TestNaturalOrder(t *testing.T) {
	want := []string{"", "a", "a01", "a1", "a1b", "a2", "a10", "a10b2", "a10b10", "b", "step99999999999999999998", "step99999999999999999999"}
	rapid.Check(t, func(t *rapid.T) {
		got := rapid.Permutation(want).Draw(t, "order")
		slices.SortFunc(got, natural)
		if !slices.Equal(got, want) {
			t.Fatalf("%q", got)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		of := rapid.StringMatching(`[a0-2]{0,4}`)
		a, b, c := of.Draw(t, "a"), of.Draw(t, "b"), of.Draw(t, "c")
		if natural(a, b) != -natural(b, a) || (natural(a, b) == 0) != (a == b) || natural(a, b) < 0 && natural(b, c) < 0 && natural(a, c) >= 0 {
			t.Fatalf("%q %q %q are in no order", a, b, c)
		}
	})
}

// TestAnyGrid holds of any grid: as many entries as the product of its axes, all names apart and fit for file names, the same each time,
// and each entry with its values.
func TestAnyGrid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seqs := rapid.SliceOfNDistinct(rapid.IntRange(0, 99), 1, 4, rapid.ID).Draw(t, "max_seq_len")
		texts := rapid.SliceOfNDistinct(rapid.StringMatching(`[ -~é]{1,40}`), 1, 4, rapid.ID).Draw(t, "system")
		raw, _ := json.Marshal(texts)
		text := fmt.Sprintf("[[models]]\nabbr = \"m\"\npath = \"/m\"\n[[models]]\nabbr = \"n\"\npath = \"/m\"\nchat_template = \"auto\"\n[sweep.models]\nfor = \"n\"\nmax_seq_len = [%s]\nsystem = %s\n",
			strings.Trim(fmt.Sprint(strings.Join(strings.Fields(fmt.Sprint(seqs)), ",")), "[]"), raw)
		text = "[[dataset]]\nabbr = \"d\"\nmode = \"rolling\"\ntest.path = \"y.txt\"\n" + text
		read := func() (*Spec, error) {
			return load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": text}))
		}
		s, err := read()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if len(s.Models) != 1+len(seqs)*len(texts) {
			t.Fatalf("%d models", len(s.Models))
		}
		seen := map[string]bool{}
		for i, m := range s.Models[1:] {
			if seen[m.Abbr] || !isName(m.Abbr) || m.MaxSeqLen != seqs[i/len(texts)] || m.System != texts[i%len(texts)] {
				t.Fatalf("model %d: %+v", i, m)
			}
			seen[m.Abbr] = true
		}
		if again, _ := read(); names(again) != names(s) {
			t.Fatal("the names change")
		}
	})
}

// TestLargeSweep holds that the largest sweep there may be is read in seconds.
func TestLargeSweep(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of models")
	}
	s, err := loadSweep(t, "[sweep.models]\nfor = 'a'\nmax_seq_len = ["+seq(99)+"]\nmax_out_len = ["+seq(50)+"]")
	if err != nil || len(s.Models) != 4951 {
		t.Fatal(err)
	}
	if w := s.Warnings(); len(w) > 0 {
		t.Errorf("%q", w)
	}
}
