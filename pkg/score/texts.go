package score

import (
	"errors"
	"strings"

	"sextant/pkg/result"
	"sextant/pkg/spec"

	"github.com/hashicorp/go-multierror"
)

// texts scores generated text: post-processors make an answer of it, and the metric compares the answer with the accepted ones.
type texts struct {
	post, postGold processor
	right          func(answer, gold string) bool
	tally
}

func newTexts(d spec.Dataset, metric string) (*texts, error) {
	post, err := compilePost("post", d.Post)
	gold, errGold := compilePost("post_gold", d.PostGold)
	if err != nil || errGold != nil {
		return nil, multierror.Append(err, errGold).ErrorOrNil()
	}
	right := func(answer, gold string) bool { return answer == gold }
	if metric == contains {
		right = func(answer, gold string) bool { return gold != "" && strings.Contains(answer, gold) }
	}
	return &texts{post: post, postGold: gold, right: right}, nil
}

func (t *texts) note() string { return "" }

// add compares a text with every accepted answer; white space around either never decides. Where post_gold leaves nothing of a gold
// answer that had something, that answer is not compared: an answer that is empty too would be right by accident.
func (t *texts) add(r *result.Record) error {
	answer := strings.TrimSpace(t.post(r.Text))
	accepted, right := 0, false
	for _, raw := range r.Gold {
		gold := strings.TrimSpace(t.postGold(raw))
		if gold == "" && raw != "" {
			continue
		}
		accepted++
		right = right || t.right(answer, gold)
	}
	if accepted == 0 {
		if len(r.Gold) == 0 {
			return errors.New("the row has no gold answer")
		}
		return errors.New("post_gold leaves nothing of the gold answer")
	}
	t.count(r.Row, right)
	return nil
}

func (t *texts) finish(s *Score, _ *losses) { s.share(t.correct, len(t.rows)) }
