package spec

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"
)

var update = flag.Bool("update", false, "write the golden files")

// testCatalog is testdata/catalog as a Catalog.
type testCatalog map[string]Dataset

func (c testCatalog) Names() []string {
	var out []string
	for name := range c {
		out = append(out, name)
	}
	return out
}

func (c testCatalog) Lookup(name string) (Dataset, bool) {
	d, ok := c[name]
	return d, ok
}

func readCatalog(t testing.TB) testCatalog {
	t.Helper()
	files, err := filepath.Glob("testdata/catalog/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no catalog", err)
	}
	c := testCatalog{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".toml")
		if c[name], err = DecodeDataset(name, data); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func golden(t *testing.T, path string, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs (-update writes it):\n got:\n%s\nwant:\n%s", path, got, want)
	}
}

func specs(t *testing.T, pattern string) []string {
	t.Helper()
	t.Setenv("SPEC_TEST_USER", "ann")
	t.Setenv("HOME", "/home/ann")
	os.Unsetenv("SPEC_TEST_UNSET")
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal("no specs", err)
	}
	return files
}

// mustJSON is a value's JSON with this directory written as DIR.
func mustJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), dir, "DIR") + "\n"
}

func TestGoodSpecs(t *testing.T) {
	catalog := readCatalog(t)
	for _, path := range specs(t, "testdata/*.good.toml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := Load(path, Options{Catalog: catalog})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".toml")+".json", mustJSON(t, s))
			data, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var back Spec
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*s, back) {
				t.Errorf("changed by a journey through JSON:\n%+v\n%+v", *s, back)
			}
		})
	}
}

func TestBadSpecs(t *testing.T) {
	catalog := readCatalog(t)
	for _, path := range specs(t, "testdata/*.bad.toml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := Load(path, Options{Catalog: catalog})
			if err == nil || s != nil {
				t.Fatalf("got %v, %v; want an error alone", s, err)
			}
			golden(t, strings.TrimSuffix(path, ".toml")+".txt", err.Error()+"\n")
			for range 5 {
				if _, again := Load(path, Options{Catalog: catalog}); again.Error() != err.Error() {
					t.Fatalf("the error changes from call to call:\n%v\n%v", err, again)
				}
			}
			var all *multierror.Error
			if !errors.As(err, &all) {
				t.Fatalf("%T is not a list of errors", err)
			}
			for _, e := range all.Errors {
				var one *Error
				if !errors.As(e, &one) || one.File == "" || one.Text == "" {
					t.Errorf("%v: %T without its place", e, e)
				}
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load("testdata/absent.toml", Options{})
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != `reading spec "testdata/absent.toml": no such file or directory` {
		t.Error(err)
	}
	if _, err = Load("testdata", Options{}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestHugeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, Options{}); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Error(err)
	}
}

func TestOverrides(t *testing.T) {
	catalog := readCatalog(t)
	s, err := Load("testdata/member.good.toml", Options{Catalog: catalog, Overrides: []Override{
		{"infer.max_num_workers", 3, "--max-num-workers"},
		{"infer.limit", int64(10), "--limit"},
		{"work_dir", "elsewhere", "--work-dir"},
		{"data_dir", "mydata", "--data-dir"},
		{"datasets", []string{"siqa_*"}, "--datasets"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	cwd, _ := os.Getwd()
	if s.Infer.MaxNumWorkers != 3 || s.Infer.Limit != 10 || s.Infer.MaxPartitionSize != 40000 || s.WorkDir != "elsewhere" {
		t.Errorf("%+v", s)
	}
	if want := filepath.Join(cwd, "mydata/siqa/dev.jsonl"); s.Datasets[0].Test.Path != want {
		t.Errorf("a flag's path is relative to the current directory: got %s, want %s", s.Datasets[0].Test.Path, want)
	}
	var abbrs []string
	for _, d := range s.Datasets {
		abbrs = append(abbrs, d.Abbr)
	}
	if want := []string{"siqa_gen", "siqa_ppl", "extra"}; !slices.Equal(abbrs, want) {
		t.Errorf("datasets %v, want %v", abbrs, want)
	}

	_, err = Load("testdata/minimal.good.toml", Options{Catalog: catalog, Overrides: []Override{
		{"infer.max_num_workers", 0, "--max-num-workers"},
		{"infer.retry", "two", "--retry"},
		{"datasets", []string{"siqa_gem"}, "--datasets"},
	}})
	want := `--datasets: datasets: "siqa_gem" is neither in the catalog nor a [[dataset]] table of this spec; did you mean "siqa_gen"?
--max-num-workers: infer.max_num_workers: is 0; the least is 1
--retry: infer.retry: is a string; write an integer`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, err = Load("testdata/minimal.good.toml", Options{Overrides: []Override{{"infer", struct{}{}, "--x"}}}); err == nil {
		t.Error("a struct was laid over a spec")
	}
}

func TestWarnings(t *testing.T) {
	s := Spec{Models: []Model{{Abbr: "a", Path: "/m"}, {Abbr: "b", Path: "/m", MaxSeqLen: 5}, {Abbr: "c", Path: "/m"}}}
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], `"a" and "c"`) {
		t.Error(w)
	}
}

// TestWarnsOfUnevaluated holds that a model of which nothing is evaluated is told of.
func TestWarnsOfUnevaluated(t *testing.T) {
	s := Spec{Models: []Model{{Abbr: "a", Path: "/m"}, {Abbr: "b", Path: "/n"}}, Quant: []Quant{{Method: "rtn", Models: []string{"a"}}}}
	if got := s.Warnings(); got != nil {
		t.Errorf("%q", got)
	}
	s.Eval.Positions = []string{Packed}
	if got := s.Warnings(); len(got) != 1 || got[0] != `nothing of "b" is evaluated: eval.positions lacks "pretrain", and no recipe is for it` {
		t.Errorf("%q", got)
	}
}

// TestWarnsOnce holds that many models of one checkpoint are told of in one sentence.
func TestWarnsOnce(t *testing.T) {
	s := Spec{Models: []Model{{Abbr: "a", Path: "/m"}, {Abbr: "b", Path: "/n"}, {Abbr: "c", Path: "/m"}, {Abbr: "d", Path: "/m"}}}
	if got := s.Warnings(); len(got) != 1 || !strings.Contains(got[0], `models "a" and "c" and "d" are the same checkpoint (/m)`) {
		t.Errorf("%q", got)
	}
}

func TestDecodeDataset(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"abbr = \"other\"\nbase = \"z\"\nmode = \"rolling\"\ntest.path = \"/x.txt\"", `x.toml:1:1: abbr: is "other"; a catalog entry's abbr is its file's name
x.toml:2:1: base: is for [[dataset]] tables; a catalog entry is whole`},
		{"mode = ", "x.toml:1:8: not TOML: expected value but found '\\n' instead\n    mode = \n           ^"},
		{"mode = \"gen\"\ntest.path = \"x.jsonl\"\nanswer = \"a\"\nprompt.tempate = \"x\"", `x.toml:4:8: prompt.tempate: unknown key; did you mean "template"?`},
	} {
		if _, err := DecodeDataset("x", []byte(c.doc+"\n")); err == nil || err.Error() != c.want {
			t.Errorf("%q: got\n%v\nwant\n%s", c.doc, err, c.want)
		}
	}
	d, err := DecodeDataset("x", []byte("mode = \"rolling\"\ntest.path = \"a/${B}.txt\"\n"))
	if err != nil || d.Abbr != "x" || d.Test.Path != "a/${B}.txt" || d.Rolling.SeqLen != 0 {
		t.Errorf("%+v, %v: want the entry as it is written", d, err)
	}
}

func TestFormatOf(t *testing.T) {
	for path, want := range map[string]string{"/d/a.jsonl": "jsonl", "a.JSONL.GZ": "jsonl", "a.ndjson": "jsonl", "b.csv.gz": "csv", "a.gz": "", "a": "", "x.dat": ""} {
		if got := FormatOf(path); got != want {
			t.Errorf("the format of %q is %q, want %q", path, got, want)
		}
	}
}
