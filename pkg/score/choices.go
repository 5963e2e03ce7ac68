package score

import (
	"errors"
	"fmt"
	"slices"

	"sextant/pkg/metric"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// choices scores the modes that rank a row's labels: ppl, ll and clp.
type choices struct {
	mode      spec.Mode
	all       bool // ppl: divide by all tokens, the unpredicted first one too
	normalize bool
	list      []sheet // one a metric
	gold      float64 // clp: summed probability of the gold choices
}

func newChoices(d spec.Dataset, metrics []string) (*choices, error) {
	mode, o := d.Mode, d.PPL
	if !slices.Contains([]string{"", "n", "n-1"}, o.Denominator) {
		return nil, unknown("denominator", o.Denominator, []string{"n", "n-1"})
	}
	c := &choices{mode: mode, all: o.Denominator != "n-1", normalize: mode == spec.PPL && o.Normalizing != ""}
	kinds := map[string]kind{mc2: byMean, perplexity: byLoss} // the others are shares
	for _, m := range metrics {
		c.list = append(c.list, sheet{metric: m, kind: kinds[m]})
	}
	return c, nil
}

func (c *choices) note() string {
	switch {
	case c.normalize:
		return "normalized"
	case c.mode == spec.PPL && !c.all:
		return "n-1"
	}
	return ""
}

// values gives each label's loss; the label with the lowest is the prediction. From OpenCompass's inferencers of the same names:
//
//	ppl             NLL / n: n = all tokens of the prompt, the first one too though nothing predicts it; "n-1": the predicted tokens
//	ppl normalizing (NLL(answer|context) - NLL(answer|normalizing)) / tokens of the answer, whatever the denominator
//	ll              NLL of the continuation, so that the highest log-likelihood wins
//	clp             NLL of the single token
func (c *choices) values(r *result.Record) ([]float64, error) {
	if len(r.Labels) == 0 {
		return nil, errors.New("the record has no labels")
	}
	if len(r.NLL) != len(r.Labels) || len(r.Tokens) != len(r.Labels) || c.normalize && len(r.NormNLL) != len(r.Labels) {
		return nil, errors.New("the record has not one loss and one token count a label")
	}
	values := make([]float64, len(r.Labels))
	for i, nll := range r.NLL {
		tokens := float64(r.Tokens[i])
		if tokens < 1 {
			return nil, fmt.Errorf("label %q has no predicted token", r.Labels[i])
		}
		switch {
		case c.normalize:
			values[i] = (nll - r.NormNLL[i]) / tokens
		case c.mode == spec.PPL && c.all:
			values[i] = nll / (tokens + 1)
		case c.mode == spec.PPL:
			values[i] = nll / tokens
		default:
			values[i] = nll
		}
		if !finite(values[i]) {
			return nil, errors.New("a loss is not a finite number")
		}
	}
	return values, nil
}

// add ranks a row's labels. Of several gold labels any is right; mc1 and perplexity want one.
//
//	accuracy, mc1   whether the best label is a gold one (mc1: S. Lin et al., TruthfulQA, ACL 2022, where one of the labels is true)
//	mc2             the probability of the gold labels among all labels, their likelihoods made to sum to 1 (the same)
//	acc_norm        accuracy, the log-likelihood of each option divided by its characters, as lm-evaluation-harness computes it
//	acc_bytes       likewise, by its bytes in UTF-8
//	greedy          whether a gold label's continuation is what greedy decoding writes: acc of lm-evaluation-harness's loglikelihood tasks
//	perplexity      exp of the mean over rows of the gold continuation's NLL, whatever its tokens: of LAMBADA a perplexity of words
func (c *choices) add(q *question) error {
	r := q.samples[0]
	values, err := c.values(r)
	if err != nil {
		return err
	}
	gold, err := c.golds(r)
	if err != nil {
		return err
	}
	logs := make([]float64, len(values))
	for i, v := range values {
		logs[i] = -v
	}
	p, err := metric.MC2(logs, gold)
	if err != nil {
		return err
	}
	worth := make([]float64, len(c.list))
	for i, s := range c.list {
		if worth[i], err = worthOf(s.metric, r, logs, gold); err != nil {
			return err
		}
	}
	for i := range c.list {
		c.list[i].rows = append(c.list[i].rows, outcome{row: q.row, value: worth[i], size: 1, asks: asks(r)})
	}
	c.gold += p
	return nil
}

// worthOf is what a row counts by a metric.
func worthOf(name string, r *result.Record, logs []float64, gold []bool) (v float64, err error) {
	right := false
	switch name {
	case mc2:
		return metric.MC2(logs, gold)
	case perplexity:
		return r.NLL[slices.Index(gold, true)], nil
	case greedy:
		right = slices.ContainsFunc(r.Greedy, func(label string) bool { return slices.Contains(r.Gold, label) })
	case accNorm, accBytes:
		lengths := r.Chars
		if name == accBytes {
			lengths = r.Size
		}
		if logs, err = metric.PerLength(logs, lengths); err != nil {
			return 0, fmt.Errorf("the record has not one length an option: %w", err)
		}
		right = gold[metric.Best(logs)]
	default:
		right = gold[metric.Best(logs)]
	}
	if right {
		v = 1
	}
	return v, nil
}

// golds says of each label whether it is right.
func (c *choices) golds(r *result.Record) ([]bool, error) {
	if len(r.Gold) == 0 {
		return nil, errors.New("the row has no gold label")
	}
	gold := make([]bool, len(r.Labels))
	for _, g := range r.Gold {
		i := slices.Index(r.Labels, g)
		if i < 0 {
			return nil, fmt.Errorf("the gold label %q is none of the labels", g)
		}
		gold[i] = true
	}
	for _, s := range c.list {
		if len(r.Gold) > 1 && (s.metric == mc1 || s.metric == perplexity) {
			return nil, fmt.Errorf("%s wants one gold label, the row has %d", s.metric, len(r.Gold))
		}
	}
	return gold, nil
}

func (c *choices) sheets() []sheet { return c.list }

func (c *choices) finish(s *Score, _ *losses) {
	if c.mode == spec.CLP && s.N > 0 {
		s.detail("gold_probability", c.gold/float64(s.N))
	}
}
