package dataset

import (
	"os"
	"strings"
	"testing"
	"time"

	"sextant/pkg/spec"
)

func TestPromptHash(t *testing.T) {
	base := "mode = 'ppl'\nanswer = 'gold'\n[prompt.labels]\n0 = 'x {q}'\n1 = 'y {q}'"
	hash := func(toml string) string {
		return PromptHash(entry(t, toml, sampleTest, sampleTrain), nil)
	}
	want := hash(base)
	if len(want) != 6 {
		t.Fatalf("hash %q", want)
	}
	for name, same := range map[string]string{
		"other order":          "answer = 'gold'\nmode = 'ppl'\n[prompt.labels]\n1 = 'y {q}'\n0 = 'x {q}'",
		"a default written":    "ppl.denominator = 'n'\n" + base,
		"another separator":    strings.Replace(base, "[prompt.labels]", "prompt.separator = \"\\n\"\n[prompt.labels]", 1),
		"metric and its words": "metric = 'accuracy'\ndescription = 'x'\n" + base,
	} {
		if got := hash(same); got != want {
			t.Errorf("%s: hash %s, want %s", name, got, want)
		}
	}
	for name, other := range map[string]string{
		"a label's text":  strings.Replace(base, "x {q}", "x  {q}", 1),
		"the denominator": "ppl.denominator = 'n-1'\n" + base,
		"examples":        "few_shot = { kind = 'fixed', ids = [0] }\n" + base,
		"a column":        "columns.z = { from = 'q' }\n" + base,
	} {
		if got := hash(other); got == want {
			t.Errorf("%s does not change the hash", name)
		}
	}
	if PromptHash(entry(t, base, sampleTest, ""), &Roles{Meta: chat}) == want {
		t.Error("a meta template does not change the hash")
	}
}

func TestDigests(t *testing.T) {
	base := "mode = 'gen'\nanswer = 'a'\n[prompt]\ntemplate = '{q}'\nexample = '{a}'"
	few := "few_shot = { kind = 'fixed', ids = [0] }\n" + base
	digest := func(toml, test, train, settings string, roles *Roles) string {
		return item(t, open(t, entry(t, toml, test, train)), 0, roles).Digest(settings)
	}
	want := digest(few, sampleTest, sampleTrain, "s", nil)
	if len(want) != 16 {
		t.Fatalf("digest %q", want)
	}
	reordered := `{"a":"2", "gold":0,"opts":["2","3"],  "q":"1+1?"}` + "\n"
	if got := digest(few, reordered, sampleTrain, "s", nil); got != want {
		t.Errorf("the order of a row's keys changes the digest")
	}
	for name, got := range map[string]string{
		"settings":        digest(few, sampleTest, sampleTrain, "t", nil),
		"another value":   digest(few, strings.Replace(reordered, "3", "4", 1), sampleTrain, "s", nil),
		"the prompt":      digest(strings.Replace(few, "{q}", "{q}.", 1), sampleTest, sampleTrain, "s", nil),
		"the example":     digest(few, sampleTest, strings.Replace(sampleTrain, "b0\"}", "b00\"}", 1), "s", nil),
		"no example":      digest(base, sampleTest, sampleTrain, "s", nil),
		"the gold answer": digest(strings.Replace(few, "'a'", "'gold'", 1), sampleTest, sampleTrain, "s", nil),
	} {
		if got == want {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func TestSetDigest(t *testing.T) {
	toml := "mode = 'gen'\nanswer = 'a'\n[few_shot]\nkind = 'fixed'\nids = [0]\n[prompt]\ntemplate = '{q}'\nexample = '{a}'"
	d := entry(t, toml, sampleTest, sampleTrain)
	digest := func(d spec.Dataset, limit int) string {
		t.Helper()
		s, err := Open(d, limit)
		if err != nil {
			t.Fatal(err)
		}
		h, err := s.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	want := digest(d, 0)
	if got := digest(d, 1); got != want {
		t.Error("the limit changes the digest of the files")
	}
	if got := digest(entry(t, toml, sampleTest, sampleTrain), 0); got != want {
		t.Error("the place of the files changes their digest")
	}
	if got := digest(entry(t, toml, sampleTest+"\n", sampleTrain), 0); got == want {
		t.Error("another byte in the test file does not change the digest")
	}
	if got := digest(entry(t, toml, sampleTest, sampleTrain+"\n"), 0); got == want {
		t.Error("another byte in the train file does not change the digest")
	}
	s := open(t, d)
	if err := os.Chtimes(d.Test.Path, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Digest()
	wantError(t, err, "test.jsonl was changed while it was used")
}
