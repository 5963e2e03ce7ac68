package bench

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/engine"
)

// The lengths of a ranking as MMLU with five examples has it, and of a rolling perplexity's windows, in tokens.
const (
	shots    = 600
	question = 100
	choices  = 4
	window   = 512
	// Of the works for devices: sequences in packed passes, tokens of attention, and what the one of a token each looks back on.
	packed    = 32
	attending = 16384
	looking   = 2048
)

// alone divides the rows of the ranking that shares nothing, which takes some 25 times as long a row.
const alone = 16

// work is one thing to measure.
type work struct {
	name, what, unit string
	units            int // of one run
	needs            int // positions of its longest sequence
	cost             cost
	lone             bool // with sharing switched off
	run              action
	warm             action // as run, but short where it can be
	close            func() // gives back what it holds; nil: nothing
}

// action is what a work does.
type action = func(context.Context, *engine.Engine) error

// planner makes works for one model.
type planner struct {
	o   Options
	cfg *checkpoint.Config
	m   *sizes
	rng *rand.Rand

	dev  *kernels.Device
	many bool // it computes beside us
}

// makers are the works in their order: the usual ones, then those that take long on processors.
var makers = []struct {
	name string
	make func(p *planner, name string) work
}{
	{"prefill", (*planner).prefill},
	{"decode-1", func(p *planner, name string) work { return p.decode(name, 1) }},
	{"decode-16", func(p *planner, name string) work { return p.decode(name, 16) }},
	{"rank", (*planner).rank},
	{"rank-alone", (*planner).rankAlone},
	{"rolling", func(p *planner, name string) work { return p.rolling(name, window) }},
	{"packed", (*planner).packed},
	{"decode-64", func(p *planner, name string) work { return p.decode(name, 64) }},
	{"rolling-2048", func(p *planner, name string) work { return p.rolling(name, 2048) }},
	{"attention-2048", func(p *planner, name string) work { return p.prompts(name, 2048) }},
	{"attention-8192", func(p *planner, name string) work { return p.prompts(name, 8192) }},
	{"attention-decode", (*planner).looksBack},
}

// usual is the number of works that are run when none are named.
const usual = 6

// rankPlace is that of rank among the makers.
const rankPlace = 3

// Works names what can be measured, in order.
func Works() (names []string) {
	for _, m := range makers {
		names = append(names, m.name)
	}
	return names
}

// Usual names those that are measured when none are named.
func Usual() []string { return Works()[:usual] }

// works makes those asked for.
func (p *planner) works() (list []work) {
	for i, m := range makers {
		// What a work is given depends on neither the others nor their choice.
		p.seed(i)
		if (len(p.o.Works) == 0 && i < usual) || slices.Contains(p.o.Works, m.name) {
			list = append(list, m.make(p, m.name))
		}
	}
	return list
}

// seed makes tokens those of the i-th work.
func (p *planner) seed(i int) { p.rng = rand.New(rand.NewPCG(1, uint64(i))) }

func (p *planner) tokens(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = p.rng.Int32N(int32(p.cfg.Vocab))
	}
	return out
}

func (p *planner) prefill(name string) work {
	n := p.o.Prompt
	seqs := []engine.Sequence{{Tokens: p.tokens(n + 1), From: n}}
	run := scoring(seqs, 1)
	return work{name: name, unit: "tokens", units: n, needs: n, what: fmt.Sprintf("a prompt of %d tokens", n),
		cost: p.m.pass(1, span{0, n}), run: run, warm: run}
}

// packed is prompts that lie behind one another in the passes of an engine.
func (p *planner) packed(name string) work {
	n := p.o.Prompt
	var seqs []engine.Sequence
	for range packed {
		seqs = append(seqs, engine.Sequence{Tokens: p.tokens(n + 1), From: n})
	}
	passes := (packed*n + p.passTokens() - 1) / p.passTokens()
	c := p.m.pass(packed, slices.Repeat([]span{{0, n}}, packed)...)
	c.bytes += float64(passes-1) * p.m.layers.bytes
	return work{name: name, unit: "tokens", units: packed * n, needs: n, cost: c, run: scoring(seqs, 1), warm: scoring(seqs, 1),
		what: fmt.Sprintf("%d prompts of %d tokens, %d tokens a pass", packed, n, min(packed*n, p.passTokens()))}
}

// passTokens is the most tokens of a pass.
func (p *planner) passTokens() int { return cmp.Or(p.o.Tokens, engine.UsualTokens) }

func (p *planner) decode(name string, batch int) work {
	prompts := make([]engine.Prompt, batch)
	for i := range prompts {
		prompts[i] = engine.Prompt{Tokens: p.tokens(1), MaxNew: p.o.Gen}
	}
	short := slices.Clone(prompts)
	for i := range short {
		short[i].MaxNew = min(4, p.o.Gen)
	}
	var c cost
	for i := range p.o.Gen {
		c = c.plus(p.m.pass(batch, slices.Repeat([]span{{i, i + 1}}, batch)...))
	}
	what := fmt.Sprintf("%d tokens, %d sequences at once", p.o.Gen, batch)
	if batch == 1 {
		what = fmt.Sprintf("%d tokens, one sequence", p.o.Gen)
	}
	return work{name: name, what: what, unit: "tokens", units: batch * p.o.Gen, needs: p.o.Gen + 1, cost: c,
		run: generating(prompts), warm: generating(short)}
}

// rank shares the shots among all rows and each question among its choices.
func (p *planner) rank(name string) work {
	var seqs []engine.Sequence
	spans := []span{{0, shots}}
	prefix := p.tokens(shots)
	for range p.o.Rows {
		seqs = append(seqs, p.choices(slices.Concat(prefix, p.tokens(question)))...)
		spans = append(spans, span{shots, shots + question})
	}
	return work{name: name, unit: "rows", units: p.o.Rows, needs: shots + question, run: scoring(seqs, 1), warm: scoring(seqs[:choices], 1),
		what: fmt.Sprintf("%d rows, %d choices after %d shared and %d own tokens", p.o.Rows, choices, shots, question),
		cost: p.m.pass(p.o.Rows, spans...)}
}

// choices are the sequences of a row: the first tokens of the vocabulary after its prompt.
func (p *planner) choices(prompt []int32) (seqs []engine.Sequence) {
	for c := range choices {
		seqs = append(seqs, engine.Sequence{Tokens: append(slices.Clone(prompt), int32(c%p.cfg.Vocab)), From: len(prompt)})
	}
	return seqs
}

// rankAlone is rank's first rows on an engine that shares nothing.
func (p *planner) rankAlone(name string) work {
	p.seed(rankPlace)
	all := p.o.Rows
	p.o.Rows = max(1, all/alone)
	w := p.rank(name)
	p.o.Rows = all
	w.lone, w.warm = true, scoring(p.choices(p.tokens(shots + question))[:1], 1)
	w.what = fmt.Sprintf("the same with sharing switched off; rows: %d", w.units)
	w.cost = p.m.pass(w.units*choices, slices.Repeat([]span{{0, shots + question}}, w.units*choices)...)
	return w
}

func (p *planner) rolling(name string, window int) work {
	var seqs []engine.Sequence
	for range p.o.Windows {
		seqs = append(seqs, engine.Sequence{Tokens: p.tokens(window), From: 1})
	}
	n := window - 1
	return work{name: name, unit: "tokens", units: window * p.o.Windows, needs: n, run: scoring(seqs, n), warm: scoring(seqs[:1], n),
		what: fmt.Sprintf("%d windows of %d tokens", p.o.Windows, window),
		cost: p.m.pass(n*p.o.Windows, slices.Repeat([]span{{0, n}}, p.o.Windows)...)}
}

// scoring runs seqs and makes sure that each came out once, with so many predictions that are numbers.
func scoring(seqs []engine.Sequence, count int) action {
	return func(ctx context.Context, eng *engine.Engine) error {
		left := len(seqs)
		err := eng.Score(ctx, seqs, func(i int, s engine.Scored) error {
			left--
			if s.Count != count || s.NLL != s.NLL {
				return fmt.Errorf("sequence %d came out as %+v, with %d predictions wanted", i, s, count)
			}
			return nil
		})
		if err == nil && left != 0 {
			return fmt.Errorf("of %d sequences %d were not scored", len(seqs), left)
		}
		return err
	}
}

// generating runs prompts and makes sure that each gave all its tokens.
func generating(prompts []engine.Prompt) action {
	return func(ctx context.Context, eng *engine.Engine) error {
		left := len(prompts)
		err := eng.Generate(ctx, prompts, func(i int, g engine.Generated) error {
			left--
			if len(g.IDs) != prompts[i].MaxNew {
				return fmt.Errorf("prompt %d gave %d tokens, %d wanted", i, len(g.IDs), prompts[i].MaxNew)
			}
			return nil
		})
		if err == nil && left != 0 {
			return fmt.Errorf("of %d prompts %d were not continued", len(prompts), left)
		}
		return err
	}
}

// silent is a decoder that makes no text.
type silent struct{}

func (silent) Append(int32) string { return "" }
func (silent) Text() string        { return "" }
