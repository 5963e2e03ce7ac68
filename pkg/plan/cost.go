package plan

import (
	"strings"

	"sextant/pkg/spec"
)

// windowTokens is how many tokens of a window cost one unit: about those of one label's prompt in the ppl benchmarks, so that a partition
// of rolling windows takes about as long as one of ppl rows of the same size.
const windowTokens = 256

// costly are the datasets whose rows OpenCompass counts ten times: their outputs are long. A name matches when it begins so, and the last
// when it stands anywhere in the name.
var costly = []string{"bbh", "gsm8k", "math", "strategyqa", "agieval-jec", "agieval-gaokao-mathcloze", "agieval-math"}

// factor is the cost of a row in OpenCompass units: its labels for ppl and ll, one for clp (one pass over the prompt), coef for gen, and
// its windowTokens for rolling, which OpenCompass does not have; ten times that for the costly ones. A dataset's cost_factor overrides it.
func factor(d *spec.Dataset, labels, coef int) int {
	if d.CostFactor > 0 {
		return d.CostFactor
	}
	f := 1
	switch d.Mode {
	case spec.PPL, spec.LL:
		f = labels
	case spec.Gen:
		f = coef
	case spec.Rolling:
		f = ceil(d.Rolling.SeqLen, windowTokens)
	}
	f = max(f, 1)
	if isCostly(d.Abbr) {
		f *= 10
	}
	return f
}

func isCostly(abbr string) bool {
	for _, prefix := range costly {
		if strings.HasPrefix(abbr, prefix) {
			return true
		}
	}
	return strings.Contains(abbr, "professional_law")
}
