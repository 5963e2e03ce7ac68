package score

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// choices scores the modes that rank a row's labels: ppl, ll and clp.
type choices struct {
	mode      spec.Mode
	all       bool // ppl: divide by all tokens, the unpredicted first one too
	normalize bool
	tally
	gold float64 // clp: summed probability of the gold choice
}

// tally counts rows that are right or wrong.
type tally struct {
	rows    []outcome
	correct int
}

func (t *tally) count(row int, right bool) {
	o := outcome{row: row, size: 1}
	if right {
		o.value = 1
		t.correct++
	}
	t.rows = append(t.rows, o)
}

func (t *tally) outcomes() []outcome { return t.rows }

func newChoices(mode spec.Mode, o spec.PPLOptions) (*choices, error) {
	if !slices.Contains([]string{"", "n", "n-1"}, o.Denominator) {
		return nil, unknown("denominator", o.Denominator, []string{"n", "n-1"})
	}
	return &choices{mode: mode, all: o.Denominator != "n-1", normalize: mode == spec.PPL && o.Normalizing != ""}, nil
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

func (c *choices) add(r *result.Record) error {
	values, err := c.values(r)
	if err != nil {
		return err
	}
	if len(r.Gold) == 0 {
		return errors.New("the row has no gold label")
	}
	gold := slices.Index(r.Labels, r.Gold[0])
	if gold < 0 {
		return fmt.Errorf("the gold label %q is none of the labels", r.Gold[0])
	}
	best := 0
	for i, v := range values {
		if v < values[best] { // a tie stays with the first
			best = i
		}
	}
	c.count(r.Row, best == gold)
	if c.mode == spec.CLP {
		c.gold += softmax(values, gold)
	}
	return nil
}

// softmax is the probability of choice i among choices with these losses.
func softmax(nll []float64, i int) float64 {
	low := slices.Min(nll)
	sum := 0.0
	for _, v := range nll {
		sum += math.Exp(low - v)
	}
	return math.Exp(low-nll[i]) / sum
}

func (c *choices) finish(s *Score, _ *losses) {
	s.share(c.correct, len(c.rows))
	if c.mode == spec.CLP && len(c.rows) > 0 {
		s.detail("gold_probability", c.gold/float64(len(c.rows)))
	}
}

// share fills in a share of rows in percent.
func (s *Score) share(correct, n int) {
	s.Correct = correct
	if n > 0 {
		s.Value = ptr(100 * float64(correct) / float64(n))
	}
	s.StdErr = binomialStdErr(correct, n)
}
