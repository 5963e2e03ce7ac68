//go:build conformance

package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sextant/pkg/spec"
)

// bench is a file of the outside data that SEXTANT_DATA names.
func bench(t *testing.T, path string) string {
	t.Helper()
	root := os.Getenv("SEXTANT_DATA")
	if root == "" {
		t.Fatal("set SEXTANT_DATA to the folder with the outside data")
	}
	return filepath.Join(root, "bench", path)
}

// dataDir is a data directory in which each name is a link to a file of the outside data.
func dataDir(t *testing.T, links map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, path := range links {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		target, err := filepath.Abs(bench(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, at); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// hash3 is a hash of the prompts, labels and gold of the first, middle and last row.
func hash3(t *testing.T, s *Set) string {
	h := sha256.New()
	for _, row := range []int{0, s.Len() / 2, s.Len() - 1} {
		it := item(t, s, row, nil)
		put(h, it.Labels...)
		put(h, it.Gold...)
		for _, p := range it.Prompts(it.Examples()) {
			put(h, p.Text)
			put(h, p.Continuations...)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// TestCatalogOnRealFiles opens the entries whose real files are at hand, in their own names and in their own formats.
func TestCatalogOnRealFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		links map[string]string
		alter func(*spec.Dataset)
		rows  int
		hash  string
	}{
		{"piqa_ppl", map[string]string{"piqa/dev.jsonl": "piqa/valid.jsonl", "piqa/dev-labels.lst": "piqa/valid-labels.lst"}, nil, 1838, "4f80faa270fea3e0"},
		{"gsm8k_gen", map[string]string{"gsm8k/test.jsonl": "gsm8k/test.jsonl"}, nil, 1319, "ba34796096312e5f"},
		{"gsm8k_gen", map[string]string{"gsm8k/test.jsonl": "gsm8k/test.jsonl", "gsm8k/train.jsonl": "gsm8k/train.jsonl"}, func(d *spec.Dataset) {
			d.FewShot = spec.FewShot{Kind: "random", K: 2, Seed: 1}
		}, 1319, "6d75425eadbfb9cb"},
		// These files are not in OpenCompass's shape: what differs is said in columns, as a user would.
		{"hellaswag_ppl", map[string]string{"hellaswag/hellaswag.jsonl": "hellaswag/hellaswag.jsonl"}, func(d *spec.Dataset) {
			d.Columns = map[string]spec.Column{"choices": {From: "endings"}, "gold": {From: "label"}}
		}, 1000, "00b724758c621531"},
		{"lambada_gen", map[string]string{"lambada/test.jsonl": "lambada/lambada_test.jsonl"}, func(d *spec.Dataset) {
			d.Columns = map[string]spec.Column{
				"prompt": {From: "text", Regex: `(?s)^(.*) [^ ]*$`}, "label": {From: "text", Regex: `(?s)^.* ([^ ]*)$`},
			}
		}, 5153, "8570e33e6b446963"},
		{"winograd_ppl", nil, func(d *spec.Dataset) { d.Test.Path = wsc273(t) }, 273, "1dab3d67cc7609e6"},
	} {
		d := fromCatalog(t, c.name, dataDir(t, c.links))
		if c.alter != nil {
			c.alter(&d)
		}
		s, err := Open(d, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Len() != c.rows || hash3(t, s) != c.hash {
			t.Errorf("%s: %d rows, want %d; prompts %s, want %s", c.name, s.Len(), c.rows, hash3(t, s), c.hash)
		}
	}
}

// wsc273 makes a file of winograd_ppl's shape from blocks of four lines: text with [MASK], the mask, options, answer.
func wsc273(t *testing.T) string {
	data, err := os.ReadFile(bench(t, "wsc273/wsc273.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for block := range strings.SplitSeq(strings.TrimSpace(strings.ReplaceAll(string(data), "\r", "")), "\n\n") {
		lines := strings.Split(block, "\n")
		options := strings.Split(lines[2], ",")
		label := 0
		if strings.EqualFold(strings.TrimSpace(options[1]), strings.TrimSpace(lines[3])) {
			label = 1
		}
		row, err := json.Marshal(map[string]any{"text": lines[0], "pronoun": "[MASK]", "options": options, "label": label})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s\n", row)
	}
	return write(t, "wsc273.jsonl", out.String())
}

// TestOtherRealFormats reads files whose shapes the catalog does not have yet.
func TestOtherRealFormats(t *testing.T) {
	for _, c := range []struct {
		f    spec.Files
		rows int
		has  string
	}{
		{spec.Files{Path: bench(t, "bbh/word_sorting.json"), JSONPath: "examples"}, 250, `"target":`},
		{spec.Files{Path: bench(t, "siqa/social_i_qa_test.json")}, 1954, `"answer":"answer`},
		{spec.Files{Path: bench(t, "truthfulqa/TruthfulQA_817.csv")}, 817, `"Best Answer":`},
		{spec.Files{Path: bench(t, "humaneval/HumanEval.jsonl.gz")}, 164, `"entry_point":`},
		{spec.Files{Path: bench(t, "commonsenseqa/dev_rand_split.jsonl")}, 1221, `"choices":`},
		{spec.Files{Path: bench(t, "mbpp/mbpp.jsonl")}, 974, `"test_list":`},
	} {
		rows, err := rowsOf(c.f, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(rows) != c.rows || !strings.Contains(rows[c.rows-1], c.has) {
			t.Errorf("%s: %d rows, want %d; the last is %s", c.f.Path, len(rows), c.rows, rows[len(rows)-1])
		}
	}
}

// TestWikitext2: the joined text is that of Hugging Face's rows. GPT-2's tokenizer makes 287,644 tokens of this very text.
func TestWikitext2(t *testing.T) {
	s := open(t, fromCatalog(t, "wikitext2_rolling", dataDir(t, map[string]string{"wikitext-2-raw/wiki.test.raw": "wikitext2/wiki.test.raw"})))
	docs := s.Documents()
	if s.Len() != 4358 || len(docs) != 1 {
		t.Fatalf("%d rows, want 4358; %d documents", s.Len(), len(docs))
	}
	sum := sha256.Sum256([]byte(docs[0].Text))
	const want = "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83"
	if got := hex.EncodeToString(sum[:]); got != want || docs[0].Bytes != 1296370 {
		t.Errorf("the text's sha256 is %s, want %s; %d bytes", got, want, docs[0].Bytes)
	}
}
