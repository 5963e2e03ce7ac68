package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"
	"pgregory.net/rapid"
)

// inMemory reads files of the current directory.
func inMemory(files map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
}

// entry is a table of a spec: the header and the lines under it.
type entry struct {
	header string
	lines  []string // key = final value
	stale  []string // the same keys with another value
	id     string   // the line that says which entry it is
}

func drawEntries(t *rapid.T) []entry {
	value := func(key string, n int) string {
		switch {
		case strings.HasPrefix(key, "prompt.template"):
			return fmt.Sprintf(`%s = { round = [{ role = "HUMAN", prompt = "%d" }] }`, key, n)
		case strings.HasSuffix(key, "path"):
			return fmt.Sprintf(`%s = "f%d.jsonl"`, key, n)
		case strings.HasSuffix(key, "stop"), strings.HasSuffix(key, "members"):
			return fmt.Sprintf(`%s = ["d%d", "d0"]`, key, n%2)
		case key == "extra":
			return fmt.Sprintf(`extra = ["--nice=%d", "--hold"]`, n)
		case strings.HasPrefix(key, "env."), key == "partition", strings.HasSuffix(key, "description"), strings.HasSuffix(key, "map.\"a.b\""), strings.HasSuffix(key, "separator"):
			return fmt.Sprintf(`%s = "v%d"`, key, n)
		}
		return fmt.Sprintf("%s = %d", key, n)
	}
	fill := func(header, id string, must []string, may ...string) entry {
		e := entry{header: header, id: id}
		for _, key := range may {
			if rapid.Bool().Draw(t, key) {
				must = append(must, key)
			}
		}
		for _, key := range must {
			n := rapid.IntRange(1, 9).Draw(t, key)
			e.lines = append(e.lines, value(key, n))
			e.stale = append(e.stale, value(key, n+1))
		}
		return e
	}
	out := []entry{
		fill("[infer]", "", nil, "retry", "limit", "max_num_workers"),
		fill("[local]", "", nil, "threads"),
		fill("[slurm]", "", nil, "cpus", "partition", "extra", "env.A", "env.B"),
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "models") {
		out = append(out, fill("[[models]]", fmt.Sprintf("abbr = \"m%d\"", i), []string{"path"}, "max_seq_len", "run_cfg.num_gpus", "run_cfg.num_procs"))
	}
	for i := range rapid.IntRange(2, 4).Draw(t, "datasets") {
		e := fill("[[dataset]]", fmt.Sprintf("abbr = \"d%d\"\nmode = \"gen\"\nanswer = \"a\"", i), []string{"test.path", "prompt.template"},
			"train.path", "description", "gen.max_out_len", "gen.stop", "cost_factor", "prompt.separator")
		e.lines = append(e.lines, "columns.c.from = \"x\"")
		e.stale = append(e.stale, "columns.c.from = \"y\"")
		out = append(out, e)
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "groups") {
		out = append(out, fill("[[groups]]", fmt.Sprintf("name = \"g%d\"", i), []string{"members"}))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "recipes") {
		out = append(out, fill("[[quant]]", fmt.Sprintf("name = \"q%d\"\nmethod = \"awq\"\ncalib.name = \"c4\"", i), nil,
			"group", "awq.grid", "calib.samples", "calib.seed"))
	}
	return out
}

// TestIncludeIsTheSingleFile holds that a file split in two by include, with values of the first half overwritten in the second, is
// the file.
func TestIncludeIsTheSingleFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var base, top, whole strings.Builder
		top.WriteString("include = [\"base.toml\"]\n")
		var late []string
		for _, e := range drawEntries(t) {
			var b, o []string
			for i, line := range e.lines {
				switch rapid.IntRange(0, 2).Draw(t, "side") {
				case 0:
					b = append(b, line)
				case 1:
					o = append(o, line)
				default:
					b, o = append(b, e.stale[i]), append(o, line)
				}
			}
			single := strings.Join(append([]string{e.header, e.id}, e.lines...), "\n") + "\n"
			if len(b) > 0 {
				fmt.Fprintln(&base, strings.Join(append([]string{e.header, e.id}, b...), "\n"))
				whole.WriteString(single)
			} else {
				late = append(late, single) // first seen in the second file
			}
			if len(o) > 0 || len(b) == 0 {
				fmt.Fprintln(&top, strings.Join(append([]string{e.header, e.id}, o...), "\n"))
			}
		}
		whole.WriteString(strings.Join(late, ""))

		want, err := load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": whole.String()}))
		if err != nil {
			t.Fatalf("%v in\n%s", err, whole.String())
		}
		got, err := load("eval.toml", Options{}, inMemory(map[string]string{"eval.toml": top.String(), "base.toml": base.String()}))
		if err != nil {
			t.Fatalf("%v in\n%s\nwith base\n%s", err, top.String(), base.String())
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%+v\nwant\n%+v\nof\n%s\nwith base\n%s", got, want, top.String(), base.String())
		}
	})
}

func TestIncludeTwice(t *testing.T) {
	// Two files include one base; what the first of them changes stays changed.
	s, err := load("eval.toml", Options{}, inMemory(map[string]string{
		"eval.toml": "include = ['a.toml', 'b.toml']",
		"a.toml":    "include = ['base.toml']\n[infer]\nretry = 7",
		"b.toml":    "include = ['base.toml']",
		"base.toml": "[infer]\nretry = 1\n[[models]]\npath = '/m'\n[[dataset]]\nabbr = 'd'\nmode = 'rolling'\ntest.path = '/x.txt'",
	}))
	if err != nil || s.Infer.Retry != 7 {
		t.Errorf("%+v, %v: want retry 7", s, err)
	}
}

func TestEndlessInclude(t *testing.T) {
	_, err := load("f.toml", Options{}, func(string) ([]byte, error) { return []byte("include = ['d/f.toml']"), nil })
	if err == nil || !strings.Contains(err.Error(), ":1:12: include: is nested more than 20 deep") {
		t.Error(err)
	}
}

func FuzzLoad(f *testing.F) {
	catalog := readCatalog(f)
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range append(files, "testdata/inc/base.toml") {
		data, err := readFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), "[infer]\nretry = 3\n")
		f.Add("include = ['base.toml']\ndatasets = ['siqa*']\n[[models]]\npath='/m'", string(data))
	}
	f.Add(sweepBase+"[sweep.models]\nfor = 'a'\nmax_seq_len = [1, 2]\npath = ['x*']\n[[sweep.quant]]\nname = 'n'\nbits = 3\n[sweep.dataset]\ngen.stop = [['a'], []]", "")
	glob := func(pattern string) ([]string, error) { return []string{"/", "/" + pattern}, nil }
	f.Fuzz(func(t *testing.T, eval, base string) {
		s, err := load("eval.toml", Options{Catalog: catalog, glob: glob}, inMemory(map[string]string{"eval.toml": eval, "base.toml": base, "site.toml": ""}))
		if err != nil {
			var all *multierror.Error
			if s != nil || !errors.As(err, &all) || len(all.Errors) == 0 {
				t.Fatalf("%v with %T %v", s, err, err)
			}
			for _, e := range all.Errors {
				var one *Error
				if !errors.As(e, &one) || !strings.HasSuffix(one.File, ".toml") && !strings.HasPrefix(one.File, "catalog entry ") {
					t.Fatalf("an error without its file: %v", e)
				}
			}
			return
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Spec
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*s, back) {
			t.Fatalf("changed by a journey through JSON:\n%+v\n%+v", *s, back)
		}
	})
}
