package plan

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"

	"sextant/pkg/dataset"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// pocket loads the embedded default's spec.
func pocket(t *testing.T) spec.Spec {
	t.Helper()
	catalog, err := dataset.NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.Load("../../examples/pocket/eval.toml", spec.Options{Catalog: catalog})
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

func planOf(t *testing.T, s spec.Spec) *Plan {
	t.Helper()
	in, err := Survey(s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Make(s, in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSurveyPocket(t *testing.T) {
	s := pocket(t)
	p := planOf(t, s)
	if again := planOf(t, s); again.Digest != p.Digest {
		t.Error("the same files gave two plans")
	}
	for _, task := range p.Tasks {
		if task.Rows < 1 || len(task.Digest) != 16 || len(task.Settings) != 16 || len(task.Prompt) != 6 {
			t.Errorf("task %+v", task)
		}
	}
	if f := p.Variants[0].Fingerprint; len(f) != 32 {
		t.Errorf("fingerprint %q", f)
	}
	// The weights' file holds every tensor once, and a header.
	info, err := os.Stat(filepath.Join(s.Models[0].Path, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Variants[0]; v.WeightBytes > info.Size() || v.WeightBytes < info.Size()*98/100 || v.Params*2 != v.WeightBytes {
		t.Errorf("%d parameters, %d bytes, in a file of %d", v.Params, v.WeightBytes, info.Size())
	}
	path := filepath.Join(t.TempDir(), "plan.json")
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path); err != nil || !reflect.DeepEqual(got.Tasks, p.Tasks) {
		t.Errorf("loaded: %v", err)
	}
	s.Infer.Limit = 5
	limited := planOf(t, s)
	for i, task := range limited.Tasks {
		if rolling := strings.HasSuffix(task.ID, "_text"); !rolling && (task.Rows != 5 || task.Digest != p.Tasks[i].Digest) {
			t.Errorf("limited: %+v, without limit %+v", task, p.Tasks[i])
		}
	}
}

// A model that is the same but for the directory it lies in is the same; another tokenizer makes it another.
func TestFingerprintOfWhere(t *testing.T) {
	s := pocket(t)
	s.Datasets = s.Datasets[:1]
	want := planOf(t, s).Variants[0].Fingerprint
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.Models[0].Path)); err != nil {
		t.Fatal(err)
	}
	s.Models[0].Path, s.Models[0].TokenizerPath = dir, dir
	if got := planOf(t, s).Variants[0].Fingerprint; got != want {
		t.Error("a copy of the model is another model")
	}
	config := filepath.Join(dir, "tokenizer_config.json")
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append(b, ' '), 0o666); err != nil {
		t.Fatal(err)
	}
	if got := planOf(t, s).Variants[0].Fingerprint; got == want {
		t.Error("another tokenizer file is not noticed")
	}
}

// All that is wrong is told at once, each thing once and by name, though two models run into it.
func TestSurveyTellsAll(t *testing.T) {
	s := pocket(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rows := strings.Repeat(`{"q":"x","a":"y"}`+"\n", 17)
	own := func(abbr, path string) spec.Dataset {
		return spec.Dataset{Abbr: abbr, Mode: spec.Gen, Answer: "a", Test: spec.Files{Path: path}, Prompt: spec.Prompt{Template: &spec.Template{Text: "{q}"}}}.WithDefaults()
	}
	column := own("columns", write("columns.jsonl", rows))
	column.Prompt.Template = &spec.Template{Text: "{question}"}
	s.Datasets = append(s.Datasets, own("missing", filepath.Join(dir, "none.jsonl")), own("empty", write("empty.jsonl", "")),
		own("malformed", write("malformed.jsonl", rows+"{\"q\":\n")), column)
	ok := s.Models[0]
	model := func(abbr string, change func(dir string)) spec.Model {
		m := ok
		m.Abbr, m.Path = abbr, filepath.Join(dir, abbr)
		if err := os.CopyFS(m.Path, os.DirFS(ok.Path)); err != nil {
			t.Fatal(err)
		}
		m.TokenizerPath = m.Path
		change(m.Path)
		return m
	}
	edit := func(old, new string) func(string) {
		return func(dir string) {
			path := filepath.Join(dir, "config.json")
			b, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(b), old) {
				t.Fatalf("%s: %v, want %s in it", path, err, old)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), old, new)), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Models = append(s.Models,
		model("unknown", edit("Llama", "Mamba")),
		model("cut", func(dir string) {
			if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 5000); err != nil {
				t.Fatal(err)
			}
		}),
		model("big", func(string) {}))
	s.Models[len(s.Models)-1].TokenizerPath = write("ranks.tiktoken", ranks(128000))
	_, err := Survey(s)
	var many *multierror.Error
	if !errors.As(err, &many) {
		t.Fatalf("error %v", err)
	}
	wants := []string{"none.jsonl", "empty.jsonl", "malformed.jsonl", `{question}`, `model "unknown"`, `model "cut"`, `model "big"`}
	if len(many.Errors) != len(wants) {
		t.Errorf("%d errors, want %d", len(many.Errors), len(wants))
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in\n%v", want, err)
		}
	}
	for _, want := range []string{"line 18", "Mamba", "has 128256 tokens"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

// SameRow knows the rows of now by their digests, of items and of windows.
func TestSameRow(t *testing.T) {
	p := planOf(t, pocket(t))
	for _, task := range p.Tasks {
		digest, err := rowDigests(p, task)
		if err != nil {
			t.Fatal(err)
		}
		d, err := digest(task.Rows - 1)
		if err != nil {
			t.Fatal(err)
		}
		same := SameRow(p, task)
		if !same(result.Record{Row: task.Rows - 1, Digest: d}) {
			t.Errorf("%s: a row is not the same as itself", task.ID)
		}
		for _, r := range []result.Record{{Row: 0, Digest: d}, {Row: task.Rows, Digest: d}, {Row: task.Rows - 1, Digest: "x"}} {
			if task.Rows > 1 && same(r) {
				t.Errorf("%s: row %d is the same as %+v", task.ID, task.Rows-1, r)
			}
		}
	}
	p.Spec.Datasets[0].Test.Path += ".gone"
	if SameRow(p, p.Tasks[0])(result.Record{}) {
		t.Error("a row of a file that is gone is the same")
	}
}

// ranks is a tiktoken file of n tokens: the bytes, and then threes of them, as many as Llama 3 has.
func ranks(n int) string {
	var b strings.Builder
	for i := range n {
		token := []byte{byte(i)}
		if i >= 256 {
			token = []byte{byte(i >> 16), byte(i >> 8), byte(i)}
		}
		fmt.Fprintf(&b, "%s %d\n", base64.StdEncoding.EncodeToString(token), i)
	}
	return b.String()
}

// A layout that the spec names is held against the files.
func TestModelType(t *testing.T) {
	m := pocket(t).Models[0]
	for name, want := range map[string]string{"": "", "hf": "", "converted": "wants params.json"} {
		m.ModelType = name
		f, err := OpenModel(&m)
		if err == nil {
			f.Checkpoint.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("model_type %q: %v, want %q", name, err, want)
		}
	}
}
