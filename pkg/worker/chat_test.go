package worker

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// chatty is the pocket model in a directory of its own, with a chat template.
func chatty(t *testing.T, template string) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob(pocket + "/model/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		f, err := filepath.Abs(f)
		if err == nil {
			err = os.Symlink(f, filepath.Join(dir, filepath.Base(f)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestChatIsItsText: a template that writes what the plain prompt has, its BOS too, comes to the same tokens and so to the same records,
// but for the digests. A template without a BOS comes to prompts without one.
func TestChatIsItsText(t *testing.T) {
	run := func(path, key string) map[string][]result.Record {
		t.Helper()
		dir, p := planned(t, given(t, `
models = [{ abbr = "pocket", path = "`+path+`"`+key+` }]
datasets = ["pocket_gsm", "likely", "pocket_cloze"]
[[dataset]]
abbr = "likely"
base = "pocket_cloze"
mode = "ll"
prompt = { context = "{ctx} ", choice = "{choice}", choices = "endings" }
`, limit(4)))
		if err := work(t, dir, p, 1); err != nil {
			t.Fatal(err)
		}
		out := map[string][]result.Record{}
		for _, name := range []string{"pocket_gsm", "likely", "pocket_cloze"} {
			out[name] = records(t, dir, p, "pocket/"+name)
		}
		return out
	}
	plain := run("$POCKET/model", "")
	same := run(chatty(t, "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"), `, chat_template = "auto"`)
	for name, want := range plain {
		for i, r := range same[name] {
			if r.Digest == want[i].Digest {
				t.Errorf("%s row %d: a chat model's record has the digest of a plain one", name, i)
			}
			r.Digest = want[i].Digest
			if !reflect.DeepEqual(r, want[i]) {
				t.Errorf("%s row %d:\ngot  %+v\nwant %+v", name, i, r, want[i])
			}
		}
	}
	bare := run(chatty(t, "{% for m in messages %}{{ m.content }}{% endfor %}"), `, chat_template = "auto"`)
	if got, want := bare["pocket_gsm"][0].PromptTokens, plain["pocket_gsm"][0].PromptTokens-1; got != want {
		t.Errorf("%d tokens of a prompt without BOS, want %d", got, want)
	}
}

// A generation ends with what the model's files say, with the tokenizer's EOS, and with the token behind an assistant's words.
func TestChatEnds(t *testing.T) {
	for _, c := range []struct {
		template string
		more     bool
	}{
		{"{% for m in messages %}{{ m.content }}{{ bos_token }}\n{% endfor %}", true},
		{"{% for m in messages %}{{ m.content }} and so on{% endfor %}", false},
	} {
		m := spec.Model{Abbr: "chatty", Path: chatty(t, c.template), ChatTemplate: "auto"}
		f, err := plan.OpenModel(&m)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Checkpoint.Close()
		w := &worker{model: m, loaded: &loaded{ck: f.Checkpoint, tok: f.Tokenizer}}
		got, err := w.ends()
		if err != nil {
			t.Fatal(err)
		}
		eos, _ := f.Tokenizer.EOS()
		want := []int32{eos}
		if c.more {
			want = append(want, f.Tokenizer.EncodeRendered("<s>")[0])
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q ends with %v, want %v", c.template, got, want)
		}
	}
}
