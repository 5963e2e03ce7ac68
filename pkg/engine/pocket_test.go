package engine

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/internal/goldens"
	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
	"sextant/pkg/tokenizer"
)

const pocket = "../../examples/pocket"

// real is a real model on the cpu backend.
type real struct {
	m   *model.Model
	tok *tokenizer.Tokenizer
}

func open(t testing.TB, dir, backend string) real {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := kernels.Open(backend, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(dev, ck)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); dev.Close(); ck.Close() })
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return real{m, tok}
}

func (r real) engine(t testing.TB, o Options) *Engine {
	t.Helper()
	o.NewDecoder = func(prompt []int32) Decoder { return r.tok.NewDecoder(prompt) }
	e, err := New(r.m, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// surely is the margin between the two best tokens below which another implementation may choose otherwise.
const surely = 1e-3

func TestPocketGreedy(t *testing.T) { pocketGreedy(t, "cpu", surely, 15) }

// pocketGreedy holds the continuations whose every token has such a margin; there are to be so many of them.
func pocketGreedy(t *testing.T, backend string, surely float64, least int) {
	t.Helper()
	var golden []struct {
		PromptIDs []int32 `json:"prompt_ids"`
		MaxNew    int     `json:"max_new_tokens"`
		IDs       []int32
		Text      string
		Margin    float64 `json:"min_margin"`
	}
	goldens.ReadJSON(t, filepath.Join(pocket, "golden/greedy.json"), &golden)
	reqs := make([]Prompt, len(golden))
	for i, g := range golden {
		reqs[i] = Prompt{Tokens: g.PromptIDs, MaxNew: g.MaxNew}
	}
	checked := 0
	for i, got := range generate(t, open(t, pocket+"/model", backend).engine(t, Options{}), reqs) {
		g := golden[i]
		if g.Margin < surely {
			continue
		}
		checked++
		stop := "length"
		if g.IDs[len(g.IDs)-1] == 2 {
			stop = "eos"
		}
		if !slices.Equal(got.IDs, g.IDs) || got.Text != g.Text || got.Stop != stop {
			t.Errorf("prompt %d: %+v, want %v %q %s", i, got, g.IDs, g.Text, stop)
		}
	}
	if checked < least {
		t.Errorf("only %d of %d prompts are sure enough to check", checked, len(golden))
	}
}

func TestPocketItems(t *testing.T) { pocketItems(t, "cpu", 1e-3) }

// pocketItems holds sums of log-probabilities to be near those of the goldens.
func pocketItems(t *testing.T, backend string, tolerance float64) {
	t.Helper()
	r := open(t, pocket+"/model", backend)
	for _, name := range []string{"winograd", "piqa", "siqa_ppl", "cloze"} {
		var items []struct {
			Prompts []string
			SumNLL  []float64 `json:"sum_nll"`
			NTokens []int     `json:"n_tokens"`
		}
		goldens.ReadJSON(t, filepath.Join(pocket, "golden/items_"+name+".json"), &items)
		var reqs []Sequence
		var nll []float64
		var tokens []int
		for _, it := range items[:25] {
			for _, p := range it.Prompts {
				reqs = append(reqs, Sequence{Tokens: r.tok.EncodePrompt(p), From: 1})
			}
			nll, tokens = append(nll, it.SumNLL...), append(tokens, it.NTokens...)
		}
		for i, got := range score(t, r.engine(t, Options{}), reqs) {
			if got.Count != tokens[i] || !goldens.Near(got.NLL, nll[i], tolerance) {
				t.Errorf("%s %d: %v of %d tokens, want %v of %d", name, i, got.NLL, got.Count, nll[i], tokens[i])
			}
		}
	}
}

func bits(scores []Scored) string {
	var b strings.Builder
	for _, s := range scores {
		fmt.Fprintf(&b, "%x %d %v\n", math.Float64bits(s.NLL), s.Count, s.Greedy)
	}
	return b.String()
}

// The outcomes are the same, bit for bit, whatever the batch size, the budget, the page size, the memory, the order and the threads.
func TestPocketSameBits(t *testing.T) {
	r := open(t, pocket+"/model", "cpu")
	var golden []struct {
		PromptIDs []int32 `json:"prompt_ids"`
		IDs       []int32
	}
	goldens.ReadJSON(t, filepath.Join(pocket, "golden/greedy.json"), &golden)
	var seqs []Sequence
	var prompts []Prompt
	for i, g := range golden {
		all := slices.Concat(g.PromptIDs, g.IDs)
		seqs = append(seqs, Sequence{all, 1}, Sequence{all, len(g.PromptIDs)}, Sequence{all[:len(all)-1], 1})
		prompts = append(prompts, Prompt{Tokens: g.PromptIDs, MaxNew: 12, Seed: uint64(i),
			Sample: kernels.SampleDesc{Temperature: float32(i%3) * 0.8, TopK: i % 2 * 20, TopP: 0.95}})
	}
	wantScores, wantTexts := "", ""
	for _, o := range []Options{
		{BatchSize: 1, TokenBudget: 1 << 20, PageSize: 512},
		{},
		{BatchSize: 3, TokenBudget: 7, PageSize: 5},
		{BatchSize: 40, TokenBudget: 64, PageSize: 1},
		{PageSize: 8, Memory: 14 * 8 * 2 * 4 * 6 * 2 * 32}, // 14 pages, of which the longest sequence needs 13
		{NoSharing: true},
		{TokenBudget: 129},
	} {
		e := r.engine(t, o)
		if o.TokenBudget == 129 { // some of it is there then
			e.Keep()
			score(t, e, seqs[len(seqs)/2:])
			generate(t, e, prompts[:3])
		}
		scores, texts := bits(score(t, e, seqs)), fmt.Sprintf("%v", generate(t, e, prompts))
		e.Close()
		if wantScores == "" {
			wantScores, wantTexts = scores, texts
		}
		if scores != wantScores {
			t.Errorf("%+v: other scores\n%s\n%s", o, scores, wantScores)
		}
		if texts != wantTexts {
			t.Errorf("%+v: other texts\n%s\n%s", o, texts, wantTexts)
		}
	}
}
