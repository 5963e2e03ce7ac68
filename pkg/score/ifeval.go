package score

import (
	"errors"
	"fmt"
	"slices"

	"sextant/pkg/metric"
)

// ifevalNames are the four scores of IFEval (J. Zhou et al., arXiv 2311.07911), the one that is mostly quoted first: whether all of a
// prompt's instructions are followed, as the response stands and after the paper's eight readings of it; and the share of the instructions.
var ifevalNames = []string{"ifeval_prompt_strict", "ifeval_instruction_strict", "ifeval_prompt_loose", "ifeval_instruction_loose"}

// ifeval gives one of the four, or for "ifeval" all. A row's gold answer is its JSON object with instruction_id_list and kwargs.
func ifeval(name string, samples int) ([]measure, error) {
	if samples > 1 {
		return nil, fmt.Errorf("metric %q: there is one response a prompt; take gen.samples out", name)
	}
	if name != "ifeval" && !slices.Contains(ifevalNames, name) {
		return nil, unknown("metric of mode gen", name, append([]string{"ifeval"}, ifevalNames...))
	}
	var out []measure
	for i, n := range ifevalNames {
		if name != "ifeval" && name != n {
			continue
		}
		followed := metric.FollowedStrict
		if i >= 2 {
			followed = metric.FollowedLoose
		}
		m := measure{name: n, kind: byShare, raw: true, of: promptFollowed(followed)}
		if i%2 == 1 {
			m.kind, m.of = byRatio, instructionsFollowed(followed)
		}
		out = append(out, m)
	}
	return out, nil
}

type following func(list []metric.Instruction, response string) []bool

func promptFollowed(followed following) func([]string, []string, judge) (outcome, error) {
	return func(answers, golds []string, _ judge) (outcome, error) {
		list, err := instructionsOf(golds)
		if err != nil || slices.Contains(followed(list, answers[0]), false) {
			return outcome{size: 1}, err
		}
		return outcome{value: 1, size: 1}, nil
	}
}

func instructionsFollowed(followed following) func([]string, []string, judge) (outcome, error) {
	return func(answers, golds []string, _ judge) (outcome, error) {
		list, err := instructionsOf(golds)
		o := outcome{size: float64(len(list))}
		for _, f := range followed(list, answers[0]) {
			if f {
				o.value++
			}
		}
		return o, err
	}
}

func instructionsOf(golds []string) ([]metric.Instruction, error) {
	if len(golds) != 1 {
		return nil, errors.New("the gold answer must be one text, a JSON object with instruction_id_list and kwargs")
	}
	return metric.ParseIFEval([]byte(golds[0]))
}
