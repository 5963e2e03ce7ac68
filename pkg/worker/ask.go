package worker

import (
	"fmt"
	"slices"

	"sextant/pkg/dataset"
	"sextant/pkg/engine"
	"sextant/pkg/spec"
)

// ask is a row made into token sequences that fit the model.
type ask struct {
	item    *dataset.Item
	seqs    []engine.Sequence // gen: one, the prompt; else one a label, then with ppl.normalizing one more a label
	dropped int               // in-context examples left out
	cut     int               // tokens cut from the left, of the sequence that lost most
}

// ask renders a row with as many of its examples as fit: the last ones go first. If it is too long even without, the dataset says whether
// its left end is cut or the row is an error.
func (t *task) ask(row int) (*ask, error) {
	it, err := t.set.Item(row, t.roles)
	if err != nil {
		return nil, bad(err)
	}
	for n := it.Examples(); ; n-- {
		a := &ask{item: it, dropped: it.Examples() - n}
		if a.seqs, err = t.sequences(it.Prompts(n)); err != nil {
			return nil, badRow(row, "%w", err)
		}
		longest := slices.MaxFunc(a.seqs, func(a, b engine.Sequence) int { return len(a.Tokens) - len(b.Tokens) })
		if len(longest.Tokens) <= t.limit {
			return a, nil
		}
		if n > 0 {
			continue
		}
		if t.data.Truncate != "left" {
			return nil, badRow(row, "%s", t.tooLong(len(longest.Tokens)))
		}
		keep := 0
		if bos, ok := t.tok.BOS(); ok && longest.Tokens[0] == bos {
			keep = 1
		}
		a.cutLeft(t.limit, keep)
		return a, nil
	}
}

func (t *task) tooLong(tokens int) string {
	room := ""
	if t.data.Mode == spec.Gen {
		room = fmt.Sprintf(" beside the %d of its output", t.maxNew)
	}
	return fmt.Sprintf("the prompt has %d tokens without in-context examples, and the limit is %d%s: set truncate = \"left\" in the dataset %s, or raise max_seq_len if the model allows it",
		tokens, t.limit, room, t.data.Abbr)
}

// cutLeft cuts every sequence to limit tokens, but for the first keep ones (BOS).
func (a *ask) cutLeft(limit, keep int) {
	for i, s := range a.seqs {
		cut := len(s.Tokens) - limit
		if cut <= 0 {
			continue
		}
		a.seqs[i] = engine.Sequence{Tokens: append(slices.Clone(s.Tokens[:keep]), s.Tokens[keep+cut:]...), From: max(1, s.From-cut)}
		a.cut = max(a.cut, cut)
	}
}

// sequences tokenises the prompts of a row.
func (t *task) sequences(prompts []dataset.Prompt) ([]engine.Sequence, error) {
	var seqs, norms []engine.Sequence
	for _, p := range prompts {
		if len(p.Continuations) == 0 {
			seqs = append(seqs, engine.Sequence{Tokens: t.whole(p), From: 1})
			continue
		}
		for i, c := range p.Continuations {
			s, err := t.continued(p, c)
			if err != nil {
				return nil, err
			}
			seqs = append(seqs, s)
			if i < len(p.Normalizing) {
				if s, err = t.continued(dataset.Prompt{Text: p.Normalizing[i]}, c); err != nil {
					return nil, err
				}
				norms = append(norms, s)
			}
		}
	}
	for _, s := range seqs {
		if len(s.Tokens) == 0 {
			return nil, fmt.Errorf("the prompt is empty, and the tokenizer puts no BOS before it")
		}
		if t.data.Mode == spec.PPL && len(s.Tokens) < 2 {
			return nil, fmt.Errorf("the prompt has one token, so that nothing is predicted")
		}
	}
	return append(seqs, norms...), nil
}

// whole tokenises a text that stands alone. Where it is to be continued, an EOS that the tokenizer puts after every text is taken off.
func (t *task) whole(p dataset.Prompt) []int32 {
	if p.Rendered {
		return t.tok.EncodeRendered(p.Text)
	}
	ids := t.tok.EncodePrompt(p.Text)
	if t.data.Mode != spec.PPL {
		ids = ids[:len(ids)-t.trailing]
	}
	return ids
}

// continued tokenises context and continuation together; the continuation is what lies behind as many tokens as the context alone has.
// When the two melt so that nothing would lie there, it is the last token; a continuation without tokens is an error.
func (t *task) continued(context dataset.Prompt, continuation string) (engine.Sequence, error) {
	joined := context
	joined.Text += continuation
	before, all := t.whole(context), t.whole(joined)
	if t.data.Mode == spec.PPL && !context.Rendered { // whole keeps what is scored whole
		before, all = before[:len(before)-t.trailing], all[:len(all)-t.trailing]
	}
	from := max(1, min(len(before), len(all)-1))
	if slices.Equal(before, all) {
		return engine.Sequence{}, fmt.Errorf("the continuation %q has no tokens", continuation)
	}
	if len(all) < 2 {
		return engine.Sequence{}, fmt.Errorf("the continuation %q has no token before it", continuation)
	}
	if n := len(all) - from; t.data.Mode == spec.CLP && n != 1 {
		return engine.Sequence{}, fmt.Errorf("mode clp ranks single tokens, and the choice %q has %d: use mode ll", continuation, n)
	}
	return engine.Sequence{Tokens: all, From: from}, nil
}
