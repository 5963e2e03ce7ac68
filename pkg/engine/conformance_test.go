//go:build conformance

package engine

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sextant/internal/cudalib"
	"sextant/internal/goldens"
	"sextant/pkg/dataset"
	"sextant/pkg/spec"
)

// stories is the stories260k model with its goldens, under SEXTANT_DATA.
func stories(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SEXTANT_DATA")
	if dir == "" {
		t.Fatal("SEXTANT_DATA is not set: it names the directory with stories260k")
	}
	return filepath.Join(dir, "stories260k")
}

// onEach runs a test on the cpu, and on the device of SEXTANT_CUDA_LIB where that names a library.
func onEach(t *testing.T, f func(t *testing.T, backend string)) {
	t.Helper()
	for _, backend := range []string{"cpu", "cuda"} {
		if backend == "cpu" || cudalib.Named() {
			t.Run(backend, func(t *testing.T) { f(t, backend) })
		}
	}
}

func TestStoriesGreedy(t *testing.T) { onEach(t, storiesGreedy) }

func storiesGreedy(t *testing.T, backend string) {
	var golden struct {
		Stop   []int32
		MaxNew int `json:"max_new_tokens"`
		Rows   []struct {
			PromptIDs  []int32 `json:"prompt_ids"`
			Completion string
			OutIDs     []int32 `json:"out_ids"`
		}
	}
	dir := stories(t)
	goldens.ReadJSON(t, filepath.Join(dir, "golden/greedy.json"), &golden)
	var reqs []Prompt
	for _, row := range golden.Rows {
		reqs = append(reqs, Prompt{Tokens: row.PromptIDs, MaxNew: golden.MaxNew})
	}
	for i, got := range generate(t, open(t, dir+"/hf", backend).engine(t, Options{EOS: golden.Stop}), reqs) {
		want := golden.Rows[i]
		ids := got.IDs
		if got.Stop == "eos" && len(want.OutIDs) < len(ids) { // whether the golden keeps the ending token
			ids = ids[:len(ids)-1]
		}
		if got.Text != want.Completion || fmt.Sprint(ids) != fmt.Sprint(want.OutIDs) {
			t.Errorf("row %d: %v %q (%s), want %v %q", i, ids, got.Text, got.Stop, want.OutIDs, want.Completion)
		}
	}
}

// texts are the golden's texts, remade from their sources.
func texts(t *testing.T) map[string]string {
	t.Helper()
	read := func(path string) string {
		data, err := os.ReadFile(filepath.Join(os.Getenv("SEXTANT_DATA"), path))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var lambada []string
	for line := range strings.Lines(read("bench/lambada/lambada_test.jsonl")) {
		var row struct{ Text string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if lambada = append(lambada, row.Text); len(lambada) == 50 {
			break
		}
	}
	return map[string]string{
		"story":                       strings.TrimSuffix(read("stories260k/story.txt"), "\n"),
		"wikitext2_raw_test_first20k": string([]rune(read("bench/wikitext2/wiki.test.raw"))[:20000]),
		"lambada_first50":             strings.Join(lambada, "\n"),
	}
}

func TestStoriesPerplexity(t *testing.T) { onEach(t, storiesPerplexity) }

func storiesPerplexity(t *testing.T, backend string) {
	var golden struct {
		Rows []struct {
			Text, Model, Method string
			SHA256              string `json:"text_sha256"`
			Ctx, Stride         int
			PPL                 float64
			NScored             int `json:"n_scored"`
		}
	}
	dir := stories(t)
	goldens.ReadJSON(t, filepath.Join(dir, "golden/ppl.json"), &golden)
	sources := texts(t)
	checked := 0
	for _, row := range golden.Rows {
		text, ok := sources[row.Text]
		if !ok {
			continue // a text whose source is not at hand
		}
		if sum := sha256.Sum256([]byte(text)); fmt.Sprintf("%x", sum) != row.SHA256 {
			t.Fatalf("%s is not the golden's text", row.Text)
		}
		o := spec.RollingOptions{SeqLen: row.Ctx, Stride: row.Stride,
			Convention: map[string]string{"chunk": "gptq", "chunk_bos": "gptq-bos", "sliding": "sliding"}[row.Method]}
		tolerance := 1e-3
		if backend == "cuda" && row.Model != "hf" { // activations of 16 bits
			tolerance = 0.02
		}
		ppl, n := perplexity(t, open(t, filepath.Join(dir, row.Model), backend), o, text)
		if n != row.NScored || !goldens.Near(ppl, row.PPL, tolerance) {
			t.Errorf("%+v: %v over %d", row, ppl, n)
		}
		checked++
	}
	if checked < 15 {
		t.Errorf("%d rows of the golden checked", checked)
	}
}

func perplexity(t *testing.T, r real, o spec.RollingOptions, text string) (ppl float64, n int) {
	t.Helper()
	windows, err := dataset.Windows(o, []dataset.TokenDocument{{Tokens: r.tok.Encode(text)}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var reqs []Sequence
	for _, w := range windows {
		reqs = append(reqs, Sequence{w.Tokens, w.From})
	}
	nll := 0.0
	for _, s := range score(t, r.engine(t, Options{}), reqs) {
		nll, n = nll+s.NLL, n+s.Count
	}
	return math.Exp(nll / float64(n)), n
}

func TestStoriesChoices(t *testing.T) { onEach(t, storiesChoices) }

func storiesChoices(t *testing.T, backend string) {
	var golden struct {
		Rows []struct {
			Context    string
			Choices    []string
			IDs        [][]int32
			CtxTokens  []int     `json:"ctx_tokens"`
			LogProb    []float64 `json:"cont_logprob"`
			ContTokens []int     `json:"cont_tokens"`
			FullNLL    []float64 `json:"full_nll"`
		}
	}
	dir := stories(t)
	goldens.ReadJSON(t, filepath.Join(dir, "golden/mc.json"), &golden)
	r := open(t, dir+"/hf", backend)
	e := r.engine(t, Options{})
	var reqs []Sequence
	var nll []float64
	var counts []int
	for i, row := range golden.Rows {
		for k, ids := range row.IDs {
			if got := r.tok.EncodePrompt(row.Context + row.Choices[k]); fmt.Sprint(got) != fmt.Sprint(ids) {
				t.Fatalf("row %d: ids %v, want %v", i, got, ids)
			}
			if len(ids) > e.MaxSeqLen()+1 {
				continue // the golden goes beyond the model's context
			}
			reqs = append(reqs, Sequence{ids, row.CtxTokens[k]}, Sequence{ids, 1})
			nll = append(nll, -row.LogProb[k], row.FullNLL[k])
			counts = append(counts, row.ContTokens[k], len(ids)-1)
		}
	}
	if len(reqs) < 2*2*len(golden.Rows) {
		t.Errorf("only %d choices of %d rows checked", len(reqs)/2, len(golden.Rows))
	}
	for i, got := range score(t, e, reqs) {
		if got.Count != counts[i] || !goldens.Near(got.NLL, nll[i], 1e-3) {
			t.Errorf("choice %d: %v of %d, want %v of %d", i, got.NLL, got.Count, nll[i], counts[i])
		}
	}
}
