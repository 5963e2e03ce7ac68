//go:build conformance && !race

// Without the race detector: what it slows down here is reading and matching, which the other tests do before it with small files.

package dataset

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sextant/internal/goldens"
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

// real is a file of the outside data, and how a spec uses it: the lines below a [[dataset]] table over a catalog entry. Most files are
// not quite in OpenCompass's shape, so that this also shows what a user writes for a file of another shape.
type real struct {
	entry string // the catalog's, or a name of the test's own
	lines string // BENCH is the folder of the data
	rows  int
}

const arcOwn = `
[dataset.columns]
stem = { from = "query", regex = "^Question: (.*)$" }
options = { from = "choices" }
gold = { from = "gold" }
`

var realFiles = []real{
	{entry: "piqa_ppl", lines: "test = { path = 'BENCH/piqa/valid.jsonl', labels = 'BENCH/piqa/valid-labels.lst' }", rows: 1838},
	{entry: "piqa_gen", lines: "test = { path = 'BENCH/piqa/valid.jsonl', labels = 'BENCH/piqa/valid-labels.lst' }", rows: 1838},
	{entry: "piqa_ll", lines: "test = { path = 'BENCH/piqa/valid.jsonl', labels = 'BENCH/piqa/valid-labels.lst' }", rows: 1838},
	{entry: "gsm8k_gen", lines: "test.path = 'BENCH/gsm8k/test.jsonl'", rows: 1319},
	{entry: "gsm8k_gen", lines: "test.path = 'BENCH/gsm8k/train.jsonl'\ntrain.path = 'BENCH/gsm8k/test.jsonl'\n" +
		"few_shot = { kind = 'random', k = 2, seed = 1 }", rows: 200},
	{entry: "hellaswag_ppl", lines: "test.path = 'BENCH/hellaswag/hellaswag.jsonl'", rows: 1000},
	{entry: "hellaswag_gen", lines: "test.path = 'BENCH/hellaswag/hellaswag.jsonl'", rows: 1000},
	{entry: "hellaswag_ll", lines: "test.path = 'BENCH/hellaswag/hellaswag.jsonl'", rows: 1000},
	{entry: "lambada_gen", lines: `test.path = 'BENCH/lambada/lambada_test.jsonl'
columns = { prompt = { from = "text", regex = '(?s)^(.*) [^ ]*$' }, label = { from = "text", regex = '(?s)^.* ([^ ]*)$' } }`, rows: 5153},
	{entry: "lambada_ll", lines: `test.path = 'BENCH/lambada/lambada_test.jsonl'
columns = { prompt = { from = "text", regex = '(?s)^(.*) [^ ]*$' }, label = { from = "text", regex = '(?s)^.* ([^ ]*)$' } }`, rows: 5153},
	{entry: "wsc273_ppl", lines: "test = { path = 'BENCH/wsc273/wsc273.txt', unit = 'paragraph' }\n" + wscOwn, rows: 273},
	{entry: "wsc273_ppl", lines: "test = { path = 'BENCH/wsc273/PDP.txt', unit = 'paragraph' }\n" + wscOwn, rows: 60},
	{entry: "winogrande_ppl", lines: `test.path = 'BENCH/winogrande/winogrande.jsonl'
[dataset.columns]
option1 = { from = "context_options[0]" }
option2 = { from = "context_options[1]" }
before = { from = "continuation", regex = "^()" }
after = { template = " {continuation}" }
answer = { from = "gold", map = { 0 = "1", 1 = "2" } }`, rows: 1267},
	{entry: "winogrande_ll", lines: `test.path = 'BENCH/winogrande/winogrande.jsonl'
[dataset.columns]
before = { from = "continuation", regex = "^()" }
options = { from = "context_options" }
after = { from = "continuation" }
gold = { from = "gold" }`, rows: 1267},
	{entry: "arc_e_ppl", lines: "test.path = 'BENCH/arc/arc_easy.jsonl'" + arcOwn + `[dataset.prompt]
template.round = [{ role = "HUMAN", prompt = "Question: {stem}\nAnswer: " }, { role = "BOT", prompt = "{choice}" }]`, rows: 2376},
	{entry: "arc_e_ll", lines: "test.path = 'BENCH/arc/arc_easy.jsonl'" + arcOwn + `[dataset.prompt]
context = "Question: {stem}\nAnswer:"`, rows: 2376},
	{entry: "boolq_ppl", lines: "test.path = 'BENCH/boolq/boolq.jsonl'\ncolumns.label = { from = 'answer' }", rows: 2474},
	{entry: "boolq_gen", lines: "test.path = 'BENCH/boolq/boolq.jsonl'\ncolumns.label = { from = 'answer' }", rows: 2474},
	{entry: "boolq_ll", lines: "test.path = 'BENCH/boolq/boolq.jsonl'\ncolumns.label = { from = 'answer' }", rows: 2474},
	{entry: "commonsenseqa_ppl", lines: "test.path = 'BENCH/commonsenseqa/dev_rand_split.jsonl'\ntrain.path = 'BENCH/commonsenseqa/dev_rand_split.jsonl'", rows: 1221},
	{entry: "commonsenseqa_gen", lines: "test.path = 'BENCH/commonsenseqa/dev_rand_split.jsonl'\nfew_shot.kind = 'none'", rows: 1221},
	{entry: "commonsenseqa_ll", lines: "test.path = 'BENCH/commonsenseqa/dev_rand_split.jsonl'", rows: 1221},
	{entry: "copa_ppl", lines: "test = { path = 'BENCH/copa/copa-dev.xml' }" + copaXML, rows: 500},
	{entry: "copa_gen", lines: "test = { path = 'BENCH/copa/copa-test.xml', json_path = 'item' }" + copaXML, rows: 500},
	{entry: "copa_ll", lines: "test = { path = 'BENCH/copa/copa-dev.xml' }" + copaXML, rows: 500},
	{entry: "wikitext2_rolling", lines: "test.path = 'BENCH/wikitext2/wiki.test.raw'", rows: 4358},
	{entry: "truthfulqa_mc1", lines: `test.path = 'BENCH/truthfulqa/TruthfulQA_817.csv'
[dataset.columns]
question = { from = "Question" }
options = { template = "{Best Answer}; {Incorrect Answers}", split = "; " }
true = { list = ["0"] }`, rows: 817},
	{entry: "truthfulqa_mc2", lines: `test.path = 'BENCH/truthfulqa/TruthfulQA_817.csv'
[dataset.columns]
question = { from = "Question" }
options = { template = "{Correct Answers}; {Incorrect Answers}", split = "; " }
correct = { from = "Correct Answers", split = "; " }
wrong = { from = "Incorrect Answers", split = "; " }
yes = { from = "correct", regex = "^", map = { "" = "1" }, join = " " }
no = { from = "wrong", regex = "^", map = { "" = "0" }, join = " " }
marks = { template = "{yes} {no}", split = " " }
true = { from = "marks", index = "1" }`, rows: 817},
	{entry: "math500_gen", lines: "test.path = 'BENCH/math500/math500_test_ori.jsonl'", rows: 500},
	{entry: "humaneval_gen", lines: "test.path = 'BENCH/humaneval/HumanEval.jsonl.gz'", rows: 164},
	{entry: "humaneval_chat_gen", lines: "test.path = 'BENCH/humaneval/HumanEval.jsonl.gz'", rows: 164},
	{entry: "humaneval_gen", lines: "test.path = 'BENCH/humaneval/example_problem.jsonl'", rows: 1},
	{entry: "mbpp_gen", lines: "test.path = 'BENCH/mbpp/mbpp.jsonl'\ntrain.path = 'BENCH/mbpp/mbpp.jsonl'", rows: 500},
	{entry: "mbpp_gen", lines: "test = { path = 'BENCH/mbpp/mbpp.jsonl', skip = 0, take = 0 }\nfew_shot.kind = 'none'", rows: 974},
	{entry: "arc_pairs", lines: pairs + "test.path = 'BENCH/arc/arc_challenge.jsonl'", rows: 2000},
	{entry: "arc_pairs", lines: pairs + "test.path = 'BENCH/arc/arc_challenge_val.jsonl'", rows: 598},
	{entry: "siqa_own", lines: `mode = "gen"
test.path = 'BENCH/siqa/social_i_qa_test.json'
answer = "letter"
post = ["first_option:ABC"]
columns.letter = { from = "answer", map = { answer1 = "A", answer2 = "B", answer3 = "C" } }
prompt.template = "{instruction}"`, rows: 1954},
}

// wscOwn is of four lines a row: the text with its gap, what stands in the gap, the options, the right one.
const wscOwn = `[dataset.columns]
pronoun = { template = "[MASK]" }
options = { from = "text", regex = '^[^\n]*\n[^\n]*\n([^\n]*)', case = "lower", split = "," }
right = { from = "text", regex = '^[^\n]*\n[^\n]*\n[^\n]*\n([^\n]*)', case = "lower" }
label = { from = "options", index = "{right}", join = "," }
line = { from = "text", regex = '^([^\n]*)' }
[dataset.prompt]
template = "{line} Q: In the previous text, what does '{pronoun}' refer to? A: {choice}"`

// pairs are a question and one answer, right or wrong.
const pairs = `mode = "ll"
answer = "label"
prompt = { context = "{question} {answer}\nIs that right?", choices = "options" }
columns.options = { list = ["no", "yes"] }
`

const copaXML = `
[dataset.columns]
question = { from = "asks-for" }
premise = { from = "p" }
choice1 = { from = "a1" }
choice2 = { from = "a2" }
label = { from = "most-plausible-alternative", map = { 1 = "0", 2 = "1" } }
`

// load reads a spec as a user writes it, and opens its datasets.
func load(t *testing.T, c *Catalog, text string) []*Set {
	t.Helper()
	s, err := spec.Load(write(t, "eval.toml", text+"\n[[models]]\npath = \"/m\"\n"), spec.Options{Catalog: c})
	if err != nil {
		t.Fatal(err)
	}
	var out []*Set
	for _, d := range s.Datasets {
		out = append(out, open(t, d))
	}
	return out
}

// TestRealFiles: every file loads through its catalog entry, with its rows, and gives the prompts that it gave before (by hash, of the
// first, middle and last row).
func TestRealFiles(t *testing.T) {
	root := filepath.Dir(bench(t, "x"))
	c := builtIn(t)
	var hashes strings.Builder
	for _, r := range realFiles {
		sets := load(t, c, "[[dataset]]\nabbr = \""+r.entry+"\"\n"+strings.ReplaceAll(r.lines, "BENCH", root))
		s := sets[0]
		if len(sets) != 1 || len(s.test.rows) != r.rows {
			t.Errorf("%s: %d datasets, %d rows, want %d", r.entry, len(sets), len(s.test.rows), r.rows)
		}
		if s.d.Mode == spec.Rolling {
			continue // TestWikitext2
		}
		fmt.Fprintf(&hashes, "%s %s %d %s\n", r.entry, filepath.Base(s.d.Test.Path), s.Len(), hash3(t, s))
	}
	data := familyData(t, root)
	for _, family := range []struct {
		datasets string
		members  int
		rows     int
	}{{"mmlu_ppl", 57, 14042}, {"mmlu_gen", 57, 14042}, {"bbh_0shot_gen", 27, 6511}} {
		sets := load(t, c, "data_dir = '"+data+"'\ndatasets = [\""+family.datasets+"\"]")
		rows := 0
		for _, s := range sets {
			rows += s.Len()
			fmt.Fprintf(&hashes, "%s %d %s\n", s.d.Abbr, s.Len(), hash3(t, s))
		}
		if len(sets) != family.members || rows != family.rows {
			t.Errorf("%s: %d members, %d rows", family.datasets, len(sets), rows)
		}
	}
	golden(t, "testdata/real.txt", hashes.String())
}

// TestReferenceContexts: the ll entries give the contexts, choices and gold that the independent reference scored.
func TestReferenceContexts(t *testing.T) {
	root := filepath.Dir(bench(t, "x"))
	var golden struct {
		Rows []struct {
			Dataset string
			Index   int
			Context string
			Choices []string
			Gold    int
		}
	}
	goldens.ReadJSON(t, filepath.Join(root, "../stories260k/golden/mc.json"), &golden)
	entryOf := map[string]string{"piqa_valid": "piqa_ll", "arc_easy_test": "arc_e_ll", "copa_dev": "copa_ll"}
	c := builtIn(t)
	sets := map[string]*Set{}
	for _, r := range realFiles {
		if slices.Contains(slices.Collect(maps.Values(entryOf)), r.entry) {
			sets[r.entry] = load(t, c, "[[dataset]]\nabbr = \""+r.entry+"\"\n"+strings.ReplaceAll(r.lines, "BENCH", root))[0]
		}
	}
	if len(golden.Rows) == 0 {
		t.Fatal("no rows")
	}
	for _, want := range golden.Rows {
		it := item(t, sets[entryOf[want.Dataset]], want.Index, nil)
		p := it.Prompts(0)[0]
		if p.Text != want.Context || !slices.Equal(p.Continuations, want.Choices) || it.Gold[0] != strconv.Itoa(want.Gold) {
			t.Errorf("%s row %d: %q %q gold %q, want %q %q %d", want.Dataset, want.Index, p.Text, p.Continuations, it.Gold, want.Context, want.Choices, want.Gold)
		}
	}
}

// TestEveryFileIsRead: no file of the outside data is left out of the tests above.
func TestEveryFileIsRead(t *testing.T) {
	used := map[string]bool{"humaneval/example_samples.jsonl": true, "mmlu/mmlu.zip": true} // answers, no rows; familyData
	for _, r := range realFiles {
		for _, m := range regexp.MustCompile(`BENCH/([^']+)'`).FindAllStringSubmatch(r.lines, -1) {
			used[m[1]] = true
		}
	}
	root := filepath.Dir(bench(t, "x"))
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		seen++
		about := regexp.MustCompile(`(SOURCE\.txt|LICENSE|README\.md)$`).MatchString(name)
		if !used[name] && !about && !strings.HasPrefix(name, "bbh/") {
			t.Errorf("no test reads %s", name)
		}
		return err
	})
	if err != nil || seen < 60 {
		t.Errorf("%d files: %v", seen, err)
	}
}

// familyData is a data directory with MMLU unpacked and BIG-Bench Hard linked.
func familyData(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "BBH"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "bbh"), filepath.Join(dir, "BBH", "data")); err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(filepath.Join(root, "mmlu", "mmlu.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		name, ok := strings.CutPrefix(f.Name, "data/")
		if !ok || !strings.HasSuffix(name, ".csv") || !filepath.IsLocal(name) {
			continue
		}
		at := filepath.Join(dir, "mmlu", name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(at, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestCanonicalPrograms: HumanEval's programs have the place of the code once, after the prompt and before the tests; MBPP's tests stand
// alone, and are put after the code.
func TestCanonicalPrograms(t *testing.T) {
	root := filepath.Dir(bench(t, "x"))
	c := builtIn(t)
	for lines, whole := range map[string]bool{
		"abbr = 'humaneval_gen'\ntest.path = 'BENCH/humaneval/HumanEval.jsonl.gz'":                                 true,
		"abbr = 'mbpp_gen'\ntest = { path = 'BENCH/mbpp/mbpp.jsonl', skip = 0, take = 0 }\nfew_shot.kind = 'none'": false,
	} {
		s := load(t, c, "[[dataset]]\n"+strings.ReplaceAll(lines, "BENCH", root))[0]
		for row := range s.Len() {
			gold := item(t, s, row, nil).Gold
			before, after, found := strings.Cut(gold[0], "{completion}")
			if found != whole || strings.Contains(after, "{completion}") || !strings.Contains(before+after, "assert") {
				t.Fatalf("%s: row %d: %q", s.d.Abbr, row, gold)
			}
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
