package score

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sextant/pkg/spec"

	"github.com/hashicorp/go-multierror"
)

// texts scores generated text: post-processors make an answer of it, and the metrics compare the answer with the accepted ones.
type texts struct {
	post, postGold processor
	samples        int
	measures       []measure
	list           []sheet // one a measure

	code    *measure // the first whose texts are programs
	verdict func(Program) (Verdict, bool, string)
	ends    map[string]int // programs that did not pass, by why
	layers  []string       // that held for every program
	ran     bool
}

func newTexts(d spec.Dataset, metrics []string) (*texts, error) {
	t := &texts{samples: samplesOf(d)}
	var err, errGold error
	t.post, err = compilePost("post", d.Post)
	t.postGold, errGold = compilePost("post_gold", d.PostGold)
	if err != nil || errGold != nil {
		return nil, multierror.Append(err, errGold).ErrorOrNil()
	}
	for _, name := range metrics {
		found, err := measuresOf(name, t.samples)
		if err != nil {
			return nil, err
		}
		t.measures = append(t.measures, found...)
	}
	for i := range t.measures {
		m := &t.measures[i]
		if slices.ContainsFunc(t.list, func(s sheet) bool { return s.metric == m.name }) {
			return nil, fmt.Errorf("the metric %q is there twice", m.name)
		}
		t.list = append(t.list, sheet{metric: m.name, kind: m.kind, value: m.value})
		switch {
		case m.code == 0:
		case t.code != nil && t.code.code != m.code:
			return nil, fmt.Errorf("%q and %q give the same programs two time limits", t.code.name, m.name)
		default:
			t.code = m
		}
	}
	return t, nil
}

func (t *texts) note() string {
	if t.samples > 1 {
		return fmt.Sprintf("%d samples", t.samples)
	}
	return ""
}

// answers are the row's texts and the accepted answers after the post-processors; white space around either never decides, but of programs
// and of what instructions ask for it stays. Where post_gold leaves nothing of a gold answer that had something, that answer is not
// compared: an answer that is empty too would be right by accident.
func (t *texts) answers(q *question) (answers, golds []string, err error) {
	trim := strings.TrimSpace
	if t.code != nil || slices.ContainsFunc(t.measures, func(m measure) bool { return m.raw }) {
		trim = func(s string) string { return s }
	}
	for _, r := range q.samples {
		answers = append(answers, trim(t.post(r.Text)))
	}
	of := q.samples[0].Gold
	for _, raw := range of {
		if gold := trim(t.postGold(raw)); gold != "" || raw == "" {
			golds = append(golds, gold)
		}
	}
	if len(of) == 0 {
		return nil, nil, errors.New("the row has no gold answer")
	}
	if len(golds) == 0 {
		return nil, nil, errors.New("post_gold leaves nothing of the gold answer")
	}
	return answers, golds, nil
}

func (t *texts) add(q *question) error {
	answers, golds, err := t.answers(q)
	if err != nil {
		return err
	}
	outcomes, asked := make([]outcome, len(t.measures)), asks(q.samples[0])
	for i, m := range t.measures {
		if outcomes[i], err = m.of(answers, golds, t.run); err != nil {
			return err
		}
		outcomes[i].row, outcomes[i].asks = q.row, asked
	}
	for i, o := range outcomes {
		t.list[i].rows = append(t.list[i].rows, o)
	}
	if t.code != nil {
		t.ended(answers, golds)
	}
	return nil
}

func (t *texts) sheets() []sheet { return t.list }

// programs are those of a row's samples.
func (t *texts) programs(q *question) []Program {
	if t.code == nil {
		return nil
	}
	answers, golds, err := t.answers(q)
	if err != nil {
		return nil // add says why
	}
	out := make([]Program, len(answers))
	for i, a := range answers {
		out[i] = newProgram(a, golds, t.code.code)
	}
	return out
}

func (t *texts) judge(verdict func(Program) (Verdict, bool, string)) { t.verdict = verdict }

// run is the judge of programs.
func (t *texts) run(answer string, golds []string) (float64, error) {
	v, ok, reason := t.verdict(newProgram(answer, golds, t.code.code))
	switch {
	case !ok:
		return 0, errors.New(reason)
	case v.Passed:
		return 1, nil
	}
	return 0, nil
}

// ended counts how a row's programs ended, and keeps the layers that held for all.
func (t *texts) ended(answers, golds []string) {
	for _, a := range answers {
		v, _, _ := t.verdict(newProgram(a, golds, t.code.code))
		if !v.Passed && v.Why != "" {
			if t.ends == nil {
				t.ends = map[string]int{}
			}
			t.ends[v.Why]++
		}
		if !t.ran {
			t.layers, t.ran = slices.Clone(v.Layers), true
		}
		t.layers = slices.DeleteFunc(t.layers, func(l string) bool { return !slices.Contains(v.Layers, l) })
	}
}

func (t *texts) finish(s *Score, _ *losses) {
	s.Layers = t.layers
	for why, n := range t.ends {
		s.detail("programs_"+strings.ReplaceAll(why, " ", "_"), float64(n))
	}
}
